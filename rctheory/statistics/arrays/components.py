"""Mean effects of rows and columns: a test by sign flips, and classical variance components with their F tests."""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import chunks
from rctheory.statistics.arrays.cycles import BLOCK_BYTES, square_sum
from rctheory.statistics.arrays.outcome import ArrayTest, require_arrays, require_axis
from rctheory.statistics.arrays.tails import upper_tail, without_diagonal

MOST_BLOCKS = 64
UNEQUAL = 1e-3  # level at which a test of equal variances makes the F tests refuse
CONSTANT = "no line of the array varies once the other axis is centred: nothing to test"


def mean_effects(W: Tensor, axis: str, *, aligned: int = 1) -> ArrayTest:
    """Test that the means of the lines along an axis differ: for `rows`, that E[W_ij | row i] depends on i.

    For `rows`, let x_j be column j with its mean over the rows removed, and y_b the sum of the x_j over a block b of
    neighbouring columns, at most 64 blocks in all. With K_bc = y_b . y_c the statistic T = sum_{b != c} K_bc estimates
    the variance of the row means without bias. Under the null whole blocks may change their signs: y_b independent and
    symmetric. Over these flips T has mean 0, variance 2 sum_{b != c} K_bc^2 and third moment 8 sum K_bc K_cd K_db over
    distinct b, c, d, all known from the data; the p-value is the upper tail of the gamma law with these moments.

    So the level holds whatever variances the rows and columns have, under heavy tails, and under an *interaction*: in
    W_ij = r_i c_j with centred factors the row sums differ by chance alone, and tests that flip single entries, or the
    F test, reject in a third of all arrays. For skewed entries the flips are an approximation: mean and variance of T
    stay exact. Few lines on the other axis allow few flips: with g blocks no p-value is much below P(chi^2_1 > g).

    Args:
        W: arrays (..., m, n).
        axis: `rows` or `columns`; whose means are tested.
        aligned: entries, next to each other across the axis, whose noise may be dependent; blocks are multiples of it.

    Returns:
        statistic T / sd(T); effect: the variance of the line means as a share of the variance of the entries, the
        means of the other axis removed. It can be slightly negative. Refuses where no line varies.

    Raises:
        ShapeError: fewer than two rows, columns or blocks.
        UsageError: an unknown axis.
        NumericsError: an entry is NaN or infinite.

    Source: claim `array.calibration`; S. X. Chen and Y.-L. Qin, 2010, for T.
    """
    W = require_arrays(W)
    lines = W if require_axis(axis) == "rows" else W.transpose(-1, -2)
    m, n = lines.shape[-2:]
    size = aligned * ceil(n / (MOST_BLOCKS * aligned))
    if size >= n:
        raise ShapeError(f"{n} entries of a line in one block of {size}", "at least two blocks", "align fewer entries")
    K = without_diagonal(_centred_gram(_block_sums(lines, size)))
    total, sd = K.sum(dim=(-1, -2)), (2 * K.square().sum(dim=(-1, -2))).sqrt()
    third = 8 * ((K @ K) * K).sum(dim=(-1, -2))
    # An array without noise has sums of the size of its rounding: they are no evidence.
    square = torch.linalg.vector_norm(lines, dim=(-1, -2)).double().square() / (m * n)
    rounding = sqrt(m) * n * size * (4 * torch.finfo(lines.dtype).eps) ** 2 * square
    flat = ~(sd > rounding)
    sd = torch.where(flat, torch.nan, sd)
    z = total / sd
    spread = (square - lines.mean(dim=-2).double().square().mean(dim=-1)) * m / (m - 1)
    pairs = n**2 - (n // size) * size**2 - (n % size) ** 2
    effect = total / (pairs * (m - 1) * spread)
    return ArrayTest(z, upper_tail(z, third / sd**3), effect, CONSTANT if bool(flat.any()) else "")


def _block_sums(lines: Tensor, size: int) -> Tensor:
    """Return the sums of blocks of `size` columns, the last one possibly shorter: (..., m, g)."""
    n = lines.shape[-1]
    whole = n // size
    sums = lines.new_empty((*lines.shape[:-1], ceil(n / size)))
    if whole:
        torch.sum(lines[..., : whole * size].unflatten(-1, (-1, size)), dim=-1, out=sums[..., :whole])
    if whole * size < n:
        sums[..., whole] = lines[..., whole * size :].sum(dim=-1)
    return sums


def _centred_gram(x: Tensor) -> Tensor:
    """Return y^T y of y, the lines of x (..., m, g) less their mean: (..., g, g), float64.

    Some lines at a time: of many lines, 64 sums each are a good part of the array, in float64 twice that.
    """
    m, g = x.shape[-2:]
    parts = [x[..., p.start : p.stop, :] for p in chunks(m, 8 * (x.numel() // m), BLOCK_BYTES)]
    mean = torch.zeros(*x.shape[:-2], 1, g, dtype=torch.float64, device=x.device)
    for part in parts:
        mean += part.double().sum(dim=-2, keepdim=True) / m
    total = torch.zeros(*x.shape[:-2], g, g, dtype=torch.float64, device=x.device)
    for part in parts:
        y = part.double() - mean
        total += y.transpose(-1, -2) @ y
    return total


@dataclass(frozen=True)
class AxisComponent:
    """The classical analysis of one axis; every field has the leading axes of the arrays.

    Args:
        variance: (MS_axis - MS_e) / (entries of a line), unbiased for the variance of the line means; can be negative.
        share: variance / (variance + residual variance).
        F: MS_axis / MS_e.
        p_value: upper tail of F; NaN where refused.
        interval: of the share; NaN where refused.
    """

    variance: Tensor
    share: Tensor
    F: Tensor
    p_value: Tensor
    interval: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Components:
    """Two-way random effects W_ij = mu + r_i + c_j + e_ij.

    Args:
        grand_mean: estimate of mu.
        sd: standard deviation of the grand mean over arrays, sqrt((MS_r + MS_c - MS_e) / (m n)); 0 where negative.
        rows: row effects.
        columns: column effects.
        residual: MS_e; interaction and noise, which one value per cell cannot part.
        refusal: why p-values and intervals are NaN, when any is.
    """

    grand_mean: Tensor
    sd: Tensor
    rows: AxisComponent
    columns: AxisComponent
    residual: Tensor
    refusal: str = ""


def components(W: Tensor, level: float = 0.95) -> Components:
    """Estimate the variance components of rows, columns and residual, with F tests and intervals.

    F_r = MS_r / MS_e and s_r^2 = (MS_r - MS_e) / n, likewise for columns. Estimates are unbiased in every row-column
    array. F tests and intervals are exact for Gaussian noise that is independent, of equal variance, without
    interaction, and robust to other tails; where the residuals show unequal variances of rows or columns (by
    `mean_effects` of their squares, p <= 0.001) they are refused. An interaction is not seen by that check and
    inflates F: where one is possible `mean_effects` is the test to use.

    Args:
        W: arrays (..., m, n).
        level: coverage of the intervals of the shares.

    Raises:
        ShapeError: fewer than two rows or columns.
        UsageError: a level outside (0, 1).
        NumericsError: an entry is NaN or infinite.

    Source: claims `array.variance-components` and `array.grand-mean` (expectations), `array.calibration` (level).
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level}", "a number between 0 and 1", "use 0.95")
    W = require_arrays(W)
    m, n = W.shape[-2:]
    residuals, mean, rows, columns = double_centred(W)
    ms_r = n * rows.square().sum(dim=-1) / (m - 1)
    ms_c = m * columns.square().sum(dim=-1) / (n - 1)
    ms_e = square_sum(residuals) / ((m - 1) * (n - 1))
    refused = _unequal(residuals.square_())
    freedom = (m - 1) * (n - 1)
    analysed = [
        _analyse(ms_r, ms_e, (m - 1, freedom), n, level, refused),
        _analyse(ms_c, ms_e, (n - 1, freedom), m, level, refused),
    ]
    sd = ((ms_r + ms_c - ms_e) / (m * n)).clamp(min=0).sqrt()
    refusal = "unequal variances of rows or columns: the F law does not hold" if bool(refused.any()) else ""
    return Components(mean, sd, analysed[0], analysed[1], ms_e, refusal)


def double_centred(W: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split W_ij = mean + row_i + column_j + residual_ij, with centred parts.

    Returns:
        residuals (..., m, n) in the dtype of W, and in float64 the grand mean (...), rows (..., m), columns (..., n).
    """
    rows, columns = W.mean(dim=-1), W.mean(dim=-2)
    mean = rows.double().mean(dim=-1)
    residuals = W - rows.unsqueeze(-1)
    residuals -= (columns - mean.to(W.dtype).unsqueeze(-1)).unsqueeze(-2)
    return residuals, mean, rows.double() - mean.unsqueeze(-1), columns.double() - mean.unsqueeze(-1)


def unequal_variances(residuals: Tensor) -> Tensor:
    """Return where the squares of residuals (..., m, n) differ between rows or between columns, at level `UNEQUAL`."""
    return _unequal(residuals.square())


def _unequal(squares: Tensor) -> Tensor:
    """Return where squares of residuals differ between rows or between columns."""
    return (mean_effects(squares, "rows").p_value <= UNEQUAL) | (mean_effects(squares, "columns").p_value <= UNEQUAL)


def _analyse(
    ms: Tensor, ms_e: Tensor, freedom: tuple[int, int], entries: int, level: float, refused: Tensor
) -> AxisComponent:
    """Return F, its tail, and the interval of the share s_r^2 / (s_r^2 + s^2) that inverts it."""
    ratio = (ms / ms_e).cpu()
    hidden = refused.cpu() | ~torch.isfinite(ratio)
    p_value = torch.from_numpy(np.asarray(stats.f.sf(ratio.numpy(), *freedom)))
    bounds = []
    for probability in ((1 + level) / 2, (1 - level) / 2):
        theta = ((ratio / float(stats.f.ppf(probability, *freedom)) - 1) / entries).clamp(min=0)
        bounds.append(torch.where(hidden, torch.nan, theta / (1 + theta)).to(ms.device))
    variance = (ms - ms_e) / entries
    p_value = torch.where(hidden, torch.nan, p_value).to(ms.device)
    return AxisComponent(variance, variance / (variance + ms_e), ratio.to(ms.device), p_value, (bounds[0], bounds[1]))
