"""A run in words: numbers, counts, and what a claim rests on."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from rctheory.suite.evidence import Evidence
from rctheory.suite.record import ClaimRecord, ControlRecord, ControlStatus, Status


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, as people do; a dash stands for none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    text = f"{value:.{digits}g}"
    return (f"{value:.0f}" if "e" in text else text).replace("-", "−")


def interval(bounds: tuple[float, float] | None) -> str:
    """Write an interval; a dash stands for none."""
    return "–" if bounds is None else f"[{number(bounds[0])}, {number(bounds[1])}]"


def signs(text: str) -> str:
    """Write the signs of a declared range as people do."""
    return re.sub(r"-(?=\d)", "−", text.replace("<=", "≤").replace(">=", "≥"))


def seconds(value: float) -> str:
    """Write a duration."""
    return f"{value:.1f} s" if value < 100 else f"{int(value) // 60} min {int(value) % 60:02d} s"


def caught(controls: Iterable[ControlRecord]) -> str:
    """Write how many controls were caught, of how many; a dash where none ran."""
    states = [control.status for control in controls if control.status is not ControlStatus.NOT_RUN]
    return f"{states.count(ControlStatus.CAUGHT)} of {len(states)}" if states else "–"


def headline(evidence: Evidence) -> str:
    """Say in one line how the run came out."""
    claims = evidence.claims
    parts = []
    for status in (Status.SUPPORTED, Status.REFUTED, Status.ERROR, Status.INCONCLUSIVE, Status.NOT_RUN):
        ids = [record.id for record in claims if record.status is status]
        if status is Status.SUPPORTED:
            parts.append(f"{len(ids)} of {len(claims)} claims supported")
        elif ids:
            parts.append(f"{status.value}: {', '.join(ids)}")
    controls = [control for record in claims for control in record.controls]
    if any(control.status is not ControlStatus.NOT_RUN for control in controls):
        parts.append(f"{caught(controls)} planted errors caught")
    return "; ".join(parts)


@dataclass(frozen=True)
class Foundation:
    """What a claim rests on, directly or through others, that this run does not support."""

    unsupported: tuple[str, ...]
    absent: tuple[str, ...]


def foundation(evidence: Evidence, record: ClaimRecord) -> Foundation:
    """Follow `uses` down to the ground; a claim stands no firmer than what it rests on."""
    by_id = {claim.id: claim for claim in evidence.claims}
    reached: dict[str, None] = {}
    stack = list(record.uses)
    while stack:
        name = stack.pop()
        if name not in reached:
            reached[name] = None
            stack.extend(by_id[name].uses if name in by_id else ())
    absent = tuple(sorted(name for name in reached if name not in by_id))
    weak = (name for name in reached if name in by_id and by_id[name].status is not Status.SUPPORTED)
    return Foundation(tuple(sorted(weak)), absent)
