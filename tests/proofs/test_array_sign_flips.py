"""Claim `array.sign-flips`: conditional moments, summed over the definitions and over every choice of signs."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers import SEEDS
from tests.proofs.spaces import Space, TwoValued
from tests.proofs.test_array_four_cycle import four_cycle

FAIR = TwoValued(1.0, 0.5)


def row_pairs(entries: Tensor) -> Tensor:
    """Return the sum of x_ij x_il over rows i and j != l, pair by pair, for arrays (outcomes, m, n)."""
    pairs = itertools.permutations(range(entries.shape[2]), 2)
    return torch.stack([(entries[:, :, j] * entries[:, :, h]).sum(dim=1) for j, h in pairs]).sum(dim=0)


@given(seed=SEEDS, shape=st.sampled_from(((2, 2), (2, 3), (3, 3))))
def test_conditional_moments_by_enumeration(seed: int, shape: tuple[int, int]) -> None:
    sizes = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    space = Space.product({"signs": (shape, FAIR)})
    entries, (m, n) = space.variables["signs"] * sizes, shape
    cycles = four_cycle(entries) * m * (m - 1) * n * (n - 1)
    assert float(space.mean(cycles)) == pytest.approx(0, abs=1e-12)
    squares = four_cycle(sizes[None] ** 2) * m * (m - 1) * n * (n - 1)
    assert float(space.mean(cycles**2)) == pytest.approx(4 * float(squares), rel=1e-10)
    pairs = row_pairs(entries)
    assert float(space.mean(pairs)) == pytest.approx(0, abs=1e-12)
    assert float(space.mean(pairs**2)) == pytest.approx(2 * float(row_pairs(sizes[None] ** 2)), rel=1e-10)
    triples = itertools.permutations(range(n), 3)
    distinct = math.fsum(float((sizes[:, list(triple)] ** 2).prod(dim=1).sum()) for triple in triples)
    assert float(space.mean(pairs**3)) == pytest.approx(8 * distinct, rel=1e-10, abs=1e-12)


@given(chance=st.floats(0.1, 0.9))
def test_double_differences_are_symmetric_and_independent(chance: float) -> None:
    """The law of a difference is the mirror of itself, and the joint law of two disjoint ones is the product."""
    space = Space.product({"xi": ((2, 4), TwoValued(1.0, chance))})
    xi = space.variables["xi"]
    double = (xi[:, 0] - xi[:, 1])[:, ::2] - (xi[:, 0] - xi[:, 1])[:, 1::2]
    one, two = double.unbind(dim=1)
    for power in range(1, 6):
        odd = float(space.mean(one ** (2 * power - 1)))
        assert odd == pytest.approx(0, abs=1e-9 * 10**power)
        joint, apart = space.mean(one**power * two**power), space.mean(one**power) * space.mean(two**power)
        assert float(joint) == pytest.approx(float(apart), rel=1e-9, abs=1e-9)
