"""Statistics of one matrix at a time: mean and scale effects, interaction, regime, spectrum, a fitted law."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite

from torch import Tensor

from rctheory.inspection.neighbours import short_name
from rctheory.inspection.statistic import Column, Matrix, MatrixStatistic, Options, Row, Value
from rctheory.measures.fitted import fit_rc
from rctheory.numerics import stream_seed
from rctheory.statistics.arrays import ArrayTest, AxisName, classify, components, interaction, mean_effects
from rctheory.statistics.arrays.scales import log_scale_effects
from rctheory.statistics.spectrum import spectrum

SIDES: tuple[AxisName, AxisName] = ("rows", "columns")
LEVEL = 0.01  # at which a regime is established


class Effects(MatrixStatistic):
    """Do rows, or columns, differ in their means or in their scales?"""

    name = "effects"
    question = (
        "Do rows, or columns, have means or scales of their own? The share says how much of the variance of the "
        "weights (of log|w| for scales) lies between them: 0 is none, 1 all of it."
    )
    columns = (
        Column("mean_p", "p-value of means", "p-value"),
        Column("mean_share", "share of means"),
        Column("scale_p", "p-value of scales", "p-value"),
        Column("scale_share", "share of scales"),
    )
    of_log_sizes = True

    def measure_matrix(self, matrix: Matrix, options: Options) -> Iterable[Row]:
        """Return a row for the rows and one for the columns."""
        for side in SIDES:
            means, scales = mean_effects(matrix.values, side), log_scale_effects(matrix.log_sizes, side)
            values: dict[str, Value] = {
                "mean_p": number(means.p_value),
                "mean_share": number(means.effect),
                "scale_p": number(scales.p_value),
                "scale_share": number(scales.effect),
            }
            yield row_of(matrix, side, values, means.refusal or scales.refusal)


class Interaction(MatrixStatistic):
    """Is a matrix more than row effects, column effects and independent noise?"""

    name = "interaction"
    question = (
        "Do rows and columns act together, beyond effects of each alone: is there a kernel m(row, column)? The share "
        "is how much of the variance it holds if it has one factor, a lower bound where it has several."
    )
    columns = (
        Column("p_value", "p-value", "p-value"),
        Column("share", "share of the interaction"),
        Column("z", "z", shown=False),
    )

    def measure_matrix(self, matrix: Matrix, options: Options) -> Iterable[Row]:
        """Return one row; the random pairing of rows and columns has a stream of its own for each matrix."""
        seed = stream_seed(options.seed, "interaction", matrix.layout.name)
        found: ArrayTest = interaction(matrix.values, seed=seed)
        values: dict[str, Value] = {
            "p_value": number(found.p_value),
            "share": number(found.effect),
            "z": number(found.statistic),
        }
        yield row_of(matrix, "", values, found.refusal)


class Regimes(MatrixStatistic):
    """Which limit law averages over a matrix have, and its classical variance components."""

    name = "regimes"
    question = (
        "What do averages over a matrix do as it grows? With mean effects (non-degenerate) they are normal at the rate "
        "N^(-1/2); with interaction alone (degenerate) a Gaussian chaos at the rate 1/N. Beside it the mean, and the "
        "share of variance between rows and between columns; F tests of these, in JSON, refuse unequal variances."
    )
    columns = (
        Column("regime", "regime", "text"),
        Column("mean", "grand mean"),
        Column("mean_sd", "its standard error"),
        Column("row_p", "F test of rows", "p-value", shown=False),
        Column("row_share", "share of rows"),
        Column("row_low", "its 95% interval, low", shown=False),
        Column("row_high", "its 95% interval, high", shown=False),
        Column("column_p", "F test of columns", "p-value", shown=False),
        Column("column_share", "share of columns"),
        Column("column_low", "its 95% interval, low", shown=False),
        Column("column_high", "its 95% interval, high", shown=False),
    )

    def measure_matrix(self, matrix: Matrix, options: Options) -> Iterable[Row]:
        """Return one row."""
        W = matrix.values
        (regime,) = classify(W, level=LEVEL, seed=stream_seed(options.seed, "interaction", matrix.layout.name)).names()
        found = components(W)
        values: dict[str, Value] = {
            "regime": regime,
            "mean": number(found.grand_mean * matrix.unit),
            "mean_sd": number(found.sd * matrix.unit),
        }
        for side, part in (("row", found.rows), ("column", found.columns)):
            low, high = part.interval
            values |= {
                f"{side}_p": number(part.p_value),
                f"{side}_share": number(part.share),
                f"{side}_low": number(low),
                f"{side}_high": number(high),
            }
        yield row_of(matrix, "", values, found.refusal)

    def notes(self, rows: Sequence[Row], options: Options) -> Iterable[str]:
        """Say which matrices are in each regime."""
        found = [row for row in rows if row.values]
        for regime, count in Counter(str(row.values["regime"]) for row in found).most_common():
            patterns = Counter(row.pattern for row in found if row.values["regime"] == regime)
            where = ", ".join(f"{pattern} {n}" for pattern, n in patterns.items())
            yield f"{regime.capitalize()}, at level {LEVEL:g} in each matrix: {count} of {len(found)} ({where})."


class Spectral(MatrixStatistic):
    """Directions beyond what noise of the same row and column variances makes."""

    name = "spectrum"
    question = (
        "How many directions of a matrix stand out of its noise, and how much of its variance do they hold? Noise of "
        "the same row and column scales shows an outlier once in a thousand matrices."
    )
    columns = (
        Column("outliers", "outliers", "count"),
        Column("share", "share of variance in them"),
        Column("top", "largest singular value / edge"),
        Column("rank", "rank worth keeping", "count"),
        Column("stable_rank", "stable rank", shown=False),
        Column("edge", "edge of the bulk", shown=False),
        Column("noise", "sd of the noise", shown=False),
    )

    def measure_matrix(self, matrix: Matrix, options: Options) -> Iterable[Row]:
        """Return one row."""
        found = spectrum(matrix.values)
        edge = number(found.edge)
        top = number(found.singular_values[..., 0])
        values: dict[str, Value] = {
            "outliers": int(found.outliers),
            "share": number(found.share),
            "top": top / edge if top is not None and edge else None,
            "rank": int(found.rank),
            "stable_rank": number(found.stable_rank),
            "edge": None if edge is None else edge * matrix.unit,
            "noise": number(found.noise * matrix.unit),
        }
        yield row_of(matrix, "", values)


class Fit(MatrixStatistic):
    """A fitted row-column law, and how well it describes the matrix."""

    name = "fit"
    question = (
        "How well does a row-column law (low-rank mean, row and column scales, one residual law) describe a matrix? "
        "Predicted: share of the sum of squares of left-out entries that its mean predicts; not positive without one."
    )
    columns = (
        Column("rank", "rank of the mean", "count"),
        Column("held_out", "predicted share"),
        Column("explained", "share in sample", shown=False),
        Column("row_sd", "sd of log row scales"),
        Column("column_sd", "sd of log column scales"),
        Column("excess_kurtosis", "excess kurtosis of the residual"),
        Column("kolmogorov", "distance of the residual to normal"),
    )
    default = False  # takes some ten times as long as a spectrum

    def measure_matrix(self, matrix: Matrix, options: Options) -> Iterable[Row]:
        """Return one row."""
        found = fit_rc(matrix.values, seed=stream_seed(options.seed, "fit", matrix.layout.name))
        values: dict[str, Value] = {
            "rank": found.rank,
            "held_out": finite(found.goodness.held_out),
            "explained": finite(found.goodness.explained),
            "row_sd": number(found.rows.latents[:, -1].std()),
            "column_sd": number(found.columns.latents[:, -1].std()),
            "excess_kurtosis": finite(found.goodness.excess_kurtosis),
            "kolmogorov": finite(found.goodness.kolmogorov),
        }
        yield row_of(matrix, "", values)


def row_of(matrix: Matrix, part: str, values: dict[str, Value], refusal: str = "") -> Row:
    """Return a row about a matrix or a part of it."""
    layout = matrix.layout
    return Row(layout.name, short_name(layout), layout.layer, part, values, refusal)


def number(value: Tensor) -> float | None:
    """Return the number in a tensor, as `finite` does."""
    return finite(float(value))


def finite(value: float) -> float | None:
    """Return a number; None where it is not finite: JSON has no other word for that."""
    return value if isfinite(value) else None
