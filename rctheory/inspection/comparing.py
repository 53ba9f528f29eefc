"""Two models, or one model at two times: do the units of each axis follow one law?

A unit is described by its signature, the log root mean square of every slice that it moves; a wider model shares its
law, not its norm. Axes are matched by name, layers by number, or by relative depth where the models differ in it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, prod
from statistics import median
from typing import Any

import torch
from torch import Tensor

from rctheory.architectures.axes import AxisInstance, Scope
from rctheory.architectures.layout import Layout
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import UsageError
from rctheory.inspection.choice import choose_axes, restrict
from rctheory.inspection.inspection import conclude, ignore_progress
from rctheory.inspection.order import LEVEL
from rctheory.inspection.signatures import Signatures, shared_slices, unit_signatures
from rctheory.inspection.statistic import Column, Options, Outcome, Row, Statistic, Value
from rctheory.inspection.stream import Progress, gather
from rctheory.numerics import generator
from rctheory.statistics.comparison import compare_laws

SCHEMA = "rctheory.comparison/1"
PERMUTATIONS = 1999
FEWEST_UNITS = 16  # fewer cannot tell two laws apart after adjustment
MOST_UNITS = 512  # of each axis: the cost of a test grows with the square


class Laws(Statistic):
    """The comparison of unit laws, as a statistic of two models."""

    name = "laws"
    question = (
        "Do the units of an axis follow one law in both models? Distance: energy distance of their signatures in "
        "pooled standard deviations, beside what chance gives; shift: how much larger log|w| is in the second."
    )
    columns = (
        Column("first_units", "units of the first", "count", shown=False),
        Column("second_units", "units of the second", "count", shown=False),
        Column("p_value", "p-value", "p-value"),
        Column("distance", "distance"),
        Column("chance", "97.5% of chance"),
        Column("shift", "shift of mean log size"),
        Column("spread", "shift of log spread"),
        Column("correlation", "correlation of paired units"),
    )


@dataclass(frozen=True)
class Model:
    """One of the two: its source, and the name and sizes of its declaration."""

    source: str
    architecture: str
    layers: int
    parameters: int

    @classmethod
    def of(cls, source: str, layout: Layout) -> "Model":
        """Describe an open checkpoint."""
        parameters = sum(prod(tensor.shape) for tensor in layout.tensors.values())
        return cls(source, layout.architecture, layout.layers, parameters)


@dataclass(frozen=True)
class ModelComparison:
    """What two models share.

    Args:
        first: the first model.
        second: the second.
        matched: how layers were matched, in words.
        seed: root seed.
        permutations: of each axis.
        outcome: one row for each axis that both have.
    """

    first: Model
    second: Model
    matched: str
    seed: int
    permutations: int
    outcome: Outcome

    @property
    def verdict(self) -> str:
        """Say in one line how many axes differ, and by how much."""
        rows = self.outcome.rows
        adjusted = [float(str(row.values["p_value_adjusted"])) for row in rows]
        distances = sorted(float(str(row.values["distance"])) for row in rows)
        differ = sum(p <= LEVEL for p in adjusted)
        return (
            f"Unit laws differ in {differ} of {len(rows)} axes (adjusted p ≤ {LEVEL:g}); the distance is "
            f"{median(distances):.2g} pooled standard deviations in the median axis, {distances[-1]:.2g} in the largest"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `schema` names their form."""
        return {
            "schema": SCHEMA,
            "first": vars(self.first),
            "second": vars(self.second),
            "matched": self.matched,
            "seed": self.seed,
            "permutations": self.permutations,
            "level": LEVEL,
            **self.outcome.as_dict(),
        }


