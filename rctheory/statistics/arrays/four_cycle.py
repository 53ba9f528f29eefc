"""Interaction of rows and columns: the four-cycle statistic, unbiased under any independent noise."""

from math import sqrt

import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.numerics import chunks
from rctheory.statistics.arrays.components import double_centred
from rctheory.statistics.arrays.cycles import (
    cycle_sum,
    gram_off_diagonal,
    largest,
    mean_size,
    power_grams,
    short_side_first,
    square_sum,
    sums_of_squares,
)
from rctheory.statistics.arrays.double_contrasts import flip_test
from rctheory.statistics.arrays.outcome import ArrayTest, require_arrays
from rctheory.statistics.arrays.tails import distinct_pairs, distinct_triples, power_sums, upper_tail

SPIKE = 100  # mean sizes; four-cycles cancel fourth powers, whose rounding in float32 is 1e-7 of the largest
SAMPLED_ROWS = 128  # enough for a skewness that is small wherever there are more
UNSEEN = "nothing but row and column effects, or an entry so large that nothing is seen beside it"


def interaction(W: Tensor, *, seed: int, flips: int | None = None) -> ArrayTest:
    """Test for interaction: is W more than row effect + column effect + independent noise?

    U is the mean of D_ac D_bc D_bd D_ad over all pairs a, b of rows and c, d of columns without a row or a column in
    common, where D_ac = (W_ij - W_kj - W_il + W_kl) / 2 is the double contrast of a = (i, k) and c = (j, l). The four
    contrasts are free of row and column effects and share no entry, so E U = 0 under *any* independent noise, whatever
    its variances, tails or skewness; an interaction sum_q a_q u_qi v_qj with independent unit factors gives it the mean
    sum_q a_q^4. U is a polynomial in the Gram of the double-centred array and in its sums of squares and fourth powers.

    Under the null U is, to leading order, the mean four-cycle of the noise, whose moments over the signs of symmetric
    noise are known: variance 4 sum_{i != k, j != l} V_ij V_kj V_kl V_il / [m (m-1) n (n-1)]^2 and third moment
    384 [sum_{i<k} e_3(V_i V_k) + sum_{j<l} e_3(V_j V_l)] / [...]^3, V the squares of the noise, e_3 the sum of products
    of three distinct entries. V is estimated by E^2 less what the centring mixes in, and the variance is multiplied by
    what the other cycles add, a factor 1 + 2/(m-2) + 2/(n-2) + ..., exact for noise of equal variance. The p-value is
    the upper tail of the gamma law with these moments. With tails as heavy as t3 the variance is estimated too large
    where there are few rows or columns (a size of 4% for 5% at 24 x 512), and so it is beside an entry a hundred times
    the others: conservative.

    The test is one-sided: an interaction makes U larger. A statistic far below zero says that rows, or columns, are
    closer to orthogonal than independent entries would be; that is a dependence too, but no interaction.

    `flips` = B gives instead a Monte-Carlo test that is exact at any size under symmetric noise, as `flip_test` of
    random disjoint contrasts says; it sees an interaction of sqrt(2) times the amplitude as well.

    Args:
        W: arrays (..., m, n).
        seed: root seed of the random contrasts and flips; without `flips` nothing is random.
        flips: number of random sign flips; None for the gamma law.

    Returns:
        statistic U / sd(U); effect: sign(U) sqrt |U| / s^2 with s^2 the residual mean square. For an interaction
        sum_q a_q u_qi v_qj in noise of variance t^2 it estimates sqrt(sum a_q^4) / (sum a_q^2 + t^2): the share of
        the interaction in the variance where it has one factor, a lower bound to that share where it has more.

    Raises:
        ShapeError: fewer than four rows or columns.
        UsageError: flips < 1.
        NumericsError: an entry is NaN or infinite.

    Source: claims `array.four-cycle`, `array.calibration` and `array.power`.
    """
    if flips is not None and flips < 1:
        raise UsageError(f"{flips} sign flips", "at least 1, or None", "ask for more flips")
    W = require_arrays(W, 4, 4)
    arrays = W.reshape(-1, *W.shape[-2:])
    outcomes = []
    for part in batches(arrays):
        array = _wide_enough(arrays[part.start : part.stop])
        outcomes.append(torch.stack(flip_test(array, seed, flips) if flips else _moment_test(array)))
    z, p_value, effect = torch.cat(outcomes, dim=-1).reshape(3, *W.shape[:-2])
    return ArrayTest(z, p_value, effect, UNSEEN if bool(p_value.isnan().any()) else "")


