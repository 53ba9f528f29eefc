"""Comparison of two laws: the energy distance against two other computations, exactness, power."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics import comparison
from rctheory.statistics.comparison import Comparison, compare_laws
from tests.helpers import CUTOFF, SEEDS, stream


def compared(x: torch.Tensor, y: torch.Tensor, permutations: int = 99, seed: int = 0, **options: bool) -> Comparison:
    """Compare two samples."""
    return compare_laws(x, y, permutations=permutations, seed=seed, **options)


def robust(x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Standardise by medians of both samples together."""
    pooled = torch.cat([x, y]).double()
    centred = pooled - pooled.median(dim=0).values
    scaled = (centred / (stats.norm.ppf(0.75) ** -1 * centred.abs().median(dim=0).values)).numpy()
    return scaled[: len(x)], scaled[len(x) :]


@given(SEEDS, st.integers(2, 40), st.integers(2, 40))
def test_in_one_dimension_it_is_the_energy_distance_of_scipy(seed: int, n: int, m: int) -> None:
    """The twin integrates the squared difference of the distribution functions."""
    x, y = torch.randn(n, 1, generator=stream(seed)), 1 + torch.rand(m, 1, generator=stream(seed + 1))
    u, v = robust(x, y)
    assert compared(x, y).distance == pytest.approx(stats.energy_distance(u[:, 0], v[:, 0]), rel=2e-3, abs=2e-3)