def compare_sources(
    first: str,
    second: str,
    *,
    axes: Sequence[str] | None = None,
    permutations: int | None = None,
    seed: int = 0,
    report_progress: Callable[[Progress], None] = ignore_progress,
) -> ModelComparison:
    """Compare the laws of the units of every exchangeable axis that two checkpoints have.

    Axes of fewer than 16 units are left out; of more than 512 units, 512 are drawn, the same of both when paired.
    Where both have the same number of units, unit i of one is paired with unit i of the other: the test swaps inside
    pairs, which is exact for two times of one training and for unrelated models alike. P-values are adjusted by
    Holm's procedure.

    Args:
        first: as `open_checkpoint` takes it.
        second: likewise.
        axes: patterns over the axes of the first, as `choose_axes` takes them; by default all.
        permutations: of each axis; by default as many as one axis among all needs to reach the level.
        seed: root seed.
        report_progress: told how far the reading is.

    Raises:
        CheckpointError: a checkpoint cannot be read, or contradicts its declaration.
        UsageError: no axis in common, or too few permutations for any rejection.
    """
    (one, layout, units), (other, _, others) = (
        _read(source, patterns, report_progress) for source, patterns in ((first, axes), (second, None))
    )
    pairs = list(_matched(units, others, one.layers, other.layers))
    if not pairs:
        found = f"no exchangeable axis in common of {one.architecture} and {other.architecture}"
        raise UsageError(found, "two models of one architecture", "compare models whose tensors have the same names")
    fewest = ceil(len(pairs) / LEVEL) - 1
    if permutations is not None and permutations < fewest:
        found = f"{permutations} permutations for {len(pairs)} axes"
        raise UsageError(found, f"at least {fewest}: with fewer no axis can be rejected", "ask for more permutations")
    permutations = max(PERMUTATIONS, fewest) if permutations is None else permutations
    rows = []
    for number, (x, y, layer) in enumerate(pairs, start=1):
        report_progress(Progress(f"comparing axis {number} of {len(pairs)}"))
        rows.append(_row(x, y, layer, permutations, seed))
    options = Options(frozenset(layout.axes), seed, permutations)
    matched = "by number" if one.layers == other.layers else "by relative depth"
    return ModelComparison(one, other, matched, seed, permutations, conclude(Laws(), tuple(rows), options))


def _read(
    source: str, patterns: Sequence[str] | None, report_progress: Callable[[Progress], None]
) -> tuple[Model, Layout, dict[str, Signatures]]:
    """Return the signatures of the chosen axes of a checkpoint."""
    with open_checkpoint(source) as checkpoint:
        layout = checkpoint.layout
        chosen = choose_axes(layout, patterns)
        part = restrict(layout, chosen)
        gathered = gather(checkpoint, part, (), Options(chosen), report_progress, keep_moments=True)
    signatures = unit_signatures(part, gathered.moments)
    return Model.of(source, layout), layout, {name: found for name, found in signatures.items() if name in chosen}


def _matched(
    first: dict[str, Signatures], second: dict[str, Signatures], layers: int, others: int
) -> Iterator[tuple[Signatures, Signatures, int | None]]:
    """Yield the axes that both models have, with the layer in the first."""
    for signatures in first.values():
        axis = signatures.axis
        layer = None if axis.axis.scope is Scope.MODEL else _layer_of(axis)
        counterpart = axis.axis.instance(layer if layer is None else same_depth(layer, layers, others))
        other = second.get(counterpart)
        if other is None or min(len(signatures.values), len(other.values)) < FEWEST_UNITS:
            continue
        if set(signatures.slices) & set(other.slices):
            yield signatures, other, layer


def same_depth(layer: int, layers: int, others: int) -> int:
    """Return the layer of a model of `others` layers at the relative depth of one of `layers`; the ends meet."""
    return layer if layers == others else round(layer * (others - 1) / max(1, layers - 1))


def _layer_of(instance: AxisInstance) -> int:
    """Return the layer of an axis instance: the number in `layers.3.ffn`."""
    return int(instance.name.removesuffix(instance.axis.path).strip(".").rpartition(".")[2])


def _row(first: Signatures, second: Signatures, layer: int | None, permutations: int, seed: int) -> Row:
    """Compare one axis."""
    slices = shared_slices(first, second)
    x, y = first.of(slices), second.of(slices)
    paired = len(x) == len(y)
    drawn = _draw(x, seed, "pairs"), _draw(y, seed, "pairs" if paired else "second")
    found = compare_laws(*drawn, permutations=permutations, seed=seed, paired=paired)
    correlations = [value for value in found.correlations if isfinite(value)]
    values: dict[str, Value] = {
        "first_units": len(x),
        "second_units": len(y),
        "slices": len(slices),
        "counterpart": second.axis.name,
        "p_value": found.p_value,
        "distance": found.distance,
        "chance": found.null_high,
        "shift": float((y.mean(dim=0) - x.mean(dim=0)).mean()),
        "spread": float(sum(found.spreads) / len(found.spreads)),
        "correlation": median(correlations) if correlations else None,
        "shifts": dict(zip(slices, found.shifts, strict=True)),
    }
    return Row(first.axis.name, first.axis.axis.path, layer, "", values)


def _draw(units: Tensor, seed: int, stream: str) -> Tensor:
    """Return at most `MOST_UNITS` units, without replacement."""
    if len(units) <= MOST_UNITS:
        return units
    return units[torch.randperm(len(units), generator=generator(seed, "comparing", stream))[:MOST_UNITS]]
