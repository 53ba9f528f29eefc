"""Dissociation: the exact line without noise, the level under the null, and a shared latent that is seen."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics.arrays import dissociation
from tests.helpers import CUTOFF, stream

SIZES = torch.tensor([8, 16, 32, 64, 128])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def means(repeats: int, seeds: int, shared: float, seed: int = 0) -> Tensor:
    """Means of N x N arrays with unit row effects and noise: normal, of variance shared + 1/N + 1/N^2."""
    variance = shared + 1 / SIZES + 1 / SIZES.double() ** 2
    return draw(repeats, len(SIZES), seeds, seed=seed) * variance.sqrt()[:, None]


def test_variances_on_the_curve_give_its_coefficients() -> None:
    variance = 0.3 + 2 / SIZES.double() + 5 / SIZES.double() ** 2
    found = dissociation(torch.stack([-(variance / 2).sqrt(), (variance / 2).sqrt()], dim=1), SIZES)
    assert found.intercept == pytest.approx(0.3, rel=1e-9)
    assert found.slope == pytest.approx(2, rel=1e-9)
    assert found.share == pytest.approx(0.3 / float(variance[0]), rel=1e-9)


def test_level_and_coverage() -> None:
    found = [dissociation(x, SIZES) for x in means(1500, 30, 0)]
    rejected = sum(d.p_value <= 0.05 for d in found)
    covered = sum(d.interval[0] <= 0 <= d.interval[1] for d in found)
    assert abs(rejected / 1500 - 0.05) < 0.03
    assert stats.binomtest(covered, 1500, 0.95, alternative="less").pvalue > CUTOFF


def test_a_shared_latent_is_seen() -> None:
    found = [dissociation(x, SIZES) for x in means(100, 60, 0.1)]
    assert sum(d.p_value <= 0.01 for d in found) >= 95
    assert sum(d.interval[0] <= 0.1 <= d.interval[1] for d in found) >= 80


def test_means_of_real_arrays() -> None:
    """Arrays drawn entry by entry, with and without a shift of their own."""
    rows = []
    for n in SIZES.tolist():
        arrays = draw(80, n, n, seed=n) + draw(80, n, 1, seed=n + 1)
        rows.append(arrays.mean(dim=(1, 2)))
    values = torch.stack(rows)
    assert dissociation(values, SIZES).p_value > 1e-4
    assert dissociation(values + draw(len(SIZES), 80, seed=1), SIZES).p_value < 1e-6


def test_bad_input_is_named() -> None:
    with pytest.raises(ShapeError, match="at least 4"):
        dissociation(draw(3, 5), torch.tensor([8, 16, 32]))
    with pytest.raises(ShapeError, match="R >= 2 seeds"):
        dissociation(draw(5, 1), SIZES)
    with pytest.raises(UsageError, match="positive sizes"):
        dissociation(draw(5, 4), SIZES - 8)
    with pytest.raises(UsageError, match="level 95"):
        dissociation(draw(5, 4), SIZES, level=95)
    with pytest.raises(NumericsError):
        dissociation(draw(5, 4) * torch.nan, SIZES)
