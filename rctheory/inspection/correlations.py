"""`correlations`: the row-column correlation pattern of every matrix and of every two that share neurons."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod

from torch import Tensor

from rctheory.architectures.axes import AxisInstance
from rctheory.architectures.layout import TensorLayout
from rctheory.inspection.matrices import number
from rctheory.inspection.neighbours import short_name
from rctheory.inspection.statistic import (
    Column,
    Matrix,
    MatrixStatistic,
    Options,
    Pair,
    PairStatistic,
    Row,
    Side,
    Value,
)
from rctheory.statistics.arrays import Correlation, between_correlations, within_correlations
from rctheory.statistics.arrays.scales import log_sizes

SHARED = {
    "row": "same row",
    "column": "same column",
    "nothing": "nothing shared",
    "neuron": "same neuron",
    "neuron and column": "same neuron and coordinate",
}
LEVEL = 0.01
VIEWS: Mapping[str, Callable[[Matrix], Tensor]] = {"raw": lambda W: W.values, "log|w|": lambda W: W.log_sizes}


class Correlations(MatrixStatistic, PairStatistic):
    """Correlation of two entries that share a row, a column, a neuron of adjacent matrices, or nothing."""

    name = "correlations"
    question = (
        "Are two weights that share a row, a column or a neuron correlated? Row-column theory says that they may be, "
        "and that two which share nothing are not. log|w| shows common scales, raw weights common means."
    )
    columns = (
        Column("p_value", "p-value", "p-value"),
        Column("correlation", "correlation"),
        Column("low", "band, low", shown=False),
        Column("high", "band, high", shown=False),
    )
    of_log_sizes = True

    def measure_matrix(self, matrix: Matrix, options: Options) -> Iterable[Row]:
        """Return the pattern inside one matrix, of the weights and of their log sizes."""
        layout = matrix.layout
        for scale, view in VIEWS.items():
            found = within_correlations(view(matrix))
            yield from _rows(found, scale, layout.name, short_name(layout), layout.layer, plain=_plain(layout))

    def measure_pair(self, pair: Pair, first: Matrix, second: Matrix, options: Options) -> Iterable[Row]:
        """Return the pattern between two matrices, neuron by neuron."""
        shared = _other_nest(pair.first) == _other_nest(pair.second)
        names = [short_name(side.tensor) for side in (pair.first, pair.second)]
        subject = f"{pair.first.tensor.name} and {pair.second.tensor.name}"
        for scale in VIEWS:
            y, z = _arranged(pair.first, pair.second, first, scale), _arranged(pair.second, pair.first, second, scale)
            copies = y.shape[0] * z.shape[0]
            if copies > 1:
                y, z = y.repeat_interleave(z.shape[0], dim=0), z.repeat(y.shape[0], 1, 1)
            found = between_correlations(y, z, columns_shared=shared)
            pooled = {kind: _pool(correlation, copies) for kind, correlation in found.items()}
            yield from _rows(pooled, scale, subject, " / ".join(names), pair.first.tensor.layer)

    def notes(self, rows: Sequence[Row], options: Options) -> Iterable[str]:
        """Say how often entries are correlated that share nothing, where no order or nesting makes neighbours alike."""
        apart = [row for row in rows if row.values.get("plain") and row.values["shares"] == SHARED["nothing"]]
        if apart:
            small = sum(float(str(row.values.get("p_value_adjusted", 1.0))) <= LEVEL for row in apart)
            yield (
                "Entries that share nothing are neighbours along the diagonal: where an axis is ordered or nested they "
                f"share more. In matrices of two plain exchangeable axes {small} of {len(apart)} have an adjusted p ≤ "
                f"{LEVEL:g}."
            )


def by_neuron(side: Side, other: Side, values: Tensor) -> Tensor:
    """Arrange a matrix as (copies, neurons, columns): neurons are the axes that both sides have, in the order of one.

    What a side has beyond them are copies of each neuron: the query heads that meet one key, for example.
    """
    nest, common = side.nest, [instance for instance in side.nest if instance in other.nest]
    rows = values if side.dimension == 0 else values.T
    sizes = [instance.size for instance in nest]
    copies = [k for k, instance in enumerate(nest) if instance not in common]
    neurons = [k for k, instance in enumerate(nest) if instance in common]
    arranged = rows.reshape(*sizes, rows.shape[1]).permute(*copies, *neurons, len(nest))
    return arranged.reshape(prod(sizes[k] for k in copies), prod(sizes[k] for k in neurons), rows.shape[1])


def _arranged(side: Side, other: Side, matrix: Matrix, scale: str) -> Tensor:
    """Return a view of a matrix `by_neuron`; where there are copies, log sizes have a floor in each of them."""
    arranged = by_neuron(side, other, matrix.values)
    if scale == "raw":
        return arranged
    return log_sizes(arranged) if len(arranged) > 1 else by_neuron(side, other, matrix.log_sizes)


def _other_nest(side: Side) -> tuple[AxisInstance, ...]:
    """Return the nest of the dimension that is not the neurons."""
    return side.tensor.nests[1 - side.dimension]


def _pool(correlation: Correlation, copies: int) -> Correlation:
    """Average over the copies of each neuron; the smallest p-value counts, times their number (Bonferroni).

    The spread of an average is at most the average spread, so the averaged band is wide enough.
    """
    return Correlation(
        correlation.value.mean(),
        correlation.low.mean(),
        correlation.high.mean(),
        (correlation.p_value.min() * copies).clamp(max=1),
    )


def _plain(layout: TensorLayout) -> bool:
    """Return whether both axes of a matrix are exchangeable without nesting."""
    return all(len(nest) == 1 and nest[0].axis.exchangeable for nest in layout.nests)


def _rows(
    found: Mapping[str, Correlation], scale: str, subject: str, pattern: str, layer: int | None, *, plain: bool = True
) -> Iterable[Row]:
    """Return one row for each kind of pair of entries."""
    for kind, correlation in found.items():
        values: dict[str, Value] = {
            "shares": SHARED[kind],
            "scale": scale,
            "plain": plain,
            "correlation": number(correlation.value),
            "low": number(correlation.low),
            "high": number(correlation.high),
            "p_value": number(correlation.p_value),
        }
        part = f"{SHARED[kind]}, {scale}"
        yield Row(subject, pattern, layer, part, values, "" if values["p_value"] is not None else "constant", part)
