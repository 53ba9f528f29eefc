"""What chance alone makes of a correlation of pairs of entries: the exact moments of a group of permutations.

All values are float64 on the CPU and have the leading axis (b,) of a chunk of replicates.
"""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import torch
from scipy import special
from torch import Tensor

from rctheory.statistics.arrays.cycles import times_transpose
from rctheory.statistics.arrays.unit_sums import RowSums, UnitSums

GRID = 64  # points of equal probability that stand for a gamma law under a normal one
STEPS = 60  # of Newton's method; halving alone needs 44 of them
PRECISION = 1e-12  # of a quantile, in standard deviations
SQRT_TWO_PI = sqrt(2 * pi)
LEAST_SKEWNESS = 1e-4  # below, the type III law is the normal law to 5 digits, and its shape parameter unwieldy


@dataclass(frozen=True)
class Correlation:
    """A correlation of pairs of entries; every field has the leading axes (...) of the arrays.

    Args:
        value: the correlation.
        low: lower end of the interval that it lies in by chance alone.
        high: upper end.
        p_value: two-sided; NaN, like the rest, where centring leaves nothing.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    p_value: Tensor


def shared(sums: UnitSums, level: float) -> Correlation:
    """Correlate pairs of entries of one unit; the formulas stand in `within_correlations`."""
    scale = (sums.column_squares.shape[1] - 1) * sums.size
    total = sums.totals.square().sum(dim=1) - sums.size
    permuted = _type_three(total, *permuted_moments(sums), level)
    variance, third, fourth = flipped_moments(sums)
    flipped = _type_three(total, variance, third, level)
    # Few large weights among many small ones: such a sum has a lower tail that three moments cut off.
    flipped_below, flipped_low = _lower_tail(total, variance, third, fourth, level)
    below, above = torch.maximum(permuted.below, flipped_below), torch.maximum(permuted.above, flipped.above)
    p = (2 * torch.minimum(below, above)).clamp(max=1)
    low, high = torch.minimum(permuted.low, flipped_low), torch.maximum(permuted.high, flipped.high)
    return Correlation(total / scale, low / scale, high / scale, p)


def permuted_moments(sums: UnitSums) -> tuple[Tensor, Tensor]:
    """Return variance and third moment of sum_i (S_i^2 - Q_i) when every column is permuted for itself.

    2 (Q^2 - sum_j q_j^2) / (m - 1) and 8 sum_{j != k != l} q_j q_k q_l / (m - 1)^2; exact, but that the third moment
    leaves out what skew columns add: 4 m / ((m - 1) (m - 2)) sum_{j != k} c_j c_k with c_j their sums of cubes.
    """
    size, q = sums.size, sums.column_squares
    q2, q3 = q.square().sum(dim=1), q.pow(3).sum(dim=1)
    freedom = sums.totals.shape[1] - 1
    return 2 * (size.square() - q2) / freedom, 8 * (size.pow(3) - 3 * size * q2 + 2 * q3) / freedom**2


def flipped_moments(sums: UnitSums) -> tuple[Tensor, Tensor, Tensor]:
    """Return second to fourth cumulant of sum_i (S_i^2 - Q_i) when the sign of every entry is flipped for itself.

    S_i^2 - Q_i has variance 2 (Q_i^2 - F_i); it is given the higher cumulants of sqrt(Q_i^2 - F_i) (chi^2_1 - 1), which
    it has for many entries of similar size.
    """
    weights = (sums.squares.square() - sums.fourths).clamp(min=0).sqrt()
    second, third, fourth = (weights.pow(k).sum(dim=1) for k in (2, 3, 4))
    return 2 * second, 8 * third, 48 * fourth


def apart(sums: RowSums, level: float) -> Correlation:
    """Correlate entries that share nothing, neighbours along the diagonal, under permuted rows."""
    products, own = sums.next_products, sums.own_products
    m = products.shape[1]
    centre = -own / (m - 1)
    spread = (products - products.mean(dim=1, keepdim=True)).square().sum(dim=1).mul(m / (m - 1)).sqrt()
    return _student(products.sum(dim=1), centre, spread, m - 1, sums.size, level)


def neuron_alone(first: UnitSums, second: UnitSums, level: float) -> Correlation:
    """Correlate entries of two arrays that share a neuron, under permuted neurons."""
    m = first.totals.shape[1]
    widths = first.column_squares.shape[1] * second.column_squares.shape[1]
    scale = (widths * first.size * second.size).sqrt()
    largest = (first.totals.square().sum(dim=1) * second.totals.square().sum(dim=1)).sqrt()
    r = (first.totals * second.totals).sum(dim=1) / largest
    # Pitman's beta law for r^2, by its two moments; Student's test of a correlation where the kurtoses are 0.
    mean, square = 1 / (m - 1), fourth_moment(first.totals, second.totals)
    both = (mean - square) / (square - mean**2)
    a, b = (both * mean).numpy(), (both * (1 - mean)).numpy()
    p = torch.from_numpy(special.betaincc(a, b, r.square().clamp(max=1).numpy()))
    reach = torch.from_numpy(special.betaincinv(a, b, level)).sqrt() * largest / scale
    return Correlation(r * largest / scale, -reach, reach, p)


def fourth_moment(x: Tensor, y: Tensor) -> Tensor:
    """Return E[r^4] of the correlation r of x and permuted y, (b, m) each: (b,).

    3 / (m^2 - 1) [1 + (m - 2) (m - 3) / (3 m (m - 1)^2) g_x g_y] with g the excess kurtoses.

    Source: E. J. G. Pitman, Significance tests which may be applied to samples from any populations II, 1937.
    """
    m = x.shape[1]
    kurtosis = excess_kurtosis(x) * excess_kurtosis(y)
    return 3 / (m**2 - 1) * (1 + (m - 2) * (m - 3) / (3 * m * (m - 1) ** 2) * kurtosis)


def excess_kurtosis(x: Tensor) -> Tensor:
    """Return k_4 / k_2^2 of samples (b, m), k_r Fisher's unbiased cumulants."""
    m = x.shape[1]
    y = x - x.mean(dim=1, keepdim=True)
    second, fourth = y.square().sum(dim=1), y.pow(4).sum(dim=1)
    k4 = m * ((m + 1) * fourth - 3 * (m - 1) / m * second.square()) / ((m - 1) * (m - 2) * (m - 3))
    return k4 / (second / (m - 1)).square()


