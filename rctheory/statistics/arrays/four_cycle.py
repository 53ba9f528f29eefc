"""Interaction of rows and columns: the four-cycle statistic, calibrated by sign flips."""

import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.numerics import chunks, generator
from rctheory.statistics.arrays.outcome import ArrayTest, require_arrays
from rctheory.statistics.arrays.tails import distinct_pairs, distinct_triples, power_sums, upper_tail, without_diagonal

CONSTANT = "the array is a sum of row and column effects: no contrast differs from zero"


def interaction(W: Tensor, *, seed: int, flips: int | None = None) -> ArrayTest:
    """Test for interaction: is W more than row effect + column effect + independent noise?

    Rows are paired at random, and so are columns: the double contrasts D = (W_ij - W_kj - W_il + W_kl) / 2 of the pairs
    make an array of M x N = m/2 x n/2. They are free of row and column effects. Under the null they are independent,
    since no entry is used twice, and symmetric: for identically distributed noise of any law, for noise whose law
    depends on its row alone or its column alone, and for symmetric noise of any scales. So, given their sizes,
    their signs are independent fair coins. Over these,

        S = sum_{i != k, j != l} D_ij D_kj D_kl D_il

    has mean 0, variance 4 sum_{i != k, j != l} V_ij V_kj V_kl V_il with V = D^2 (distinct cycles are uncorrelated) and
    third moment 384 [sum_{i<k} e_3(V_i V_k) + sum_{j<l} e_3(V_j V_l)], e_3 the sum of products of three distinct
    entries of the entrywise product of two rows, or columns. The p-value is the upper tail of the gamma law with these
    moments (the sum over pairs of the longer side is estimated, from the other sum and the margins of V); with `flips` = B it is (1 + #{S of flipped signs >= S}) / (B + 1), exact at any size.

    The price of validity is power: in the mean of D D D D the standard deviation of noise is four times that over all
    entries, so an interaction must be sqrt(2) times larger in amplitude to be seen as well as by `interaction_normal`.

    Args:
        W: arrays (..., m, n).
        seed: root seed of the pairing (one for a whole batch) and of the flips.
        flips: number of random sign flips; None for the gamma law.

    Returns:
        statistic S / sd(S); effect: sign(U) sqrt |U| / mean(V) with U = S / [M (M-1) N (N-1)]. For an interaction
        sum_q a_q u_qi v_qj with unit factors in noise of variance s^2 it estimates sqrt(sum a_q^4) / (sum a_q^2 + s^2):
        the interaction's share of the variance where it has one factor, a lower bound to it where it has more.

    Raises:
        ShapeError: fewer than four rows or columns.
        UsageError: flips < 1.
        NumericsError: an entry is NaN or infinite.

    Source: claims `array.four-cycle` and `array.calibration`.
    """
    if flips is not None and flips < 1:
        raise UsageError(f"{flips} sign flips", "at least 1, or None", "ask for more flips")
    W = require_arrays(W, 4, 4)
    arrays = W.reshape(-1, *W.shape[-2:])
    outcomes = [
        torch.stack(_flip_test(double_contrasts(arrays[part.start : part.stop], seed), seed, flips))
        for part in batches(arrays)
    ]
    z, p_value, effect = torch.cat(outcomes, dim=-1).reshape(-1, *W.shape[:-2])
    return ArrayTest(z, p_value, effect, CONSTANT if bool(p_value.isnan().any()) else "")


def double_contrasts(W: Tensor, seed: int) -> Tensor:
    """Return D = (W_ij - W_kj - W_il + W_kl) / 2 over random pairs of rows and of columns, (..., m // 2, n // 2)."""
    for dim in (-2, -1):
        size = W.shape[dim]
        order = torch.randperm(size, generator=generator(seed, "interaction", "pairs", dim, size)).to(W.device)
        half = size // 2
        W = W.index_select(dim, order[:half]) - W.index_select(dim, order[half : 2 * half])
    return W / 2


