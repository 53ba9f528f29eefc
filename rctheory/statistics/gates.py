"""Gates: the accepted range of a measured quantity, declared before it is measured.

An experiment returns *quantities*; `claims.toml` declares one *gate* for each; `judge` brings them together.
A gate never sees how its quantity was made, and a quantity never sets its own gate.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from rctheory.errors import RegistryError
from rctheory.statistics.multiplicity import holm
from rctheory.statistics.rates import Point, RateFit, fit_rate
from rctheory.statistics.verdicts import Verdict, verdict_of_interval


@dataclass(frozen=True)
class Curve:
    """Errors at increasing sizes; `x_label` and `y_label` name the axes of its plot."""

    points: tuple[Point, ...]
    x_label: str = "width n"
    y_label: str = "RMS error"


@dataclass(frozen=True)
class Estimate:
    """One number, with its confidence interval where it is random."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class PValues:
    """Valid p-values of a family of hypotheses, by name."""

    values: Mapping[str, float]


Quantity = Curve | Estimate | PValues


@dataclass(frozen=True)
class Finding:
    """A judged quantity, ready for the record.

    Args:
        gate: name of the gate.
        expected: the accepted range, for people.
        estimate: the measured number (a slope, a value, the decisive adjusted p-value).
        interval: its confidence interval, if it has one.
        verdict: the judgement.
        points: the curve behind a slope.
        fit: the fit behind a slope.
        detail: one sentence more, where there is something to say.
    """

    gate: str
    expected: str
    estimate: float
    interval: tuple[float, float] | None
    verdict: Verdict
    points: tuple[Point, ...] = ()
    fit: RateFit | None = None
    detail: str = ""

    @property
    def detectable(self) -> float | None:
        """Return the smallest distance of the truth from the accepted range that would have been refuted.

        One width of the 95% interval: the estimate is off by less than half of it with probability 95%, so from there
        on the interval misses the range with at least 97.5%. None where nothing is random.
        """
        return None if self.interval is None else self.interval[1] - self.interval[0]


@dataclass(frozen=True)
class RateGate:
    """The slope of a curve lies in rate +- margin (`side="upper"`: at most rate + margin)."""

    takes: ClassVar[type] = Curve
    rate: Fraction
    margin: Fraction
    side: str = "two"

    def expected(self) -> str:
        """Return the accepted range in words."""
        if self.side == "upper":
            return f"slope <= {self.rate} + {float(self.margin):g}"
        return f"slope {self.rate} ± {float(self.margin):g}"

    def judge(self, name: str, curve: Curve) -> Finding:
        """Fit the slope and judge its interval."""
        fit = fit_rate(curve.points)
        verdict = fit.verdict(self.rate, self.margin, self.side)
        return Finding(name, self.expected(), fit.slope, fit.interval, verdict, curve.points, fit)


@dataclass(frozen=True)
class BoundGate:
    """A number is at most a bound, at least a bound, or between two."""

    takes: ClassVar[type] = Estimate
    at_least: Fraction | None = None
    at_most: Fraction | None = None

    def expected(self) -> str:
        """Return the accepted range in words."""
        if self.at_least is None or self.at_most is None:
            low, high = self._range()
            return f"<= {high:g}" if math.isfinite(high) else f">= {low:g}"
        return f"in [{float(self.at_least):g}, {float(self.at_most):g}]"

    def judge(self, name: str, estimate: Estimate) -> Finding:
        """Judge the value, or its interval where it is random. NaN is refuted."""
        value = float(estimate.value)
        interval = estimate.interval or (value, value)
        verdict = Verdict.REFUTED if not math.isfinite(value) else verdict_of_interval(interval, self._range())
        return Finding(name, self.expected(), value, estimate.interval, verdict)

    def _range(self) -> tuple[float, float]:
        low = -math.inf if self.at_least is None else float(self.at_least)
        return low, math.inf if self.at_most is None else float(self.at_most)


@dataclass(frozen=True)
class RejectionGate:
    """Every hypothesis of a family is rejected (`all`), or none is (`none`), at family-wise level `level`."""

    takes: ClassVar[type] = PValues
    reject: str
    level: Fraction

    def expected(self) -> str:
        """Return the accepted range in words."""
        return f"{self.reject} rejected at family-wise {float(self.level):g}"

    def judge(self, name: str, adjusted: PValues) -> Finding:
        """Judge p-values that Holm's method has already adjusted over the family of the whole claim."""
        values = adjusted.values
        broken = [key for key, p in values.items() if not 0 <= p <= 1]
        if broken or not values:
            return Finding(name, self.expected(), math.nan, None, Verdict.REFUTED, detail=f"no valid p-value: {broken}")
        rejected = [key for key, p in values.items() if p <= self.level]
        good = len(rejected) == (len(values) if self.reject == "all" else 0)
        decisive = max(values.values()) if self.reject == "all" else min(values.values())
        verdict = Verdict.SUPPORTED if good else Verdict.REFUTED
        detail = f"{len(rejected)} of {len(values)} rejected; the decisive Holm-adjusted p is given"
        return Finding(name, self.expected(), decisive, None, verdict, detail=detail)


Gate = RateGate | BoundGate | RejectionGate


def judge(claim: str, gates: Mapping[str, Gate], quantities: Mapping[str, Quantity]) -> list[Finding]:
    """Judge every quantity by the gate of its name; p-values are adjusted over all families of the claim at once.

    Raises:
        RegistryError: a gate without its quantity, a quantity without its gate, or one of the wrong kind.
    """
    if set(gates) != set(quantities):
        found = f"claim {claim}: gates {sorted(gates)} and measured quantities {sorted(quantities)}"
        raise RegistryError(found, "the same names", "make claims.toml and the experiment agree")
    adjusted = _adjust(quantities)
    findings = []
    for name, gate in gates.items():
        quantity = adjusted.get(name, quantities[name])
        if not isinstance(quantity, gate.takes):
            found = f"claim {claim}: gate {name} was given a {type(quantity).__name__}"
            raise RegistryError(found, f"a {gate.takes.__name__}", "make claims.toml and the experiment agree")
        findings.append(gate.judge(name, quantity))  # type: ignore[arg-type]  # checked just above
    return findings


def _adjust(quantities: Mapping[str, Quantity]) -> dict[str, PValues]:
    """Adjust all p-values of a claim as one family."""
    keys = [(name, key) for name, q in quantities.items() if isinstance(q, PValues) for key in q.values]
    if not keys:
        return {}
    raw = [q.values[key] for name, key in keys if isinstance(q := quantities[name], PValues)]
    adjusted = dict(zip(keys, holm(raw), strict=True))
    return {
        name: PValues({key: adjusted[name, key] for key in q.values})
        for name, q in quantities.items()
        if isinstance(q, PValues)
    }