def unbiased_cycle(E: Tensor) -> Tensor:
    """Return U of `interaction` from a double-centred array E (..., m, n): (...), float64.

    With Q the sum of squares, R and C the sums over rows and columns of their squared sums of squares, F the sum of
    fourth powers, T the trace of (E E^T)^2, a = m^2 - 3m + 1 and b = n^2 - 3n + 1,

        U = [(ab + a + b + 3) T + (a + b + 1) Q^2 - n(n-1)(a+2) C - m(m-1)(b+2) R + m(m-1)n(n-1) F] / [(m)_4 (n)_4],

    by inclusion and exclusion over coinciding rows and columns, all of whose other sums vanish by the centring.
    """
    m, n = E.shape[-2:]
    rows, columns, F = sums_of_squares(E)
    R, C, Q = rows.square().sum(dim=-1), columns.square().sum(dim=-1), rows.sum(dim=-1)
    a, b = m * m - 3 * m + 1, n * n - 3 * n + 1
    trace = square_sum(gram_off_diagonal(short_side_first(E))) + (R if m <= n else C)
    paired = (a * b + a + b + 3) * trace + (a + b + 1) * Q.square()
    lines = n * (n - 1) * (a + 2) * C + m * (m - 1) * (b + 2) * R
    whole = float(m * (m - 1) * (m - 2) * (m - 3)) * float(n * (n - 1) * (n - 2) * (n - 3))
    return (paired - lines + float(m * (m - 1) * n * (n - 1)) * F) / whole


def inflation(m: int, n: int) -> float:
    """Return Var U [m (m-1) n (n-1)] / (4 s^8) for independent noise of equal variance s^2, exact.

    U is multilinear in distinct entries: the terms are the nine shapes of four entries that a row pattern (two and two,
    two and one and one, all distinct) and a column pattern leave.
    """
    p, q = m - 2, n - 2
    p2, q2 = p * (m - 3), q * (n - 3)
    rows, columns = 1 + 2 / p + 2 / p2, 1 + 2 / q + 2 / q2
    return rows + columns - 1 + 4 / (p * q) + 4 / (p * q2) + 4 / (p2 * q) + 6 / (p2 * q2)


def batches(arrays: Tensor) -> list[range]:
    """Split arrays (k, m, n) so that what one part needs beyond them takes little memory."""
    m, n = arrays.shape[-2:]
    return chunks(len(arrays), 8 * (4 * m * n + 5 * min(m, n) ** 2), 1 << 27)


def share_of_variance(mean_cycle: Tensor, square: Tensor) -> Tensor:
    """Return sign(U) sqrt |U| over the mean square."""
    return mean_cycle.sign() * mean_cycle.abs().sqrt() / square


def _wide_enough(W: Tensor) -> Tensor:
    """Return arrays (k, m, n) in float64 where an entry is so far out that float32 would lose the others beside it."""
    return W.double() if bool((largest(W) > SPIKE * mean_size(W)).any()) else W


def _moment_test(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return statistic, p-value and effect for arrays (k, m, n)."""
    m, n = W.shape[-2:]
    E = double_centred(W)[0]
    size = largest(E)
    # What rounding alone leaves of row and column effects is no noise. Scaled, powers up to the twelfth stay in range.
    rounding = 8 * torch.finfo(E.dtype).eps * largest(W)
    E.div_(torch.where(size > rounding, size, torch.nan))
    U = unbiased_cycle(E)
    square = square_sum(E) / ((m - 1) * (n - 1))
    V = short_side_first(_variances(E))
    power, _ = cycle_sum(V)
    sd = 2 * power.sqrt()  # of the sum of four-cycles
    cells = m * (m - 1) * n * (n - 1)
    z = cells * U / (sd * sqrt(inflation(m, n)))
    return z, upper_tail(z, third_moment(V) / sd**3), share_of_variance(U, square)


def _variances(E: Tensor) -> Tensor:
    """Estimate the squares of the noise from the double-centred array, in place of it.

    Over signs of the noise E_ij^2 has the mean sum_kl h_ik^2 g_jl^2 V_kl with h, g the centring projections; this is
    inverted, axis by axis. Estimates below zero are raised to it and the rest scaled down to the same sum.
    """
    V = E.square_()
    for dim in (-1, -2):
        size = V.shape[dim]
        V = V.sub_(V.mean(dim=dim, keepdim=True) / (size - 1)).mul_(size / (size - 2))
    total = V.sum(dim=(-1, -2), keepdim=True)
    V.clamp_(min=0)
    return V.mul_(total / V.sum(dim=(-1, -2), keepdim=True))


def third_moment(V: Tensor) -> Tensor:
    """Return the third moment of a sum of four-cycles over flips of signs, V (..., M, N) the squares, M <= N.

    384 sum_{i<k} e_3(V_i V_k), from at most 128 of the rows, and 384 sum_{j<l} e_3(V_j V_l), the first sum times
    [e_3(a^2) e_2(b^3)] / [e_2(a^3) e_3(b^2)], exact for V_ij = a_i b_j, with a, b the margins of V.
    """
    M = V.shape[-2]
    a, b = (margin / margin.mean(dim=-1, keepdim=True) for margin in (V.mean(-1).double(), V.mean(-2).double()))
    chosen = torch.linspace(0, M - 1, min(M, SAMPLED_ROWS), device=V.device).round().long()
    grams = power_grams(V, chosen, (1, 2, 3))
    pairs = distinct_triples(*grams).sum(dim=(-1, -2)) / 2 * (M * (M - 1) / (len(chosen) * (len(chosen) - 1)))
    other = distinct_pairs(a**3) * distinct_triples(*power_sums(b.square()))
    ratio = distinct_triples(*power_sums(a.square())) * distinct_pairs(b**3) / other
    return 384 * pairs * (1 + torch.where(other > 0, ratio, 0.0))
