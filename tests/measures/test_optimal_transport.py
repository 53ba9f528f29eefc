"""Distances and quantisation against POT, a library of optimal transport: linear programs of its own."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rctheory.measures import Quantisation, directions, sliced_wasserstein, wasserstein
from tests.helpers import SEEDS, stream

UNITS = 200
CASES = [(d, m) for d in (1, 2, 4) for m in (5, 20, 60)]


def points(n: int, dimension: int, seed: int) -> Tensor:
    return torch.randn(n, dimension, generator=stream(seed), dtype=torch.float64)


def cost(whole: Tensor, kept: Tensor, weights: Tensor) -> float:
    """Return the squared W2 distance from the law of all units to one of m weighted points."""
    uniform = np.full(len(whole), 1 / len(whole))
    return float(ot.emd2(uniform, weights.numpy(), ot.dist(whole.numpy(), kept.numpy())))


def even(m: int) -> Tensor:
    return torch.full((m,), 1 / m, dtype=torch.float64)


@given(st.integers(1, 12), st.integers(1, 4), SEEDS)
def test_wasserstein_is_the_value_of_the_linear_program(n: int, dimension: int, seed: int) -> None:
    x, y = points(n, dimension, seed), 1 + 2 * points(n, dimension, seed + 1)
    expected = ot.emd2([], [], ot.dist(x.numpy(), y.numpy(), metric="euclidean"))
    assert float(wasserstein(x, y)) == pytest.approx(float(expected), rel=1e-9)


@given(st.integers(1, 12), st.integers(1, 4), SEEDS)
def test_sliced_wasserstein_is_that_of_the_library(n: int, dimension: int, seed: int) -> None:
    x, y, slices = (
        points(n, dimension, seed),
        points(n, dimension, seed + 1),
        directions(7, dimension, stream(seed + 2)),
    )
    expected = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=slices.double().numpy().T, p=1)
    assert float(sliced_wasserstein(x, y, slices.double())) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(("dimension", "m"), CASES)
def test_quantisation_is_nearer_than_any_draw_and_needs_its_weights(dimension: int, m: int) -> None:
    x = points(UNITS, dimension, 5)
    rule = Quantisation().choose(x, m, stream(0))
    found = cost(x, x[rule.indices], rule.weights)
    draws = [x[torch.randperm(UNITS, generator=stream(seed))[:m]] for seed in range(20)]
    assert found < min(cost(x, draw, even(m)) for draw in draws)
    assert found < cost(x, x[rule.indices], even(m))
    # The best weights of these units are the shares of the units that are nearest to each.
    nearest = torch.cdist(x, x[rule.indices]).argmin(dim=1)
    best = cost(x, x[rule.indices], torch.bincount(nearest, minlength=m).double() / UNITS)
    assert best * (1 - 1e-9) <= found <= 1.1 * best


@pytest.mark.parametrize(("dimension", "m"), [(1, 5), (1, 20), (1, 60), (2, 20), (2, 60)])
def test_quantisation_is_nearer_than_free_points_of_equal_mass(dimension: int, m: int) -> None:
    """The barycentre of free support has points that are no units, and all of one mass: the weights are worth more."""
    x = points(UNITS, dimension, 5)
    rule = Quantisation().choose(x, m, stream(0))
    start = x[torch.randperm(UNITS, generator=stream(1))[:m]]
    free = ot.lp.free_support_barycenter([x.numpy()], [even(UNITS).numpy()], start.numpy(), numItermax=50)
    assert cost(x, x[rule.indices], rule.weights) < cost(x, torch.from_numpy(free), even(m))
