"""What chance alone makes of a correlation of pairs of entries: the exact moments of a group of permutations.

All values are float64 on the CPU and have the leading axis (b,) of a chunk of replicates.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import special
from torch import Tensor

from rctheory.statistics.arrays.unit_sums import RowSums, UnitSums

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
    n = sums.column_squares.shape[1]
    variance, third = permuted_moments(sums)
    flipped, flipped_third = flipped_moments(sums)
    # Where the two groups differ, each tail is taken from the group in which it is longer.
    spread = torch.maximum(variance, flipped).sqrt()
    skewness = torch.stack([third / variance.pow(1.5), flipped_third / flipped.pow(1.5)])
    total = sums.totals.square().sum(dim=1) - sums.size
    return _type_three(total, spread, skewness.aminmax(dim=0), (n - 1) * sums.size, level)


def permuted_moments(sums: UnitSums) -> tuple[Tensor, Tensor]:
    """Return variance and third moment of sum_i (S_i^2 - Q_i) when every column is permuted for itself.

    2 (Q^2 - sum_j q_j^2) / (m - 1) and 8 sum_{j != k != l} q_j q_k q_l / (m - 1)^2; exact, but that the third moment
    leaves out what skew columns add: 4 m / ((m - 1) (m - 2)) sum_{j != k} c_j c_k with c_j their sums of cubes.
    """
    size, q = sums.size, sums.column_squares
    q2, q3 = q.square().sum(dim=1), q.pow(3).sum(dim=1)
    freedom = sums.totals.shape[1] - 1
    return 2 * (size.square() - q2) / freedom, 8 * (size.pow(3) - 3 * size * q2 + 2 * q3) / freedom**2


def flipped_moments(sums: UnitSums) -> tuple[Tensor, Tensor]:
    """Return variance and third moment of sum_i (S_i^2 - Q_i) when the sign of every entry is flipped for itself.

    2 sum_i (Q_i^2 - F_i) and 8 sum_i (Q_i^3 - 3 Q_i F_i + 2 G_i); the sums of sixth powers G_i matter little and are
    put at their most, F_i^(3/2), which keeps the third moment positive.
    """
    squares, fourths = sums.squares, sums.fourths
    third = 8 * (squares.pow(3) - 3 * squares * fourths + 2 * fourths.pow(1.5)).sum(dim=1)
    return 2 * (squares.square() - fourths).sum(dim=1), third


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
    t = r * ((m - 2) / (1 - r.square()).clamp(min=0)).sqrt()
    quantile = float(special.stdtrit(m - 2, (1 + level) / 2))
    reach = quantile / (m - 2 + quantile**2) ** 0.5 * largest / scale
    return Correlation(r * largest / scale, -reach, reach, _both_tails(special.stdtr(m - 2, -t.abs().numpy())))


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
        squares = ((y.mT @ y) * (z.mT @ z)).sum(dim=(1, 2), dtype=torch.float64)
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


def _type_three(
    total: Tensor, spread: Tensor, skewness: tuple[Tensor, Tensor], scale: Tensor, level: float
) -> Correlation:
    """Refer a centred sum to Pearson's type III law, a shifted gamma law, with a skewness for each tail."""
    lower, upper = ((4 / skew.clamp(min=LEAST_SKEWNESS).square()).numpy() for skew in skewness)
    z = (total / spread).numpy()
    below = special.gammainc(lower, np.maximum(lower + z * np.sqrt(lower), 0))
    above = special.gammaincc(upper, np.maximum(upper + z * np.sqrt(upper), 0))
    reach = spread / scale
    tail = (1 - level) / 2
    low, high = special.gammaincinv(lower, tail), special.gammainccinv(upper, tail)
    low, high = ((end - k) / np.sqrt(k) for end, k in ((low, lower), (high, upper)))
    p = torch.from_numpy(np.minimum(1, 2 * np.minimum(below, above)))
    return Correlation(total / scale, torch.from_numpy(low) * reach, torch.from_numpy(high) * reach, p)


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
