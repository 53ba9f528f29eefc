"""Interaction: brute force over pairs of rows and columns, enumeration of all signs, and what must not matter."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics.arrays import interaction
from rctheory.statistics.arrays.components import double_centred
from rctheory.statistics.arrays.cycles import cycle_sum
from rctheory.statistics.arrays.double_contrasts import double_contrasts
from rctheory.statistics.arrays.four_cycle import inflation, third_moment, unbiased_cycle
from tests.helpers import CUTOFF, SEEDS, stream


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def cycles_by_hand(D: np.ndarray) -> float:
    """Sum over i != k, j != l, one by one."""
    m, n = D.shape
    return sum(
        D[i, j] * D[k, j] * D[k, q] * D[i, q]
        for i, k in permutations(range(m), 2)
        for j, q in permutations(range(n), 2)
    )


def kernel_mean_by_hand(W: np.ndarray) -> float:
    """Mean of the product of four double contrasts over all disjoint pairs of rows and of columns."""
    m, n = W.shape

    def contrast(a: tuple[int, ...], c: tuple[int, ...]) -> float:
        return (W[a[0], c[0]] - W[a[1], c[0]] - W[a[0], c[1]] + W[a[1], c[1]]) / 2

    products = [
        contrast(r[:2], c[:2]) * contrast(r[2:], c[:2]) * contrast(r[2:], c[2:]) * contrast(r[:2], c[2:])
        for r in permutations(range(m), 4)
        for c in permutations(range(n), 4)
    ]
    return float(np.mean(products))


@pytest.mark.parametrize("shape", [(4, 4), (4, 5), (5, 4)])
def test_unbiased_cycle_is_the_mean_over_disjoint_pairs(shape: tuple[int, int]) -> None:
    W = draw(*shape) + 3 * draw(shape[0], 1, seed=1) - 2 * draw(1, shape[1], seed=2)
    found = unbiased_cycle(double_centred(W)[0])
    assert float(found) == pytest.approx(kernel_mean_by_hand(W.numpy()), rel=1e-9)


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (4, 2)])
def test_cycle_sum_by_hand(shape: tuple[int, int]) -> None:
    D = draw(3, *shape)
    expected = [cycles_by_hand(d) for d in D.numpy()]
    np.testing.assert_allclose(cycle_sum(D)[0].numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (3, 4)])
def test_moments_over_all_signs(shape: tuple[int, int]) -> None:
    """Every choice of signs, one by one: mean, variance and third moment; sizes a_i b_j, where the last is exact."""
    sizes = draw(shape[0], 1).abs() * draw(1, shape[1], seed=1).abs()
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=shape[0] * shape[1])), dtype=torch.float64)
    sums = cycle_sum(signs.reshape(-1, *shape) * sizes)[0]
    V = sizes.square()
    assert float(sums.mean()) == pytest.approx(0, abs=1e-12 * float(sums.abs().max()))
    assert float(sums.square().mean()) == pytest.approx(4 * float(cycle_sum(V)[0]), rel=1e-10)
    assert float((sums**3).mean()) == pytest.approx(float(third_moment(V)), rel=1e-8)


def test_variance_is_exact_for_equal_variances() -> None:
    """Var U = inflation 4 s^8 / [m (m-1) n (n-1)], for skewed noise as well: two moments decide."""
    m, n, draws = 5, 6, 400_000
    noise = torch.randint(0, 3, (draws, m, n), generator=stream(0)).double()  # 0, 1, 2: variance 2/3
    noise = torch.where(noise == 2, 3.0, noise)
    noise = noise - noise.mean()
    U = unbiased_cycle(double_centred(noise)[0])
    scaled = U * (m * (m - 1) * n * (n - 1) / (4 * float(noise.var()) ** 4 * inflation(m, n))) ** 0.5
    assert abs(float(scaled.mean())) < 6.2 * float(scaled.std()) / draws**0.5
    error = float(scaled.square().std()) / draws**0.5
    assert abs(float(scaled.square().mean()) - 1) < 6.2 * error
    assert error < 0.02  # without the inflation, a factor of 2.4, this test would be red


def test_unbiased_under_unequal_variances_where_double_centring_is_not() -> None:
    scales = torch.tensor([0.2, 0.5, 1.0, 3.0, 1.0, 0.3], dtype=torch.float64)
    W = draw(200_000, 6, 7) * scales[:, None]
    E = double_centred(W)[0]
    U, naive = unbiased_cycle(E), cycle_sum(E)[0]
    assert abs(float(U.mean())) < 6.2 * float(U.std()) / len(U) ** 0.5
    assert float(naive.mean()) > 30 * float(naive.std()) / len(U) ** 0.5


@given(seed=SEEDS, m=st.integers(4, 9), n=st.integers(4, 9), flips=st.sampled_from([None, 9]))
def test_effects_orders_scales_and_transposition_do_not_matter(seed: int, m: int, n: int, flips: int | None) -> None:
    W = draw(m, n, seed=seed)
    shifted = -3 * W + 10 * draw(m, 1, seed=seed + 1) + 10 * draw(1, n, seed=seed + 2)
    first, second = (interaction(x, seed=1, flips=flips) for x in (W, shifted))
    for field in ("statistic", "p_value", "effect"):
        assert float(getattr(first, field)) == pytest.approx(float(getattr(second, field)), rel=1e-6, abs=1e-8)
    if flips is None:
        moved = shifted[torch.randperm(m, generator=stream(seed))][:, torch.randperm(n, generator=stream(seed))]
        assert float(interaction(moved, seed=1).statistic) == pytest.approx(float(first.statistic), rel=1e-6, abs=1e-8)
        turned = interaction(W.T, seed=1)
        assert float(turned.statistic) == pytest.approx(float(first.statistic), rel=1e-6, abs=1e-8)


def test_batches_are_their_arrays() -> None:
    W = draw(2, 3, 8, 9).float()
    for flips in (None, 19):
        together = interaction(W, seed=4, flips=flips)
        assert together.p_value.shape == (2, 3)
        alone = interaction(W[1, 2], seed=4, flips=flips)
        assert float(together.statistic[1, 2]) == pytest.approx(float(alone.statistic), rel=1e-4)
        assert float(together.p_value[1, 2]) == pytest.approx(float(alone.p_value), abs=1e-4)


def test_double_contrasts_use_no_entry_twice() -> None:
    units = torch.eye(30, dtype=torch.float64).reshape(30, 5, 6)
    used = double_contrasts(units, 0) != 0  # which contrast uses which entry
    assert used.shape == (30, 2, 3)
    assert used.sum(dim=0).unique().tolist() == [4]
    assert int(used.sum(dim=(1, 2)).max()) == 1


def test_flips_are_exact_on_a_tiny_array() -> None:
    """At 4 x 6 the gamma law says little; the flips hold each level of their grid."""
    p = torch.cat([interaction(draw(50, 4, 6, seed=s), seed=s, flips=19).p_value for s in range(40)])
    for level in (0.05, 0.25, 0.5):
        below = int((p <= level + 1e-9).sum())
        assert stats.binomtest(below, len(p), level, alternative="greater").pvalue > CUTOFF


def test_flips_and_gamma_law_both_see_an_interaction() -> None:
    W = draw(16, 20) + 1.5 * draw(16, 1, seed=1) * draw(1, 20, seed=2)
    assert float(interaction(W, seed=0, flips=199).p_value) <= 0.05
    assert float(interaction(W, seed=0).p_value) <= 0.05


def test_effect_is_the_share_of_the_interaction() -> None:
    m, n = 400, 300
    u, v = draw(m, 1, seed=1), draw(1, n, seed=2)
    W = 2 * draw(m, n) + u / u.std() * v / v.std()
    assert float(interaction(W, seed=0).effect) == pytest.approx(1 / 5, rel=0.05)


def test_arrays_without_noise_are_refused() -> None:
    W = draw(3, 6, 7)
    W[1] = draw(6, 1) + draw(1, 7, seed=1)
    for flips in (None, 9):
        test = interaction(W, seed=0, flips=flips)
        assert test.p_value.isnan().tolist() == [False, True, False]
        assert "nothing" in test.refusal
    assert interaction(draw(6, 7), seed=0).refusal == ""


def test_an_entry_far_out_is_no_interaction() -> None:
    """One entry dominates every sum; in float32 the others would drown in its rounding."""
    W = draw(50, 12, 40).float()
    for size in (1e2, 1e3, 1e4):
        W[:, 3, 5] = size
        test = interaction(W, seed=0)
        assert not bool((test.p_value <= 0.01).any())
        wide = interaction(W.double(), seed=0)
        np.testing.assert_allclose(test.statistic.numpy(), wide.statistic.numpy(), atol=1e-3)


def test_bad_input_is_named() -> None:
    with pytest.raises(ShapeError, match="m >= 4"):
        interaction(draw(3, 9), seed=0)
    with pytest.raises(UsageError, match="0 sign flips"):
        interaction(draw(5, 5), seed=0, flips=0)
    with pytest.raises(NumericsError):
        interaction(torch.full((5, 5), torch.nan), seed=0)
