"""Claim `array.quadruplets`: the variance of a U-statistic, summed over every outcome of the latents."""

import itertools
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.spaces import Space
from tests.proofs.statistical_worlds import UNIT, table


def kernel(entries: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Return a symmetric kernel of the four entries: half the product of the diagonals, plus that of one row."""
    (i, k), (j, h) = rows, columns
    diagonals = entries[:, i, j] * entries[:, k, h] + entries[:, i, h] * entries[:, k, j]
    along = entries[:, i, j] * entries[:, i, h] + entries[:, k, j] * entries[:, k, h]
    return 0.5 * diagonals + along


def chance(shared: int, size: int) -> float:
    """Return the probability that two random pairs of units share so many."""
    return comb(2, shared) * comb(size - 2, 2 - shared) / comb(size, 2)


@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from(((2, 3), (3, 3), (4, 4))))
def test_variance_by_enumeration(seed: int, shape: tuple[int, int]) -> None:
    m, n = shape
    space = Space.product({"z": ((4,), UNIT), "y": ((4,), UNIT)})
    random = np.random.default_rng(seed)
    entries = table(random, space.variables["z"], space.variables["y"])
    quadruplets = itertools.product(itertools.combinations(range(m), 2), itertools.combinations(range(n), 2))
    statistic = torch.stack([kernel(entries, rows, columns) for rows, columns in quadruplets]).mean(dim=0)
    variance = float(space.mean(statistic**2) - space.mean(statistic) ** 2)

    first = kernel(entries, (0, 1), (0, 1))
    mean = space.mean(first)
    partners = {0: (2, 3), 1: (1, 2), 2: (0, 1)}
    claimed = sum(
        chance(a, m) * chance(b, n) * float(space.mean(first * kernel(entries, partners[a], partners[b])) - mean**2)
        for a, b in itertools.product(range(3), repeat=2)
    )
    scale = float(space.mean(first**2))
    assert variance == pytest.approx(claimed, rel=1e-9, abs=1e-12 * scale)
