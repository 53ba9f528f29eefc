"""Mean effects and variance components: enumeration of all sign flips, dense twins, and what must not matter."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics.arrays import components, mean_effects
from rctheory.statistics.arrays.components import double_centred
from rctheory.statistics.arrays.tails import upper_tail
from tests.helpers import CUTOFF, SEEDS, stream


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def test_statistic_and_tail_by_all_flips_of_columns() -> None:
    """2^7 flips of whole columns, one by one: T over its exact sd, and the gamma law with its exact skewness."""
    W = draw(5, 7) * draw(1, 7, seed=1).exp()
    y = (W - W.mean(dim=0)).numpy()
    gram = y.T @ y
    np.fill_diagonal(gram, 0)
    flips = np.array(list(product((-1.0, 1.0), repeat=7)))
    T = np.einsum("fi,ij,fj->f", flips, gram, flips)
    sd, skewness = T.std(), ((T / T.std()) ** 3).mean()
    test = mean_effects(W, "rows")
    assert T.mean() == pytest.approx(0, abs=1e-9)
    assert float(test.statistic) == pytest.approx(gram.sum() / sd, rel=1e-9)
    expected = upper_tail(test.statistic, torch.tensor(skewness, dtype=torch.float64))
    assert float(test.p_value) == pytest.approx(float(expected), rel=1e-9)


def test_blocks_of_columns_flip_together() -> None:
    W = draw(4, 12)
    blocks = W.unflatten(-1, (3, 4)).sum(dim=-1)
    assert float(mean_effects(W, "rows", aligned=4).p_value) < 1
    y = (blocks - blocks.mean(dim=0)).numpy()
    gram = y.T @ y
    np.fill_diagonal(gram, 0)
    expected = gram.sum() / np.sqrt(2 * (gram**2).sum())
    wide = W.repeat_interleave(16, dim=1) / 16  # 192 columns in 64 blocks of 3 when nothing is aligned
    assert float(mean_effects(wide, "rows", aligned=64).statistic) == pytest.approx(expected, rel=1e-9)


@given(seed=SEEDS, m=st.integers(3, 12), n=st.integers(3, 12), axis=st.sampled_from(["rows", "columns"]))
def test_scales_orders_and_effects_of_the_other_axis_do_not_matter(seed: int, m: int, n: int, axis: str) -> None:
    W = draw(m, n, seed=seed)
    other = (1, n) if axis == "rows" else (m, 1)
    moved = (4 * W + 7 * draw(*other, seed=seed + 1) + 3)[torch.randperm(m, generator=stream(seed))]
    moved = moved[:, torch.randperm(n, generator=stream(seed))]
    first, second = mean_effects(W, axis), mean_effects(moved, axis)
    for field in ("statistic", "p_value", "effect"):
        assert float(getattr(first, field)) == pytest.approx(float(getattr(second, field)), rel=1e-6, abs=1e-8)
    turned = mean_effects(W.T, "columns" if axis == "rows" else "rows")
    assert float(turned.statistic) == pytest.approx(float(first.statistic), rel=1e-9)


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_effect_is_the_share_of_the_line_means(axis: str) -> None:
    """Its numerator, unbiased: times the variance inside lines of the other axis it is 1 on average."""
    line, other = ((4000, 29, 1), (4000, 1, 31)) if axis == "rows" else ((4000, 1, 31), (4000, 29, 1))
    W = 2 * draw(4000, 29, 31) + draw(*line, seed=1) + 5 * draw(*other, seed=2)
    effects = mean_effects(W, axis).effect
    spread = W.var(dim=-2 if axis == "rows" else -1).mean(dim=-1)
    found = effects * spread
    assert abs(float(found.mean()) - 1) < 4 * float(found.std()) / 4000**0.5 < 0.025
    assert float(effects.mean()) == pytest.approx(1 / 5, rel=0.05)


def test_level_holds_under_interaction_where_the_f_test_fails() -> None:
    W = draw(1500, 20, 24) + 2 * draw(1500, 20, 1, seed=1) * draw(1500, 1, 24, seed=2)
    rejected = int((mean_effects(W, "rows").p_value <= 0.05).sum())
    assert stats.binomtest(rejected, 1500, 0.05).pvalue > CUTOFF
    F = components(W).rows.F.numpy()
    wrong = int((stats.f.sf(F, 19, 19 * 23) <= 0.05).sum())
    assert stats.binomtest(wrong, 1500, 0.05, alternative="greater").pvalue < CUTOFF


def test_components_are_the_two_way_anova() -> None:
    """Sums over cells, written out."""
    W = draw(6, 5) + draw(6, 1, seed=1)
    x, m, n = W.numpy(), 6, 5
    rows, columns, mean = x.mean(axis=1), x.mean(axis=0), x.mean()
    residual = sum((x[i, j] - rows[i] - columns[j] + mean) ** 2 for i in range(m) for j in range(n)) / 20
    F = n * sum((r - mean) ** 2 for r in rows) / 5 / residual
    found = components(W)
    assert float(found.grand_mean) == pytest.approx(mean)
    assert float(found.residual) == pytest.approx(residual)
    assert float(found.rows.F) == pytest.approx(F)
    assert float(found.rows.p_value) == pytest.approx(stats.f.sf(F, 5, 20))
    assert float(found.rows.variance) == pytest.approx(residual * (F - 1) / n)
    ms_r, ms_c = residual * F, m * sum((c - mean) ** 2 for c in columns) / 4
    assert float(found.sd) == pytest.approx(np.sqrt(max((ms_r + ms_c - residual) / 30, 0)))


def test_without_columns_of_their_own_f_is_the_paired_t_test() -> None:
    W = draw(2, 9)
    t = stats.ttest_rel(W[0].numpy(), W[1].numpy())
    assert float(components(W).rows.F) == pytest.approx(t.statistic**2)
    assert float(components(W).rows.p_value) == pytest.approx(t.pvalue)


def test_intervals_cover_the_share() -> None:
    draws, share = 2000, 1 / 3
    W = draw(draws, 12, 10) + 0.5**0.5 * draw(draws, 12, 1, seed=1)
    found = components(W)
    low, high = found.rows.interval
    stated = ~low.isnan()
    covered = int(((low <= share) & (share <= high))[stated].sum())
    assert int(stated.sum()) > 0.98 * draws
    assert stats.binomtest(covered, int(stated.sum()), 0.95).pvalue > CUTOFF
    assert float(found.rows.variance.mean()) == pytest.approx(0.5, abs=0.03)


def test_unequal_variances_are_refused() -> None:
    scales = torch.linspace(0.1, 3, 30, dtype=torch.float64)
    found = components(draw(30, 40) * scales[:, None])
    assert bool(found.rows.p_value.isnan())
    assert bool(found.columns.interval[0].isnan())
    assert "unequal variances" in found.refusal
    assert not bool(found.rows.variance.isnan())
    assert components(draw(30, 40)).refusal == ""


def test_double_centring_leaves_no_means() -> None:
    W = draw(3, 5, 6)
    residuals, mean, rows, columns = double_centred(W)
    whole = residuals + mean[:, None, None] + rows[:, :, None] + columns[:, None, :]
    torch.testing.assert_close(whole, W)
    assert float(residuals.mean(dim=-1).abs().max()) < 1e-12
    assert float(residuals.mean(dim=-2).abs().max()) < 1e-12


def test_arrays_without_variation_are_refused() -> None:
    flat = (1000 + draw(1, 9)).expand(8, 9).float() * (1 + 1e-7 * draw(8, 9, seed=2).sign().float())  # a last digit
    test = mean_effects(torch.stack([flat, flat + draw(8, 9).float()]), "rows")
    assert test.p_value.isnan().tolist() == [True, False]
    assert "no line" in test.refusal


def test_bad_input_is_named() -> None:
    with pytest.raises(UsageError, match="axis 'row'"):
        mean_effects(draw(4, 4), "row")
    with pytest.raises(ShapeError, match="m >= 2"):
        mean_effects(draw(1, 4), "rows")
    with pytest.raises(ShapeError, match="one block of 8"):
        mean_effects(draw(4, 4), "rows", aligned=8)
    with pytest.raises(UsageError, match="level 1"):
        components(draw(4, 4), level=1)
    with pytest.raises(NumericsError):
        components(torch.full((4, 4), torch.inf))


def test_tail_is_the_chi_square_and_the_normal() -> None:
    z = torch.linspace(-1.5, 6, 16, dtype=torch.float64)
    chi = upper_tail(z, torch.full_like(z, (8 / 5) ** 0.5))
    np.testing.assert_allclose(chi.numpy(), stats.chi2.sf(5 + z.numpy() * 10**0.5, 5), rtol=1e-10)
    np.testing.assert_allclose(upper_tail(z, torch.zeros_like(z)).numpy(), stats.norm.sf(z.numpy()), rtol=1e-10)
    np.testing.assert_allclose(
        upper_tail(z, torch.full_like(z, -0.7)).numpy(), stats.pearson3.sf(z.numpy(), -0.7), rtol=1e-8
    )


def test_sums_over_distinct_indices() -> None:
    from rctheory.statistics.arrays.tails import distinct_pairs, distinct_triples, power_sums

    x = draw(6)
    pairs = sum(float(x[i] * x[j]) for i, j in permutations(range(6), 2)) / 2
    triples = sum(float(x[i] * x[j] * x[k]) for i, j, k in permutations(range(6), 3)) / 6
    assert float(distinct_pairs(x)) == pytest.approx(pairs)
    assert float(distinct_triples(*power_sums(x))) == pytest.approx(triples)


def test_the_residual_mean_square_of_a_large_array_in_float32_is_that_in_float64() -> None:
    W = torch.randn(20_000, 1_000, generator=stream(3))
    single, double = components(W), components(W.double())
    assert float(single.residual) == pytest.approx(float(double.residual), rel=1e-5)
    assert float(single.rows.F) == pytest.approx(float(double.rows.F), rel=1e-4)
