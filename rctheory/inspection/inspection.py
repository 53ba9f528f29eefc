"""Every statistic of a checkpoint in one pass, against what its architecture declares."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from rctheory.checkpoints.sources import open_checkpoint
from rctheory.inspection.choice import choose_axes, restrict
from rctheory.inspection.order import LEVEL, PERMUTATIONS, Finding
from rctheory.inspection.registry import choose_statistics
from rctheory.inspection.statistic import Options, Outcome, Row, Statistic, UnitStatistic, Value
from rctheory.inspection.stream import Progress, gather
from rctheory.numerics import single_threaded_kernels
from rctheory.statistics.multiplicity import holm

__all__ = ["LEVEL", "PERMUTATIONS", "SCHEMA", "Finding", "Inspection", "ignore_progress", "inspect_source"]

SCHEMA = "rctheory.inspection/1"
Q4_1 = (
    " Q4_1 adds noise of 0.6% to 0.8% of the variance of the weights: norms and the noise of the spectrum grow by half "
    "a percent, shares of interactions shrink by as much, scales read from log sizes shift by up to 5%; correlations "
    "of norms and tests of order stay (claims quantisation.noise and quantisation.effects)."
)


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint shows.

    Args:
        source: what was inspected.
        architecture: name of its declaration.
        layers: number of layers.
        parameters: number of stored weights.
        inspected: number of those that touch a chosen axis.
        axes: patterns of the axes that were asked for; None for all.
        seed: root seed.
        outcomes: what each statistic returned.
        stored: number of inspected weights by the type under which they are stored.
    """

    source: str
    architecture: str
    layers: int
    parameters: int
    inspected: int
    axes: tuple[str, ...] | None
    seed: int
    outcomes: tuple[Outcome, ...]
    stored: Mapping[str, int] = field(default_factory=dict)

    def outcome(self, name: str) -> Outcome | None:
        """Return what a statistic returned; None where it did not run."""
        return next((outcome for outcome in self.outcomes if outcome.statistic.name == name), None)

    @property
    def consistent(self) -> bool | None:
        """Return whether no axis contradicts the declaration; None where the order of units was not tested."""
        order = self.outcome("order")
        return None if order is None else all(row.values["finding"] != Finding.CONTRADICTED for row in order.rows)

    @property
    def rounding(self) -> str:
        """Return what is known of rounding in blocks, where the weights are stored so; empty where they are not."""
        blocks = {name: n for name, n in self.stored.items() if name.startswith(("Q", "IQ"))}
        if not blocks:
            return ""
        total = sum(self.stored.values())
        said = ", ".join(f"{n / total:.0%} {name}" for name, n in sorted(blocks.items(), key=lambda item: -item[1]))
        return f"Rounded in blocks: {said} of the weights.{Q4_1 if 'Q4_1' in blocks else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `schema` names their form."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "architecture": self.architecture,
            "layers": self.layers,
            "parameters": self.parameters,
            "inspected": self.inspected,
            "stored": dict(self.stored),
            "rounding": self.rounding,
            "axes": None if self.axes is None else list(self.axes),
            "seed": self.seed,
            "level": LEVEL,
            "consistent": self.consistent,
            "statistics": {outcome.statistic.name: outcome.as_dict() for outcome in self.outcomes},
        }


def ignore_progress(_progress: object) -> None:
    """Drop a progress message."""


def inspect_source(
    source: str,
    *,
    axes: Sequence[str] | None = None,
    statistics: Sequence[str] | None = None,
    permutations: int | None = None,
    seed: int = 0,
    report_progress: Callable[[Progress], None] = ignore_progress,
) -> Inspection:
    """Compute statistics of a checkpoint, reading each tensor once.

    Args:
        source: as `open_checkpoint` takes it.
        axes: patterns over axes, as `choose_axes` takes them; by default all.
        statistics: names out of the registry; by default all that are on by default.
        permutations: random permutations of each axis; by default 1999, or more where many axes need more.
        seed: root seed of every random number.
        report_progress: told how far the inspection is, a few times a second.

    Raises:
        CheckpointError: the checkpoint cannot be read, or contradicts its declaration.
        UsageError: an unknown axis or statistic, or too few permutations for any rejection.

    Source: claim `weights.exchangeable-axes`.
    """
    chosen = choose_statistics(statistics)
    report_progress(Progress(f"opening {source}"))
    outcomes = []
    # Thousands of small kernels: the threads of each would spend their time waiting for each other.
    with single_threaded_kernels():
        with open_checkpoint(source) as checkpoint:
            whole = checkpoint.layout
            options = Options(choose_axes(whole, axes), seed, permutations)
            layout = restrict(whole, options.axes)
            gathered = gather(checkpoint, layout, chosen, options, report_progress)
        for statistic in chosen:
            if isinstance(statistic, UnitStatistic):
                report_progress(Progress(f"computing {statistic.name}"))
            outcomes.append(conclude(statistic, gathered.of(statistic), options))
    parameters, inspected = (sum(prod(t.shape) for t in part.tensors.values()) for part in (whole, layout))
    stored: Counter[str] = Counter()
    for name in layout.tensors:
        stored[checkpoint.tensors[name].dtype] += prod(layout.tensors[name].shape)
    patterns = None if axes is None else tuple(axes)
    return Inspection(
        source, whole.architecture, whole.layers, parameters, inspected, patterns, seed, tuple(outcomes), stored
    )


def conclude(statistic: Statistic, rows: tuple[Row, ...], options: Options) -> Outcome:
    """Adjust the p-values of a statistic over all of its rows and columns together, unless it has done so itself."""
    keys = [column.key for column in statistic.columns if column.kind == "p-value"]
    places = [(k, key) for key in keys for k, row in enumerate(rows) if isinstance(row.values.get(key), float)]
    adjusted = holm([float(rows[k].values[key]) for k, key in places])  # type: ignore[arg-type]  # floats, by `places`
    added: list[dict[str, Value]] = [{} for _ in rows]
    for (k, key), value in zip(places, adjusted, strict=True):
        added[k][f"{key}_adjusted"] = value
    rows = tuple(replace(row, values=_merge(extra, row.values)) for row, extra in zip(rows, added, strict=True))
    return Outcome(statistic, rows, tuple(statistic.notes(rows, options)))


def _merge(added: Mapping[str, Value], own: Mapping[str, Value]) -> dict[str, Value]:
    """Put the values of a row together; what the statistic says itself stands."""
    return {**own, **{key: value for key, value in added.items() if key not in own}}
