"""U-statistics over quadruplets, two rows by two columns: estimate, variance, interval."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.numerics import chunks, tolerance
from rctheory.statistics.arrays.intervals import Interval, degenerate, refused, student_quantile
from rctheory.statistics.arrays.outcome import require_arrays
from rctheory.statistics.arrays.quadruplet_kernels import Kernel, Ratio

FEWEST = 4
CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class QuadrupletVariance:
    """The variance of U and its parts; every field has the leading axes (...) of the arrays.

    Args:
        estimate: U.
        rows: sum of squared influences of the rows, 4 (m-1) / (m (m-2)^2) sum_i (g_i - U)^2.
        columns: the same of the columns.
        second: variance of what two rows, two columns, or a row and a column do together.
        variance: the variance of U.
        v10: covariance of the kernel on two quadruplets that share one row and nothing else.
        v01: the same for one column.
        rounding: size below which `rows` and `columns` are rounding.
    """

    estimate: Tensor
    rows: Tensor
    columns: Tensor
    second: Tensor
    variance: Tensor
    v10: Tensor
    v01: Tensor
    rounding: Tensor


def quadruplet_variance(W: Tensor, kernel: Kernel | Ratio) -> QuadrupletVariance:
    """Estimate U, the mean of a kernel over all quadruplets, and its variance.

    With g_i, f_j, d_ij the means of the kernel over the quadruplets that contain row i, column j, both, and c_20, c_02,
    c_11 the variances of the parts of the kernel that belong to two rows, two columns, a row and a column,

        Var U = 4 v_10 / m + 4 v_01 / n + 2 c_20 / (m (m-1)) + 2 c_02 / (n (n-1)) + 16 c_11 / (mn) + smaller terms.

    The squared influences of the rows have mean 4 v_10 / m + 4 c_20 / (m (m-2)) + 16 c_11 / (mn), those of the columns
    likewise: together they count every part of second order twice. The second-order parts are estimated from pairs of
    rows and from the doubly centred d_ij, and taken away once. The result is without bias up to parts of third order,
    which are N^-3; for the grand mean it is (MS_r + MS_c - MS_e) / (mn), without any bias. For a ratio all this is of
    its linearisation.

    Args:
        W: arrays (..., m, n) with m, n >= 4.
        kernel: what is averaged.

    Raises:
        ShapeError: fewer than four rows or columns.
        NumericsError: an entry is NaN or infinite.

    Source: claim `array.quadruplets`; T. Le Minh and others, arXiv 2308.14518, for the decomposition.
    """
    W = require_arrays(W, FEWEST, FEWEST)
    flat = W.reshape(-1, *W.shape[-2:])
    split = chunks(len(flat), 64 * flat[0].numel(), CHUNK_BYTES)
    parts = [_variance(flat[chunk.start : chunk.stop].double(), kernel) for chunk in split]
    joined = [torch.cat(values).reshape(W.shape[:-2]) for values in zip(*parts, strict=True)]
    return QuadrupletVariance(*joined)


def quadruplet_interval(W: Tensor, kernel: Kernel | Ratio, level: float = 0.95) -> Interval:
    """Return a confidence interval for the expectation of a kernel over quadruplets of a row-column array.

    sqrt(N) (U - theta) -> N(0, 4 v_10 / rho + 4 v_01 / (1 - rho)) with N = m + n and m / N -> rho. The interval is
    U +- t sd with the variance of `quadruplet_variance` and Student's quantile. Where v_10 = v_01 = 0 the limit is not
    normal; arrays in which v_10 + v_01 is not significantly positive are refused.

    Args:
        W: arrays (..., m, n) with m, n >= 4.
        kernel: what is averaged, or a ratio of two.
        level: nominal coverage.

    Raises:
        ShapeError: fewer than four rows or columns.
        NumericsError: an entry is NaN or infinite.
        UsageError: a level outside (0, 1).

    Source: claim `array.coverage`; T. Le Minh, arXiv 2103.12597.
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level}", "a number between 0 and 1", "give the nominal coverage")
    parts = quadruplet_variance(W, kernel)
    sd = parts.variance.clamp(min=0).sqrt()
    reach = student_quantile((1 + level) / 2, (parts.rows, parts.columns), (W.shape[-2], W.shape[-1])) * sd
    interval = Interval(parts.estimate, parts.estimate - reach, parts.estimate + reach, sd)
    return refused(interval, degenerate(parts.rows + parts.columns, parts.second, parts.rounding))


def _variance(Y: Tensor, kernel: Kernel | Ratio) -> tuple[Tensor, ...]:
    """Return the fields of `QuadrupletVariance` for arrays (b, m, n) in float64."""
    ratio, kernel = kernel.linearised(Y) if isinstance(kernel, Ratio) else (None, kernel)
    m, n = Y.shape[-2:]
    d = kernel.cells(Y)
    g, f = d.mean(dim=-1), d.mean(dim=-2)
    U = g.mean(dim=-1)
    mixed = d - g.unsqueeze(-1) - f.unsqueeze(-2) + U.unsqueeze(-1).unsqueeze(-1)
    c11 = (m - 1) * (n - 1) / ((m - 2) * (n - 2)) ** 2 * mixed.square().sum(dim=(-1, -2))
    c20, c02 = kernel.pair_variance(Y), kernel.transposed().pair_variance(Y.mT)
    rows, columns = _influences(g, U), _influences(f, U)
    second = 2 * c20 / (m * (m - 1)) + 2 * c02 / (n * (n - 1)) + 16 * c11 / (m * n)
    twice_rows = 4 * c20 / (m * (m - 2)) + 16 * c11 / (m * n)
    twice_columns = 4 * c02 / (n * (n - 2)) + 16 * c11 / (m * n)
    v10, v01 = m / 4 * (rows - twice_rows), n / 4 * (columns - twice_columns)
    variance = rows + columns - twice_rows - twice_columns + second
    rounding = (tolerance(torch.float64, terms=64) * kernel.size(Y)).square()
    return (U if ratio is None else ratio), rows, columns, second, variance, v10, v01, rounding


def _influences(means: Tensor, U: Tensor) -> Tensor:
    """Return 4 (m-1) / (m (m-2)^2) sum_i (g_i - U)^2, the jackknife variance over one axis."""
    m = means.shape[-1]
    return 4 * (m - 1) / (m * (m - 2) ** 2) * (means - U.unsqueeze(-1)).square().sum(dim=-1)
