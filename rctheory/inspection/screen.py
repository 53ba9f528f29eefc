"""`screen`: the size, the tails and the scales of every tensor, from one pass without p-values."""

from math import isfinite, sqrt

from torch import Tensor

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.inspection.moments import Moments
from rctheory.inspection.neighbours import reading_order, short_name
from rctheory.inspection.statistic import Column, Options, Row, UnitRun, UnitStatistic, Value


class Screen(UnitStatistic):
    """Size, tails and unit scales of each tensor.

    The spread of row scales is the standard deviation of the log norms of rows over what it would be for independent
    entries of the same kurtosis k, which is about sqrt((k - 1) / (4 n)) for rows of n entries: 1 says that all rows
    have one scale, 5 that they differ five times as much as chance lets them.
    """

    name = "screen"
    question = (
        "How large are the weights, how heavy their tails (kurtosis: 3 is Gaussian), and do rows and columns differ in "
        "scale (spread: 1 is what chance alone gives)?"
    )
    columns = (
        Column("rms", "root mean square"),
        Column("kurtosis", "kurtosis"),
        Column("zeros", "share of exact zeros", shown=False),
        Column("row_spread", "spread of row scales"),
        Column("column_spread", "spread of column scales"),
        Column("row_sd", "sd of log row norms", shown=False),
        Column("column_sd", "sd of log column norms", shown=False),
    )

    def begin(self, layout: Layout, options: Options) -> UnitRun:
        """Start with the tensors of a layout; one row comes of each."""
        return _ScreenRun(layout)


class _ScreenRun(UnitRun):
    """The rows so far, in reading order."""

    def __init__(self, layout: Layout) -> None:
        self._rows: dict[str, Row | None] = dict.fromkeys(tensor.name for tensor in reading_order(layout))

    def add(self, tensor: TensorLayout, moments: Moments) -> None:
        self._rows[tensor.name] = _row(tensor, moments)

    def rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self._rows.values() if row is not None)


def _row(tensor: TensorLayout, moments: Moments) -> Row:
    """Return the screen of one tensor; a vector has no rows and columns to compare."""
    matrix = len(moments.shape) == 2
    spreads = [_spread(moments, dimension) if matrix else (None, None) for dimension in range(2)]
    values: dict[str, Value] = {
        "rms": moments.rms,
        "kurtosis": moments.kurtosis if isfinite(moments.kurtosis) else None,
        "zeros": 1 - moments.nonzero / moments.count,
        "row_spread": spreads[0][0],
        "column_spread": spreads[1][0],
        "row_sd": spreads[0][1],
        "column_sd": spreads[1][1],
    }
    return Row(tensor.name, short_name(tensor), tensor.layer, "", values)


def _spread(moments: Moments, dimension: int) -> tuple[float | None, float | None]:
    """Return the sd of the log norms of the units that are not zero, over that of chance, and by itself."""
    squares = moments.squares[dimension]
    alive = squares > 0
    if int(alive.sum()) < 2:
        return None, None
    found = _sd(moments.log_norms(dimension)[alive])
    chance = sqrt(max(moments.kurtosis - 1, 0.0) * moments.shape[dimension] / moments.count) / 2
    return (found / chance if chance > 0 else None), found


def _sd(values: Tensor) -> float:
    return float(values.std())
