"""Designs: unbiased, with the stated variance, drawing from the stated law."""

from collections import Counter

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import LawError
from rctheory.measures import DESIGNS
from tests.helpers import CUTOFF, SEEDS, stream
from verification.sampling_variance import enumerate_design

NAMES = sorted(DESIGNS)


@given(st.sampled_from(NAMES), st.integers(1, 5), st.integers(1, 5), SEEDS)
def test_every_design_is_unbiased_with_its_stated_variance(name: str, n: int, m: int, seed: int) -> None:
    assume(name != "without-replacement" or m <= n)
    values = 10 * torch.rand(3, n, generator=stream(seed), dtype=torch.float64) ** 3  # three weight columns at once
    law = enumerate_design(name, n, m)
    weights = torch.tensor(list(law.values()), dtype=torch.float64)
    means = torch.stack([values[:, list(sample)].mean(dim=1) for sample in law], dim=1)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0).double(), rtol=1e-12, atol=0)
    expected = means @ weights
    torch.testing.assert_close(expected, values.mean(dim=1), rtol=1e-12, atol=0)
    exact = (means - expected[:, None]).square() @ weights
    torch.testing.assert_close(DESIGNS[name].variance(values, m), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "m"), [(5, 2), (4, 3), (3, 3)])
def test_draws_follow_the_enumerated_law(name: str, n: int, m: int) -> None:
    law = enumerate_design(name, n, m)
    generator = stream(1)
    counts = Counter(tuple(sorted(DESIGNS[name].draw(n, m, generator).tolist())) for _ in range(4000))
    assert set(counts) <= set(law)
    if len(law) > 1:
        total = sum(law.values())
        p = stats.chisquare([counts[s] for s in law], [4000 * q / total for q in law.values()]).pvalue
        assert p > CUTOFF


@given(st.sampled_from(NAMES), st.integers(1, 300), st.integers(1, 300), SEEDS)
def test_draws_are_indices_of_the_source(name: str, n: int, m: int, seed: int) -> None:
    assume(name != "without-replacement" or m <= n)
    indices = DESIGNS[name].draw(n, m, stream(seed))
    assert indices.shape == (m,)
    assert indices.dtype == torch.int64
    assert int(indices.min()) >= 0
    assert int(indices.max()) < n
    counts = torch.bincount(indices, minlength=n)
    if name == "balanced":
        assert int(counts.max()) - int(counts.min()) <= 1
    if name == "without-replacement":
        assert int(counts.max()) == 1


@given(st.integers(2, 60), st.integers(1, 30), SEEDS)
def test_stratified_is_never_worse_than_iid_on_a_sorted_axis(n: int, m: int, seed: int) -> None:
    values = torch.rand(n, generator=stream(seed), dtype=torch.float64).sort().values
    stratified, iid = (DESIGNS[name].variance(values, m) for name in ("stratified", "iid"))
    assert float(stratified) <= float(iid) * (1 + 1e-12)


def test_more_units_than_exist_are_refused() -> None:
    with pytest.raises(LawError, match="9 units of 5 asked from design without-replacement"):
        DESIGNS["without-replacement"].draw(5, 9, stream(0))


@pytest.mark.parametrize("name", NAMES)
def test_empty_samples_are_refused(name: str) -> None:
    with pytest.raises(LawError, match="at least 1"):
        DESIGNS[name].variance(torch.ones(3), 0)


@given(st.sampled_from(NAMES), st.integers(2, 5), st.integers(1, 5), SEEDS)
def test_the_excess_kurtosis_is_that_of_all_samples(name: str, n: int, m: int, seed: int) -> None:
    assume(name != "without-replacement" or m < n)
    values = 10 * torch.rand(n, generator=stream(seed), dtype=torch.float64) ** 3
    law = enumerate_design(name, n, m)
    weights = torch.tensor(list(law.values()), dtype=torch.float64)
    deviations = torch.stack([values[list(sample)].mean() for sample in law]) - values.mean()
    variance = float(deviations.square() @ weights)
    assume(variance > 1e-6)
    expected = float(deviations.pow(4) @ weights) / variance**2 - 3
    assert float(DESIGNS[name].excess_kurtosis(values, m)) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(st.sampled_from(NAMES), st.integers(2, 5), st.integers(1, 5))
def test_the_skew_of_masses_is_that_of_all_samples(name: str, n: int, m: int) -> None:
    assume(name != "without-replacement" or m <= n)
    law = enumerate_design(name, n, m)
    weights = torch.tensor(list(law.values()), dtype=torch.float64)
    counts = torch.stack([torch.bincount(torch.tensor(sample), minlength=n) for sample in law])
    d = counts.double() * n / m - 1
    second, third = weights @ d.square(), weights @ d.pow(3)
    skew = DESIGNS[name].mass_skew(n, m)
    torch.testing.assert_close(skew * second, third, rtol=1e-9, atol=1e-9)
    assert bool((skew[second < 1e-12] == 0).all())


@given(st.sampled_from(NAMES), st.integers(1, 5), st.integers(1, 5))
def test_the_absence_of_units_is_that_of_all_samples(name: str, n: int, m: int) -> None:
    assume(name != "without-replacement" or m <= n)
    law = enumerate_design(name, n, m)
    weights = torch.tensor(list(law.values()), dtype=torch.float64)
    counts = torch.stack([torch.bincount(torch.tensor(sample), minlength=n) for sample in law])
    torch.testing.assert_close(DESIGNS[name].absence(n, m), weights @ (counts == 0).double(), rtol=1e-9, atol=1e-12)
