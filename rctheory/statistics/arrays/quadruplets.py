"""U-statistics over quadruplets, two rows by two columns: estimate, variance, interval."""

from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.numerics import chunks, tolerance
from rctheory.statistics.arrays.intervals import (
    Interval,
    degenerate,
    dimensions_of,
    freedom_of,
    refused,
    student_quantile,
)
from rctheory.statistics.arrays.outcome import require_arrays
from rctheory.statistics.arrays.quadruplet_kernels import Kernel, Ratio

FEWEST = 4
CHUNK_BYTES = 4 << 20  # a chunk of replicates and what is made of it stay in the caches


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
        skewness: third moment of the sum of influences over sd^3.
        bending: what influences of two units and what these do together contribute to a studentised U, over sd^3.
        bias: of a ratio of two means, -Cov(A, B) with its linear part A and the relative error B of what it is divided
            by; 0 for a mean.
        freedom: degrees of freedom of the variance.
        dimensions: effective number of dimensions of `second`; 1 where it may be a single product.
        rounding: size below which `rows` and `columns` are rounding.
    """

    estimate: Tensor
    rows: Tensor
    columns: Tensor
    second: Tensor
    variance: Tensor
    v10: Tensor
    v01: Tensor
    skewness: Tensor
    bending: Tensor
    bias: Tensor
    freedom: Tensor
    dimensions: Tensor
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

    sqrt(N) (U - theta) -> N(0, 4 v_10 / rho + 4 v_01 / (1 - rho)) with N = m + n and m / N -> rho. To the next order
    P((U - theta) / sd <= x) = Phi(x) + [(2 x^2 + 1) skewness / 6 + (x^2 + 1) bending / 2] phi(x), an even correction
    that moves both ends alike: the interval is U - bias + [(2 z^2 + 1) skewness / 6 + (z^2 + 1) bending / 2] sd
    +- t sd, with the variance of `quadruplet_variance`, z the normal and t Student's quantile. Where v_10 = v_01 = 0
    the limit is not normal; arrays in which v_10 + v_01 is not significantly positive are refused.

    Args:
        W: arrays (..., m, n) with m, n >= 4.
        kernel: what is averaged, or a ratio of two.
        level: nominal coverage.

    Raises:
        ShapeError: fewer than four rows or columns.
        NumericsError: an entry is NaN or infinite.
        UsageError: a level outside (0, 1).

    Source: claim `array.coverage`; T. Le Minh, arXiv 2103.12597; R. Helmers, On the Edgeworth expansion and the
    bootstrap approximation for a studentized U-statistic, 1991, for the correction on one axis.
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level}", "a number between 0 and 1", "give the nominal coverage")
    parts = quadruplet_variance(W, kernel)
    sd, z = parts.variance.clamp(min=0).sqrt(), float(special.ndtri((1 + level) / 2))
    centre = parts.estimate - parts.bias + ((2 * z**2 + 1) / 6 * parts.skewness + (z**2 + 1) / 2 * parts.bending) * sd
    reach = student_quantile(level, parts.freedom) * sd
    interval = Interval(parts.estimate, centre - reach, centre + reach, sd)
    return refused(interval, degenerate(parts.rows + parts.columns, parts.second, parts.dimensions, parts.rounding))


def _variance(Y: Tensor, kernel: Kernel | Ratio) -> tuple[Tensor, ...]:
    """Return the fields of `QuadrupletVariance` for arrays (b, m, n) in float64."""
    ratio = divided = None
    if isinstance(kernel, Ratio):
        ratio, kernel, divided = kernel.linearised(Y)
    m, n = Y.shape[-2:]
    d = kernel.cells(Y)
    U = d.mean(dim=(-1, -2))
    mixed = d - d.mean(dim=-1, keepdim=True) - d.mean(dim=-2, keepdim=True) + U.unsqueeze(-1).unsqueeze(-1)
    x, y = _influences(d)
    (c20, row_form), (c02, column_form) = kernel.pairs(Y, x), kernel.transposed().pairs(Y.mT, y)
    rows, columns = (m - 1) / m * x.square().sum(dim=-1), (n - 1) / n * y.square().sum(dim=-1)
    pairs = 2 * c20 / (m * (m - 1)) + 2 * c02 / (n * (n - 1))
    both = 16 * (m - 1) * (n - 1) / (m * n * ((m - 2) * (n - 2)) ** 2) * mixed.square().sum(dim=(-1, -2))
    once_rows, once_columns = rows - 4 * c20 / (m * (m - 2)) - both, columns - 4 * c02 / (n * (n - 2)) - both
    second = pairs + both
    variance = once_rows + once_columns + second
    bent = 8 * torch.einsum("bi,bij,bj->b", x, mixed, y) / (m * n) + 2 * (row_form / m**2 + column_form / n**2)
    bias = torch.zeros_like(U)
    if divided is not None:  # A / (1 + B) = A - A B + ..., one more part of second order
        rows_below, columns_below = _influences(divided)
        bias = -(x * rows_below).sum(dim=-1) - (y * columns_below).sum(dim=-1)
        bent = bent + 2 * (rows + columns) * bias
    cube = variance.clamp(min=0).pow(1.5)
    shape = (x.pow(3).sum(dim=-1) + y.pow(3).sum(dim=-1)) / cube, bent / cube, bias, freedom_of((x, y))
    # Pairs of rows and pairs of columns may have one dimension only. Standard deviations of parts add up at most.
    share = torch.where(second > 0, pairs / second, 1.0)
    dimensions = (share + (1 - share) / dimensions_of(mixed).sqrt()).pow(-2)
    rounding = (tolerance(torch.float64, terms=64) * kernel.size(Y)).square()
    parts = rows, columns, second, variance, m / 4 * once_rows, n / 4 * once_columns
    return (U if ratio is None else ratio), *parts, *shape, dimensions, rounding


def _influences(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much the mean moves for each row, (b, m), and for each column, (b, n)."""
    mean = cells.mean(dim=(-1, -2)).unsqueeze(-1)
    rows, columns = cells.mean(dim=-1) - mean, cells.mean(dim=-2) - mean
    return 2 * rows / (rows.shape[-1] - 2), 2 * columns / (columns.shape[-1] - 2)
