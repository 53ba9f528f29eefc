"""Claim `width.constant`: exact variances at large widths, from binomial numbers of two-valued latents."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

CHANCE = np.array([0.3, 0.7])


def extrapolated(values: list[float]) -> float:
    """Return the limit of a + b/n + c/n^2 + d/n^3 from n, 2n, 4n, 8n."""
    for order in (1, 2, 3):
        values = [(2**order * two - one) / (2**order - 1) for one, two in pairwise(values)]
    return values[0]


@given(entries=st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_variance_of_a_quadratic_functional(entries: list[float]) -> None:
    """The empirical law of n two-valued latents is a binomial number over n."""
    kernel = np.array(entries).reshape(2, 2)

    def variance(n: int) -> float:
        counts = np.arange(n + 1)
        law = np.stack([counts, n - counts]) / n
        values, weights = np.einsum("an,ab,bn->n", law, kernel, law), stats.binom.pmf(counts, n, CHANCE[0])
        return float(n * (weights @ (values - CHANCE @ kernel @ CHANCE) ** 2))

    influence = kernel @ CHANCE + CHANCE @ kernel - 2 * CHANCE @ kernel @ CHANCE
    limit = extrapolated([variance(n) for n in (64, 128, 256, 512)])
    assert limit == pytest.approx(float(CHANCE @ influence**2), rel=1e-6, abs=1e-8)


@given(seed=st.integers(0, 2**32 - 1), deviation=st.floats(0.1, 1.0))
def test_variance_of_a_two_layer_network_by_enumeration(seed: int, deviation: float) -> None:
    """Quadratic activation, Gaussian residual: given the counts, a unit reads a Gaussian with known moments."""
    random = np.random.default_rng(seed)
    kernel, readout = random.uniform(-1, 1, (2, 2)), random.uniform(-1, 1, 2)
    mean = kernel @ CHANCE
    limit = float(CHANCE @ (readout * mean**2))

    def error(n: int) -> float:
        counts = np.arange(n + 1)
        weights = stats.binom.pmf(counts, n, CHANCE[0])
        law = np.stack([counts, n - counts]) / n  # of either layer
        read, noise = kernel @ law, deviation**2 / n  # (row latent, counts below)
        first = readout[:, None] * (read**2 + noise)
        second = readout[:, None] ** 2 * (2 * noise**2 + 4 * noise * read**2)
        given_counts = (law.T @ first - limit) ** 2 + law.T @ second / n  # (counts above, counts below)
        return float(n * weights @ given_counts @ weights)

    below = 2 * kernel.T @ (CHANCE * readout * mean) - 2 * limit
    above = readout * mean**2 - limit
    found = extrapolated([error(n) for n in (64, 128, 256, 512)])
    claimed = float(CHANCE @ below**2 + CHANCE @ above**2)
    assert found == pytest.approx(claimed, rel=1e-5, abs=1e-7)
