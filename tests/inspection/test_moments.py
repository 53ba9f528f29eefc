"""Moments gathered block by block, against the dense tensors in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.checkpoints.sources import open_checkpoint
from rctheory.inspection.moments import Moments
from rctheory.inspection.norms import collect_moments, collect_norms, norms_of
from tests.checkpoints.folders import save_folder, tiny_weights
from tests.helpers import SEEDS, stream


def gathered(values: torch.Tensor, rows: int) -> Moments:
    """Add a tensor a few rows at a time."""
    moments = Moments.of(tuple(values.shape))
    for start in range(0, len(values), rows):
        moments.add(values[start : start + rows], start)
    return moments


@given(SEEDS, st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 50), st.floats(-2, 2))
def test_moments_are_those_of_the_dense_tensor(seed: int, shape: list[int], rows: int, mean: float) -> None:
    values = torch.randn(shape, generator=stream(seed)).pow(3) + mean
    values[values.abs() < 0.05] = 0
    moments, dense = gathered(values, rows), values.double().numpy()
    assert moments.count == dense.size
    assert moments.nonzero == np.count_nonzero(dense)
    for power, found in enumerate(moments.powers.tolist(), start=1):
        assert found == pytest.approx((dense**power).sum(), rel=1e-5, abs=1e-5 * (np.abs(dense) ** power).sum())
    for dimension in range(dense.ndim):
        others = tuple(k for k in range(dense.ndim) if k != dimension)
        absolute = np.abs(dense).sum(axis=others)
        assert np.all(np.abs(moments.sums[dimension].numpy() - dense.sum(axis=others)) <= 1e-5 * absolute)
        np.testing.assert_allclose(moments.squares[dimension].numpy(), (dense**2).sum(axis=others), rtol=1e-5)
        np.testing.assert_allclose(
            moments.means(dimension).numpy(), dense.mean(axis=others), atol=1e-5 * absolute.max()
        )
        np.testing.assert_allclose(moments.mean_squares(dimension).numpy(), (dense**2).mean(axis=others), rtol=1e-5)
    assert moments.rms == pytest.approx(math.sqrt((dense**2).mean()), rel=1e-5)


def test_kurtosis_is_that_of_the_centred_entries() -> None:
    values = torch.randn(300, 20, generator=stream(0)).exp() + 2
    expected = stats.kurtosis(values.double().numpy(), axis=None, fisher=False)
    assert gathered(values, 64).kurtosis == pytest.approx(expected, rel=1e-3)
    assert math.isnan(gathered(torch.ones(3, 4), 2).kurtosis)


@pytest.mark.parametrize("exponent", [-120, -40, 30, 90])
def test_powers_do_not_leave_the_range_of_float32(exponent: int) -> None:
    values, scale = torch.randn(300, 20, generator=stream(0)), 2.0**exponent
    near, far = gathered(values, 64), gathered(values * scale, 64)
    assert far.kurtosis == pytest.approx(near.kurtosis, rel=1e-5)
    assert far.rms == pytest.approx(near.rms * scale, rel=1e-6)
    for dimension in range(2):
        torch.testing.assert_close(far.squares[dimension] / scale**2, near.squares[dimension], rtol=1e-5, atol=0)


def test_norms_are_a_view_on_moments(tmp_path) -> None:
    with open_checkpoint(save_folder(tmp_path, tiny_weights())) as checkpoint:
        messages: list[str] = []
        moments, norms = collect_moments(checkpoint, messages.append), collect_norms(checkpoint, messages.append)
    assert messages[0].startswith(f"read {len(moments)} of {len(moments)} tensors of")
    assert norms.keys() == norms_of(moments).keys()
    for (name, dimension), values in norms.items():
        assert torch.equal(values, moments[name].log_norms(dimension))
