"""The four-cycle test of interaction on Helmert contrasts, with its normal null: for near-Gaussian noise alone."""

from math import prod, sqrt

import torch
from torch import Tensor

from rctheory.statistics.arrays.components import double_centred, unequal_variances
from rctheory.statistics.arrays.cycles import cycle_sum, short_side_first, square_sum
from rctheory.statistics.arrays.four_cycle import batches, share_of_variance
from rctheory.statistics.arrays.outcome import ArrayTest, require_arrays
from rctheory.statistics.arrays.tails import upper_tail

HEAVY = 0.5  # excess kurtosis of the residuals from which the normal null is refused
NOT_NORMAL = "residuals with heavy tails or unequal variances: the normal null does not hold; use interaction()"


def interaction_normal(W: Tensor) -> ArrayTest:
    """Test for interaction by the four-cycle of Helmert contrasts, with its normal null.

    C = H_m W H_n^T has (m-1) x (n-1) entries, free of row and column effects; for independent Gaussian noise of equal
    variance s^2 they are independent of variance s^2. Then U = mean of C_ij C_kj C_kl C_il over i != k, j != l has mean
    0, variance 4 s^8 / [M (M-1) N (N-1)] with M = m-1, N = n-1, and skewness
    4 (M + N - 4) / sqrt(M (M-1) N (N-1)). With d = M N and q the mean square of the contrasts, U / q^2 is independent
    of q: its moments are those of U over those of powers of chi^2_d / d, exact. The p-value is the upper tail of the
    gamma law with these moments, normal in the limit.

    It refuses where its null is in doubt: excess kurtosis of the double-centred residuals above 0.5, or unequal
    variances of rows or columns (`mean_effects` of the squared residuals, p <= 0.001), which a strong interaction also
    makes. Scale profiles too faint for that check still bias it: use `interaction` where scales may differ, as in
    trained weights.

    Args:
        W: arrays (..., m, n).

    Returns:
        statistic U / sd(U), given also where refused; effect as in `interaction`.

    Raises:
        ShapeError: fewer than four rows or columns.
        NumericsError: an entry is NaN or infinite.

    Source: claims `array.helmert`, `array.four-cycle` and `array.calibration`.
    """
    W = require_arrays(W, 4, 4)
    M, N = W.shape[-2] - 1, W.shape[-1] - 1
    cells = M * (M - 1) * N * (N - 1)
    square_moment, cube_moment = (prod(1 + 2 * k / (M * N) for k in range(power)) for power in (4, 6))
    sd = sqrt(4 * cells / square_moment)
    skewness = 4 * (M + N - 4) / sqrt(cells) * square_moment**1.5 / cube_moment
    arrays = W.reshape(-1, *W.shape[-2:])
    outcomes = []
    for part in batches(arrays):
        array = arrays[part.start : part.stop]
        C = short_side_first(helmert(helmert(array, -2), -1))
        square = square_sum(C) / (M * N)
        total = cycle_sum(C)[0]
        z = total / (sd * square.square())
        p_value = upper_tail(z, torch.full_like(z, skewness))
        p_value = torch.where(_not_normal(array), torch.nan, p_value)
        outcomes.append(torch.stack([z, p_value, share_of_variance(total / cells, square)]))
    z, p_value, effect = torch.cat(outcomes, dim=-1).reshape(3, *W.shape[:-2])
    return ArrayTest(z, p_value, effect, NOT_NORMAL if bool(p_value.isnan().any()) else "")


def helmert(W: Tensor, dim: int) -> Tensor:
    """Return the Helmert contrasts (x_1 + .. + x_k - k x_{k+1}) / sqrt(k (k+1)), k = 1 .. size - 1, along a dimension.

    They are orthonormal and orthogonal to the constants. By cumulative sums, O(size of W).
    """
    centred = (W - W.mean(dim=dim, keepdim=True)).transpose(dim, -1)
    size = centred.shape[-1]
    k = torch.arange(1, size, device=W.device, dtype=W.dtype)
    sums = centred.cumsum(dim=-1)[..., :-1]
    return sums.addcmul_(centred[..., 1:], k, value=-1).div_((k * (k + 1)).sqrt()).transpose(dim, -1)


def _not_normal(W: Tensor) -> Tensor:
    """Return where the double-centred residuals of arrays (k, m, n) are heavy-tailed or of unequal variances."""
    residuals = double_centred(W)[0]
    fourth, second = square_sum(residuals.square()), square_sum(residuals)
    kurtosis = fourth * residuals[0].numel() / second.square() - 3
    return ~(kurtosis <= HEAVY) | unequal_variances(residuals)
