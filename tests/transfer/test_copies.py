"""What happens along one dimension: shares that add up to the bit, noise that nothing sees, units taken and joined."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rctheory.errors import ShapeError
from rctheory.transfer import copies
from rctheory.transfer.units import AxisPlan, first_copies
from tests.helpers import SEEDS, stream

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def plan_of(counts: list[int], random: torch.Generator, means: int = 0) -> AxisPlan:
    """Return an exact plan with so many copies of each unit, in a random order."""
    indices = torch.arange(len(counts) + 1).repeat_interleave(torch.tensor([*counts, means]))
    return AxisPlan(len(counts), indices[torch.randperm(len(indices), generator=random)], exact=True)


def drawn(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Draw float32 weights over many binary orders of magnitude."""
    return torch.randn(shape, generator=random) * torch.exp2(torch.randint(-40, 40, shape, generator=random))


@given(COUNTS, st.integers(0, 2), st.integers(0, 3), SEEDS)
def test_shares_add_up_to_the_bit(counts: list[int], dimension: int, means: int, seed: int) -> None:
    """The float64 sum over the copies of a weight rounds to the float32 weight; shares are within an ulp of even."""
    random = stream(seed)
    plan = plan_of(counts, random, means)
    shape = [2, 3, 4]
    shape[dimension] = len(counts)
    source = drawn(tuple(shape), random)
    wide = copies.read(source.clone(), dimension, plan)
    assert wide.dtype is torch.float32
    assert wide.shape[dimension] == plan.width
    summed = torch.zeros([*shape[:dimension], len(counts) + 1, *shape[dimension + 1 :]], dtype=torch.float64)
    summed.index_add_(dimension, plan.indices, wide.double())
    assert torch.equal(summed.narrow(dimension, 0, len(counts)).float(), source)
    assert not summed.narrow(dimension, len(counts), 1).any()
    assert torch.equal(copies.unread(wide, dimension, plan), source)
    kept = plan.indices < plan.size
    even = source.index_select(dimension, plan.indices[kept]).double()
    even /= plan.counts[plan.indices[kept]].reshape([-1 if d == dimension else 1 for d in range(3)])
    shares = wide.index_select(dimension, torch.nonzero(kept).flatten()).double()
    assert bool(((shares - even).abs() <= 9 * 2.0**-24 * even.abs()).all())


@given(COUNTS, SEEDS, st.booleans())
def test_written_copies_are_their_source(counts: list[int], seed: int, scaled: bool) -> None:
    random = stream(seed)
    plan, source = plan_of(counts, random), drawn((3, len(counts)), random)
    factors = torch.rand(len(counts), generator=random, dtype=torch.float64) + 0.5 if scaled else None
    wide = copies.write(source.clone(), 1, plan, factors)
    expected = source if factors is None else source * factors.float()
    assert torch.equal(wide, expected[:, plan.indices])
    back = copies.unwrite(wide, 1, plan, factors)
    torch.testing.assert_close(back, source, rtol=0.0 if factors is None else 3e-7, atol=0.0)


@given(COUNTS, st.integers(0, 3), SEEDS)
def test_noise_adds_up_to_zero_over_copies(counts: list[int], means: int, seed: int) -> None:
    random = stream(seed)
    plan = plan_of(counts, random, means)
    wide = torch.randn(4, plan.width, generator=random, dtype=torch.float64)
    noisy = copies.add_noise(wide.clone(), 1, plan, 0.1, random)
    moved = torch.zeros(4, len(counts) + 1, dtype=torch.float64).index_add_(1, plan.indices, noisy - wide)
    assert moved[:, : len(counts)].abs().max() <= 1e-13
    alone = plan.indices.unsqueeze(0) == torch.nonzero(plan.counts == 1)
    assert (noisy - wide)[:, alone.any(0)].abs().max() <= 1e-13 if alone.any() else True
    several = torch.isin(plan.indices, torch.nonzero(plan.counts > 1).flatten()) | (plan.indices == plan.size)
    assert bool(((noisy - wide)[:, several] != 0).all())


def test_units_that_carry_the_mean() -> None:
    plan = AxisPlan(3, torch.tensor([0, 3, 1, 2]), exact=True)
    source = torch.tensor([[1.0, 2.0, 6.0]])
    assert copies.write(source.clone(), 1, plan).tolist() == [[1.0, 3.0, 2.0, 6.0]]
    assert copies.read(source.clone(), 1, plan).tolist() == [[1.0, 0.0, 2.0, 6.0]]


def test_a_sample_weighs_its_reads() -> None:
    plan = AxisPlan(4, torch.tensor([3, 1]), exact=False)
    assert copies.read(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0, plan).tolist() == [8.0, 4.0]
    with pytest.raises(ShapeError, match="a plan that samples its units"):
        first_copies(plan)


@pytest.mark.parametrize("indices", [[], [-1], [0, 4]])
def test_indices_outside_of_the_axis_are_refused(indices: list[int]) -> None:
    with pytest.raises(ShapeError, match=r"indices of 3 source units; expected at least one index, all in 0\.\.3"):
        AxisPlan(3, torch.tensor(indices, dtype=torch.int64), exact=False)


def test_a_lost_unit_is_refused() -> None:
    with pytest.raises(ShapeError, match="1 of 3 units without a copy"):
        AxisPlan(3, torch.tensor([0, 2, 2]), exact=True)