@given(SEEDS, st.integers(2, 12), st.integers(2, 12), st.integers(1, 4))
def test_it_is_the_definition_over_all_pairs(seed: int, n: int, m: int, d: int) -> None:
    x, y = torch.randn(n, d, generator=stream(seed)), 2 * torch.randn(m, d, generator=stream(seed + 1))
    u, v = robust(x, y)

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[np.linalg.norm(p - q) for q in b] for p in a]))

    energy = 2 * mean(u, v) - mean(u, u) - mean(v, v)
    assert compared(x, y).distance == pytest.approx(math.sqrt(max(energy, 0.0)), rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("paired", [False, True])
def test_p_value_is_exact_when_one_law_stands_behind_both(paired: bool) -> None:
    """Each value 1/(B+1) .. 1 has probability 1/(B+1); pairs may depend on each other, units have heavy tails."""
    repeats, ranks = 1500, []
    for seed in range(repeats):
        random = stream(seed)
        # The scale is that of both samples: a random law that both share is no difference.
        x, y = torch.randn(2, 9, 2, generator=random) * torch.randn(1, generator=random).exp()
        if paired:
            common = torch.randn(9, 2, generator=random) / torch.rand(9, 1, generator=random)
            x, y = x + common, y + common
        ranks.append(round(compared(x, y, 9, seed, paired=paired).p_value * 10))
    for rank in range(1, 11):
        assert stats.binomtest(ranks.count(rank), repeats, 0.1).pvalue > CUTOFF / 10


def test_random_labels_of_dependent_pairs_would_be_blind() -> None:
    """A small common shift of strongly dependent pairs: swaps see it, relabelling does not."""
    x = torch.randn(200, 1, generator=stream(0))
    y = x + 0.05 + 0.02 * torch.randn(200, 1, generator=stream(1))
    assert compared(x, y, paired=True).p_value == 0.01
    assert compared(x, y).p_value > 0.5
    assert compared(x, y, paired=True).correlations[0] > 0.99


@given(SEEDS, st.sampled_from(["shift", "scale", "dependence"]))
def test_a_difference_of_laws_is_seen(seed: int, kind: str) -> None:
    random = stream(seed)
    x, y = torch.randn(2, 300, 2, generator=random)
    if kind == "shift":
        y = y + torch.tensor([0.0, 0.8])
    elif kind == "scale":
        y = y * torch.tensor([2.0, 1.0])
    else:
        y = torch.stack([y[:, 0], 0.9 * y[:, 0] + math.sqrt(0.19) * y[:, 1]], dim=1)
    found = compared(x, y, seed=seed)
    assert found.p_value == 0.01
    assert found.distance > found.null_high


def test_what_differs_is_told_by_coordinate() -> None:
    x, y = torch.randn(2, 2000, 3, generator=stream(0), dtype=torch.float64)
    found = compared(x, y * torch.tensor([1.0, 2.0, 1.0]) + torch.tensor([1.0, 0.0, 0.0]), 19)
    # Pooled standard deviations: 1.13 for two Gaussians one apart, 1.41 for sds of 1 and 2 (by their medians).
    np.testing.assert_allclose(found.shifts, [0.88, 0.0, 0.0], atol=0.06)
    np.testing.assert_allclose(found.spreads, [0.0, math.log(2), 0.0], atol=0.12)
    assert found.correlations == ()
    assert found.units == (2000, 2000)


@given(SEEDS, st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_units_of_measurement_do_not_matter(seed: int, scale: float, shift: float) -> None:
    x, y = torch.randn(2, 30, 2, generator=stream(seed), dtype=torch.float64)
    first, second = compared(x, y), compared(scale * x + shift, scale * y + shift)
    assert first.distance == pytest.approx(second.distance, rel=1e-3)
    assert abs(first.p_value - second.p_value) <= 0.02  # rounding may part two draws that all but tie
    np.testing.assert_allclose(first.spreads, second.spreads, atol=1e-6)


def test_the_null_interval_holds_the_distances_of_one_law() -> None:
    inside = 0
    for seed in range(400):
        x, y = torch.randn(2, 40, 2, generator=stream(seed))
        found = compared(x, y, 199, seed)
        inside += found.null_low <= found.distance <= found.null_high
    assert stats.binomtest(inside, 400, 0.95).pvalue > CUTOFF


def test_the_distance_shrinks_with_the_samples_and_stays_where_laws_differ() -> None:
    x, y = torch.randn(2, 1600, 2, generator=stream(3))
    same = [compared(x[:n], y[:n], 1).distance for n in (100, 1600)]
    other = [compared(x[:n], y[:n] + 1, 1).distance for n in (100, 1600)]
    assert same[1] < same[0] / 2
    assert other[1] == pytest.approx(other[0], rel=0.2)


def test_large_samples_are_thinned_and_pairs_stay_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST_UNITS", 50)
    x = torch.randn(400, 2, generator=stream(0))
    found = compared(x, x + 1e-3 * torch.randn(400, 2, generator=stream(1)), paired=True)
    assert found.units == (50, 50)
    assert min(found.correlations) > 0.999
    assert compared(x, x[:20]).units == (50, 20)


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(2, 30, 2, generator=stream(0))
    for paired in (False, True):
        first = compared(x, y, paired=paired)
        with monkeypatch.context() as patch:
            patch.setattr(comparison, "BATCH_BYTES", 2000)
            assert compared(x, y, paired=paired).p_value == pytest.approx(first.p_value, abs=0.011)


def test_coordinates_that_do_not_vary_harm_nothing() -> None:
    x, y = torch.zeros(2, 20, 2)
    assert compared(x, y).p_value == 1.0
    assert compared(x, y).distance == 0.0
    few = x.clone()
    few[:3, 0] = torch.tensor([1.0, 2.0, 3.0])  # the median absolute deviation is still zero
    found = compared(few, y)
    assert math.isfinite(found.distance)
    assert all(map(math.isfinite, (*found.shifts, *found.spreads)))


def test_what_cannot_be_compared_is_refused() -> None:
    x = torch.randn(5, 2)
    for wrong in (torch.randn(5, 3), torch.randn(1, 2), torch.randn(5)):
        with pytest.raises(ShapeError, match="samples of shapes"):
            compared(x, wrong)
    with pytest.raises(ShapeError, match="pairs of 5 and 6 units"):
        compared(x, torch.randn(6, 2), paired=True)
    with pytest.raises(UsageError, match="0 permutations"):
        compared(x, x, permutations=0)
    with pytest.raises(NumericsError, match="1 of 20 entries of the signatures"):
        compared(x, torch.where(torch.arange(10).reshape(5, 2) == 3, torch.nan, x))


def test_units_that_do_not_vary_have_no_correlation() -> None:
    x, y = (torch.randn(40, 2, generator=stream(seed), dtype=torch.float64) for seed in (1, 2))
    x[:, 0] = 0.1  # its mean over 40 units is not 0.1 in floating point
    found = compare_laws(x, y, permutations=99, seed=0, paired=True).correlations
    assert math.isnan(found[0])
    assert found[1] == pytest.approx(float(torch.corrcoef(torch.stack([x[:, 1], y[:, 1]]))[0, 1]))
