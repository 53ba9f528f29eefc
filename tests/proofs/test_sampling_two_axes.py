"""Claim `sampling.two-axes`: mean, variance and covariance over every sample of small arrays."""

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

Sample = tuple[int, ...]


def samples(population: int, size: int, *, replacement: bool) -> Iterable[Sample]:
    """Return every ordered sample."""
    units = range(population)
    return list(itertools.product(units, repeat=size) if replacement else itertools.permutations(units, size))


def moments(values: Iterable[float]) -> tuple[float, float]:
    """Return mean and variance of equally likely values."""
    array = np.array(list(values))
    return float(array.mean()), float(array.var())


def correction(n: int, m: int, *, replacement: bool) -> float:
    """Return what the variance of a population is multiplied by for m of n draws."""
    return (n - 1) / (n * m) if replacement else 1 / m - 1 / n


@given(
    seed=st.integers(0, 2**32 - 1), n=st.sampled_from((2, 3, 4)), m=st.sampled_from((1, 2)), replacement=st.booleans()
)
def test_moments_over_every_sample(seed: int, n: int, m: int, replacement: bool) -> None:
    y = np.random.default_rng(seed).normal(size=(n, 3))
    draws = samples(n, m, replacement=replacement), samples(3, 2, replacement=replacement)
    mean, variance = moments(y[np.ix_(rows, columns)].mean() for rows, columns in itertools.product(*draws))
    assert mean == pytest.approx(y.mean(), abs=1e-12)
    row, column = y.mean(axis=1), y.mean(axis=0)
    rest = y - row[:, None] - column + y.mean()
    theta = correction(n, m, replacement=replacement), correction(3, 2, replacement=replacement)
    claimed = theta[0] * row.var(ddof=1) + theta[1] * column.var(ddof=1)
    claimed += theta[0] * theta[1] * (rest**2).sum() / ((n - 1) * 2)
    assert variance == pytest.approx(claimed, rel=1e-10, abs=1e-14)


@given(seed=st.integers(0, 2**32 - 1), n=st.sampled_from((3, 4)))
def test_a_shared_axis_and_a_single_draw(seed: int, n: int) -> None:
    """The covariance of two tensors that share an axis; the bias where both axes are one."""
    random = np.random.default_rng(seed)
    y, z = random.normal(size=(n, 2)), random.normal(size=(3, n))
    pairs = [(y[list(rows)].mean(), z[:, list(rows)].mean()) for rows in samples(n, 2, replacement=False)]
    covariance = np.cov(np.array(pairs).T, bias=True)[0, 1]
    shared = np.cov(y.mean(axis=1), z.mean(axis=0))[0, 1]
    assert covariance == pytest.approx((1 / 2 - 1 / n) * shared, rel=1e-9, abs=1e-13)
    x = random.normal(size=(n, n))
    once, _ = moments(x[np.ix_(rows, rows)].mean() for rows in samples(n, 2, replacement=False))
    diagonal = float(np.trace(x)) / n
    rest = (x.sum() - np.trace(x)) / (n * (n - 1))
    assert once - x.mean() == pytest.approx((1 / 2 - 1 / n) * (diagonal - rest), rel=1e-9, abs=1e-13)