def cycle_sum(D: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum_{i != k, j != l} D_ij D_kj D_kl D_il (...), float64, and the Gram D D^T without its diagonal.

    sum_{i != k} [(sum_j D_ij D_kj)^2 - sum_j D_ij^2 D_kj^2]; O(mn min(m, n)) if the rows are the shorter side.
    """
    gram = without_diagonal((D @ D.transpose(-1, -2)).double())
    squares = D.square().double()
    diagonal = squares.sum(dim=-2).square().sum(dim=-1) - squares.square().sum(dim=(-1, -2))
    return gram.square().sum(dim=(-1, -2)) - diagonal, gram


def batches(arrays: Tensor) -> list[range]:
    """Split arrays (k, m, n) so that the Grams of one part take little memory."""
    m, n = arrays.shape[-2:]
    return chunks(len(arrays), 8 * (4 * m * n + 5 * min(m, n) ** 2), 1 << 28)


def short_side_first(D: Tensor) -> Tensor:
    """Transpose so that the rows are the shorter side, which the Gram is over."""
    return D if D.shape[-2] <= D.shape[-1] else D.transpose(-1, -2)


def share_of_variance(mean_cycle: Tensor, square: Tensor) -> Tensor:
    """Return sign(U) sqrt |U| over the mean square."""
    return mean_cycle.sign() * mean_cycle.abs().sqrt() / square


def _flip_test(D: Tensor, seed: int, flips: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return statistic, p-value and effect of contrasts (k, M, N)."""
    # Scaled to a largest entry of 1: powers up to the twelfth stay in range, and no result depends on the scale.
    D = short_side_first(D)
    D = D / D.abs().amax(dim=(-1, -2), keepdim=True)  # NaN for an array of zeros, and so on to its p-value
    M, N = D.shape[-2:]
    V = D.square()
    total, (power, gram) = cycle_sum(D)[0], cycle_sum(V)
    sd = 2 * power.sqrt()
    z = total / sd
    p_value = _monte_carlo(D, total, seed, flips) if flips else upper_tail(z, _third_moment(V, gram) / sd**3)
    p_value = torch.where(z.isnan(), torch.nan, p_value)
    return z, p_value, share_of_variance(total / (M * (M - 1) * N * (N - 1)), V.double().mean(dim=(-1, -2)))


def _third_moment(V: Tensor, gram: Tensor) -> Tensor:
    """Return the third moment of the cycle sum under flips of the signs; `gram` is V V^T without its diagonal.

    The sum over pairs of rows is exact. That over pairs of columns is it times
    [e_3(a^2) e_2(b^3)] / [e_2(a^3) e_3(b^2)], exact for V_ij = a_i b_j, from the margins a, b of V.
    """
    powers = [V.square(), V.square() * V]
    p2, p3 = (without_diagonal((x @ x.transpose(-1, -2)).double()) for x in powers)
    rows = distinct_triples(gram, p2, p3).sum(dim=(-1, -2)) / 2
    a, b = (margin / margin.mean(dim=-1, keepdim=True) for margin in (V.double().mean(-1), V.double().mean(-2)))
    other = distinct_pairs(a**3) * distinct_triples(*power_sums(b.square()))
    ratio = distinct_triples(*power_sums(a.square())) * distinct_pairs(b**3) / other
    return 384 * rows * (1 + torch.where(other > 0, ratio, 0.0))


def _monte_carlo(D: Tensor, total: Tensor, seed: int, flips: int) -> Tensor:
    """Return (1 + #{S of flipped signs >= S}) / (B + 1)."""
    stream = generator(seed, "interaction", "flips", *D.shape[-2:])
    slack = 1e-5 * total.abs()  # a flip that leaves every cycle alone must count as equal, rounding or not
    reached = torch.ones_like(total)
    for _ in range(flips):
        signs = torch.randint(0, 2, D.shape[-2:], generator=stream).to(D) * 2 - 1
        reached += cycle_sum(D * signs)[0] >= total - slack
    return reached / (flips + 1)