def neuron_and_column(y: Tensor, z: Tensor, scale: Tensor, level: float) -> dict[str, Correlation]:
    """Correlate entries of two arrays on the same neurons and columns, centred by column, under permuted neurons.

    Args:
        y: (b, m, n).
        z: (b, m, n).
        scale: sqrt(Q_y Q_z), (b,).
        level: of the interval.
    """
    m, n = y.shape[-2:]
    if n <= m:  # |y z^T|^2 = <y^T y, z^T z>: the smaller of the two products
        squares = (times_transpose(y.mT) * times_transpose(z.mT)).sum(dim=(1, 2), dtype=torch.float64)
    else:
        squares = (y @ z.mT).square().sum(dim=(1, 2), dtype=torch.float64)
    r, s = y.sum(dim=2), z.sum(dim=2)
    crossed = ((y.mT @ r.unsqueeze(2)) * (z.mT @ s.unsqueeze(2))).sum(dim=(1, 2), dtype=torch.float64)
    r, s = r.double(), s.double()
    both = (y * z).sum(dim=(1, 2), dtype=torch.float64)
    rest = (r * s).sum(dim=1) - both
    rest_squares = r.square().sum(dim=1) * s.square().sum(dim=1) - 2 * crossed + squares
    alone = _normal(rest, (rest_squares.clamp(min=0) / (m - 1)).sqrt(), (n - 1) * scale, level)
    return {"neuron": alone, "neuron and column": _normal(both, (squares / (m - 1)).sqrt(), scale, level)}


@dataclass(frozen=True)
class _Reference:
    """Probabilities below and above a sum, and the ends of the interval of its law."""

    below: Tensor
    above: Tensor
    low: Tensor
    high: Tensor


