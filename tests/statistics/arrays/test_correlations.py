"""The correlation pattern against brute force: all pairs, all permutations, all signs."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics.arrays import Correlation, between_correlations, within_correlations
from rctheory.statistics.arrays.correlation_nulls import flipped_moments, fourth_moment, permuted_moments
from rctheory.statistics.arrays.unit_sums import BLOCK_BYTES, sums_of_columns, sums_of_rows
from tests.helpers import stream


def _draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=dtype) + torch.arange(shape[-1])


def _rows_by_pairs(x: np.ndarray) -> float:
    """Average over every pair of entries of a row, one by one."""
    y = x - x.mean(axis=0)
    m, n = x.shape
    pairs = [y[i, j] * y[i, k] for i in range(m) for j in range(n) for k in range(n) if j != k]
    return float(np.mean(pairs) / np.mean(y**2))


def test_values_are_means_over_pairs() -> None:
    x = _draw(5, 4)
    found = within_correlations(x)
    assert found["row"].value.item() == pytest.approx(_rows_by_pairs(x.numpy()), rel=1e-12)
    assert found["column"].value.item() == pytest.approx(_rows_by_pairs(x.T.numpy()), rel=1e-12)
    y = (x - x.mean(dim=0)).numpy()
    diagonal = [y[i, j] * y[(i + 1) % 5, (j + 1) % 4] for i in range(5) for j in range(4)]
    assert found["nothing"].value.item() == pytest.approx(np.mean(diagonal) / np.mean(y**2), rel=1e-12)


def test_values_between_are_means_over_pairs() -> None:
    first, second = _draw(6, 4), _draw(6, 4, seed=1)
    y, z = ((x - x.mean(dim=0)).numpy() for x in (first, second))
    scale = np.sqrt(np.mean(y**2) * np.mean(z**2))
    alike = np.mean([y[i, j] * z[i, j] for i in range(6) for j in range(4)]) / scale
    other = np.mean([y[i, j] * z[i, k] for i in range(6) for j in range(4) for k in range(4) if j != k]) / scale
    any_pair = np.mean([y[i, j] * z[i, k] for i in range(6) for j in range(4) for k in range(3)])
    found = between_correlations(first, second, columns_shared=True)
    assert found["neuron and column"].value.item() == pytest.approx(alike, rel=1e-12)
    assert found["neuron"].value.item() == pytest.approx(other, rel=1e-12)
    apart = between_correlations(first, second[:, :3])["neuron"].value.item()
    assert apart == pytest.approx(any_pair / np.sqrt(np.mean(y**2) * np.mean(z[:, :3] ** 2)), rel=1e-12)


def test_moments_of_permuted_columns_by_enumeration() -> None:
    # Symmetric columns (no skewness, which the third moment leaves out): 24^3 permutations of columns of four.
    y = torch.tensor([[-2.0, -1.0, -3.0], [-1.0, -0.5, -0.2], [1.0, 0.5, 0.2], [2.0, 1.0, 3.0]], dtype=torch.float64)
    orders = [list(order) for order in permutations(range(4))]
    sums = [sum(y[order, j] for j, order in enumerate(chosen)) for chosen in product(orders, repeat=3)]
    values = torch.stack(sums).square().sum(dim=1) - y.square().sum()
    variance, third = permuted_moments(sums_of_rows(y[None]))
    assert abs(values.mean()) < 1e-12
    torch.testing.assert_close(variance[0], values.square().mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(third[0], values.pow(3).mean(), rtol=1e-12, atol=0)


def test_moments_of_flipped_signs_by_enumeration() -> None:
    # Columns that stay centred under any flip that keeps pairs together: rows i and i + 2 carry opposite entries.
    half = torch.tensor([[1.0, 2.0, 0.5], [0.3, 1.0, 1.5]], dtype=torch.float64)
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=6)), dtype=torch.float64).reshape(-1, 2, 3)
    values = (signs * half).sum(dim=2).square().sum(dim=1) - half.square().sum()
    sums = sums_of_rows(torch.cat([half, -half])[None])
    variance, _, _ = flipped_moments(sums)
    torch.testing.assert_close(variance[0], 2 * values.square().mean(), rtol=1e-12, atol=0)


def test_higher_cumulants_of_flipped_signs_are_close_for_many_entries() -> None:
    y = torch.randn(1, 40, 500, generator=stream(1), dtype=torch.float64)
    sums = sums_of_rows(y)
    _, third, _ = flipped_moments(sums)
    y = y - y.mean(dim=1, keepdim=True)
    q, f, g = (y.pow(k).sum(dim=2) for k in (2, 4, 6))
    assert float(third) == pytest.approx(float(8 * (q**3 - 3 * q * f + 2 * g).sum()), rel=0.02)


def test_moments_of_permuted_correlations_by_enumeration() -> None:
    x, y = (torch.tensor(v, dtype=torch.float64)[None] for v in ([0.0, 1, 2, 5, -3, 1], [1.0, 0, 0, 7, 2, 2]))
    orders = torch.tensor(list(permutations(range(6))))
    a, b = x - x.mean(), y[0][orders] - y.mean()
    r = (a * b).sum(dim=1) / (a.norm() * b.norm(dim=1))
    torch.testing.assert_close(r.square().mean(), torch.tensor(0.2, dtype=torch.float64))
    torch.testing.assert_close(r.pow(4).mean(), fourth_moment(x, y)[0])


@pytest.mark.parametrize("kind", ["row", "column", "nothing"])
def test_moments_agree_with_random_permutations(kind: str) -> None:
    x = torch.randn(3, 24, 18, generator=stream(2), dtype=torch.float64)
    exact, drawn = within_correlations(x)[kind], within_correlations(x, permutations=1999)[kind]
    torch.testing.assert_close(exact.value, drawn.value, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(exact.low, drawn.low, rtol=0.25, atol=0)
    torch.testing.assert_close(exact.high, drawn.high, rtol=0.25, atol=0)
    torch.testing.assert_close(exact.p_value, drawn.p_value, rtol=0, atol=0.1)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_moments_between_agree_with_random_permutations(shared: bool, shape: tuple[int, int]) -> None:
    first, second = _draw(2, *shape, seed=3), _draw(2, *shape, seed=4)
    exact = between_correlations(first, second, columns_shared=shared)
    drawn = between_correlations(first, second, columns_shared=shared, permutations=3999)
    assert set(exact) == ({"neuron", "neuron and column"} if shared else {"neuron"})
    for kind in exact:
        torch.testing.assert_close(exact[kind].value, drawn[kind].value, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(exact[kind].low, drawn[kind].low, rtol=0.1, atol=0)
        torch.testing.assert_close(exact[kind].p_value, drawn[kind].p_value, rtol=0, atol=0.04)


def test_variance_between_by_enumeration() -> None:
    first, second = _draw(5, 3, seed=5), _draw(5, 3, seed=6)
    values = {"neuron": [], "neuron and column": []}
    for order in permutations(range(5)):
        for kind, found in between_correlations(first, second[list(order)], columns_shared=True).items():
            values[kind].append(found.value)
    reach = torch.distributions.Normal(0, 1).icdf(torch.tensor(0.975, dtype=torch.float64))
    for kind, found in between_correlations(first, second, columns_shared=True).items():
        spread = torch.stack(values[kind]).square().mean().sqrt()
        torch.testing.assert_close(found.high, reach * spread, rtol=1e-6, atol=0)


def test_centre_of_what_shares_nothing_by_enumeration() -> None:
    x = _draw(5, 4, seed=11)
    values = [within_correlations(x[list(order)])["nothing"].value for order in permutations(range(5))]
    found = within_correlations(x)["nothing"]
    torch.testing.assert_close((found.low + found.high) / 2, torch.stack(values).mean(), rtol=1e-10, atol=0)


def test_every_planted_correlation_is_seen_and_no_other() -> None:
    rows, columns = (torch.randn(200, 1, generator=stream(seed), dtype=torch.float64) for seed in (7, 8))
    noise = torch.randn(2, 200, 150, generator=stream(9), dtype=torch.float64)
    x = noise[0] + 0.5 * rows + 0.7 * columns[:150].T
    found = within_correlations(x)
    assert found["row"].value == pytest.approx(0.25 / 1.25, abs=0.05)
    assert found["column"].value == pytest.approx(0.49 / 1.49, abs=0.08)
    assert max(found["row"].p_value, found["column"].p_value) < 1e-9 < 1e-3 < found["nothing"].p_value
    coupled = between_correlations(x, noise[1] + 0.5 * rows, columns_shared=True)["neuron"]
    assert coupled.value == pytest.approx(0.2, abs=0.05)
    assert coupled.p_value < 1e-9
    cells = between_correlations(noise[0], noise[1] + 0.3 * noise[0], columns_shared=True)
    assert cells["neuron and column"].p_value < 1e-9 < 1e-3 < cells["neuron"].p_value


def test_blocks_replicates_and_precision_change_nothing() -> None:
    x = _draw(2, 2, 600, 1100, seed=10)
    assert x[0, 0].numel() * 8 > 2 * BLOCK_BYTES
    whole, single = within_correlations(x), within_correlations(x.float())
    for kind, found in within_correlations(x[1, 0]).items():
        assert found.value == pytest.approx(whole[kind].value[1, 0].item(), rel=1e-9)
        assert found.p_value == pytest.approx(whole[kind].p_value[1, 0].item(), rel=1e-9)
        assert found.value == pytest.approx(single[kind].value[1, 0].item(), rel=1e-3, abs=1e-7)


def test_a_constant_array_has_no_correlations() -> None:
    constant = torch.full((5, 6), 0.1)
    for found in within_correlations(constant).values():
        assert all(value.isnan() for value in (found.value, found.low, found.high, found.p_value))
    assert between_correlations(constant, _draw(5, 6).float())["neuron"].p_value.isnan()
    # Centring leaves the rounding of the means, which is no evidence.
    equal_rows = torch.randn(6, generator=stream(12)).expand(7, 6)
    assert (equal_rows - equal_rows.mean(dim=0)).abs().max() > 0
    assert within_correlations(equal_rows)["row"].p_value.isnan()
    assert within_correlations(equal_rows.T)["column"].p_value.isnan()


def test_sums_of_columns_are_sums_of_rows_transposed() -> None:
    x = _draw(2, 7, 5)
    columns, rows = sums_of_columns(x), sums_of_rows(x.mT)
    for name in ("totals", "squares", "fourths", "column_squares", "size"):
        torch.testing.assert_close(getattr(columns, name), getattr(rows, name), rtol=1e-9, atol=1e-6)


def test_bad_arguments_are_refused() -> None:
    x = _draw(6, 6)
    with pytest.raises(ShapeError, match="n >= 4"):
        within_correlations(x[:, :3])
    with pytest.raises(NumericsError, match="finite"):
        within_correlations(x / 0)
    with pytest.raises(UsageError, match="at least 39"):
        within_correlations(x, permutations=38)
    with pytest.raises(UsageError, match="level 1"):
        between_correlations(x, x, level=1.0)
    with pytest.raises(ShapeError, match="shared axis first"):
        between_correlations(x, x[:5])
    with pytest.raises(ShapeError, match="and columns"):
        between_correlations(x, x[:, :5], columns_shared=True)
    assert isinstance(within_correlations(x, permutations=39)["row"], Correlation)
