"""Scale effects: mean effects of log sizes, with zeros and quantised blocks in mind."""

import pytest
import torch
from hypothesis import given
from scipy import stats
from torch import Tensor

from rctheory.statistics.arrays import mean_effects, scale_effects
from rctheory.statistics.arrays.scales import log_sizes
from tests.helpers import CUTOFF, SEEDS, stream
from verification.calibration_noise import draw as draw_noise


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def test_zeros_count_as_half_the_smallest_size() -> None:
    W = torch.tensor([[[0.0, -4.0], [0.5, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = log_sizes(W)
    torch.testing.assert_close(found[0].exp(), torch.tensor([[0.25, 4.0], [0.5, 2.0]]))
    assert found[1].abs().max() == 0
    assert W[0, 0, 1] == -4.0  # the array itself is left alone


@given(seed=SEEDS)
def test_signs_and_scales_of_the_other_axis_do_not_matter(seed: int) -> None:
    W = draw(9, 12, seed=seed)
    other = W * torch.exp(draw(1, 12, seed=seed + 1)) * torch.sign(draw(9, 12, seed=seed + 2))
    first, second = scale_effects(W, "rows"), scale_effects(other, "rows")
    assert float(first.statistic) == pytest.approx(float(second.statistic), rel=1e-6, abs=1e-8)
    assert float(mean_effects(W.abs().log(), "rows").p_value) == pytest.approx(float(first.p_value))


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_scales_are_seen_and_measured(axis: str) -> None:
    scales = torch.exp(0.5 * draw(200, 1, seed=1))
    W = draw(200, 300) * scales if axis == "rows" else (draw(200, 300) * scales).T
    test = scale_effects(W, axis)
    expected = 0.25 / (0.25 + torch.pi**2 / 8)
    assert float(test.p_value) < CUTOFF
    assert float(test.effect) == pytest.approx(expected, rel=0.25)


def test_quantised_blocks_stay_together() -> None:
    """Small entries of a block of 32 share few levels; blocks that cut through them would reject too often."""
    W = draw_noise("blocks of Q4_1", (600, 16, 512), stream(0))
    rejected = int((scale_effects(W, "rows").p_value <= 0.05).sum())
    assert stats.binomtest(rejected, 600, 0.05, alternative="greater").pvalue > CUTOFF
    cut = int((mean_effects(log_sizes(W), "rows").p_value <= 0.05).sum())
    assert stats.binomtest(cut, 600, 0.05, alternative="greater").pvalue < CUTOFF


def test_arrays_of_one_size_are_refused() -> None:
    assert bool(scale_effects(torch.sign(draw(6, 7)), "rows").p_value.isnan())