def _type_three(total: Tensor, variance: Tensor, third: Tensor, level: float) -> _Reference:
    """Refer a centred sum to Pearson's type III law with its moments, a shifted gamma law."""
    spread = variance.sqrt()
    shape = (4 / (third / spread.pow(3)).clamp(min=LEAST_SKEWNESS).square()).numpy()
    x = np.maximum(shape + (total / spread).numpy() * np.sqrt(shape), 0)
    tail = (1 - level) / 2
    ends = ((inverse(shape, tail) - shape) / np.sqrt(shape) for inverse in (special.gammaincinv, special.gammainccinv))
    low, high = (torch.from_numpy(end) * spread for end in ends)
    below, above = (torch.from_numpy(f(shape, x)) for f in (special.gammainc, special.gammaincc))
    return _Reference(below, above, low, high)


def _lower_tail(total: Tensor, variance: Tensor, third: Tensor, fourth: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Refer a centred sum to the sum of a shifted gamma and a normal variable that has its four cumulants.

    theta (G_k - k) with theta = c_4 / (3 c_3) and k = c_3 / (2 theta^3), and a normal one of the rest of the variance;
    the gamma law stands at `GRID` points of equal probability, which is coarse in the upper tail alone.

    Returns:
        The probability below the sum, and the lower end of the interval.
    """
    theta = fourth / (3 * third)
    shape = third / (2 * theta.pow(3))
    rest = (variance - shape * theta.square()).clamp(min=1e-6 * variance).sqrt().unsqueeze(1).numpy()
    k = shape.unsqueeze(1).numpy()
    points = theta.unsqueeze(1).numpy() * (special.gammaincinv(k, (np.arange(GRID) + 0.5) / GRID) - k)

    below = special.ndtr((total.unsqueeze(1).numpy() - points) / rest).mean(axis=1)
    return torch.from_numpy(below), torch.from_numpy(_quantile(points, rest, variance.sqrt().numpy(), (1 - level) / 2))


def _quantile(points: np.ndarray, rest: np.ndarray, spread: np.ndarray, tail: float) -> np.ndarray:
    """Return the lower quantile of the mean of normal laws around points (b, GRID) of sds rest (b, 1).

    Newton's method inside a bracket from -10 standard deviations `spread` of the whole to 0.
    """
    low, high, x = -10 * spread, np.zeros_like(spread), -2 * spread
    for _ in range(STEPS):
        scores = (x[:, None] - points) / rest
        excess = special.ndtr(scores).sum(axis=1) / GRID - tail
        low, high = np.where(excess < 0, x, low), np.where(excess < 0, high, x)
        slope = np.exp(-(scores**2) / 2).sum(axis=1) / (GRID * SQRT_TWO_PI * rest[:, 0])
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # far below all points there is no slope
            newton = x - excess / slope
        moved = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        settled = bool((np.abs(moved - x) <= PRECISION * spread).all())
        x = moved
        if settled:
            break
    return x


def _student(total: Tensor, centre: Tensor, spread: Tensor, freedom: int, scale: Tensor, level: float) -> Correlation:
    """Refer a sum to Student's t around a centre."""
    t = (total - centre) / spread
    reach = float(special.stdtrit(freedom, (1 + level) / 2)) * spread
    p = _both_tails(special.stdtr(freedom, -t.abs().numpy()))
    return Correlation(total / scale, (centre - reach) / scale, (centre + reach) / scale, p)


def _normal(total: Tensor, spread: Tensor, scale: Tensor, level: float) -> Correlation:
    """Refer a centred sum to the normal law."""
    z = total / spread
    reach = float(special.ndtri((1 + level) / 2)) * spread / scale
    return Correlation(total / scale, -reach, reach, _both_tails(special.ndtr(-z.abs().numpy())))


def _both_tails(below: np.ndarray) -> Tensor:
    """Return the two-sided p-value from the distribution function at minus the size of a score; NaN stays NaN."""
    return 2 * torch.from_numpy(below)
