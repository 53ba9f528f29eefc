"""The spectral summary: singular values, the median of Marchenko-Pastur, ranks, outliers of planted structure."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics.spectrum import gavish_donoho, marchenko_pastur_median, singular_values, spectrum
from rctheory.statistics.variance_profile import separable_edge
from tests.helpers import SEEDS, stream


def _noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=dtype)


def _planted(m: int, n: int, rank: int, strength: float, seed: int) -> torch.Tensor:
    """Return a matrix of the given rank whose singular values are `strength` (m^(1/2) + n^(1/2))."""
    g = stream(seed)
    left, right = (torch.linalg.qr(torch.randn(size, rank, generator=g, dtype=torch.float64))[0] for size in (m, n))
    return strength * (math.sqrt(m) + math.sqrt(n)) * left @ right.T


@given(SEEDS, st.integers(1, 12), st.integers(1, 12))
def test_singular_values_are_those_of_the_decomposition(seed: int, m: int, n: int) -> None:
    W = _noise(2, m, n, seed=seed)
    torch.testing.assert_close(singular_values(W), torch.linalg.svdvals(W), rtol=1e-7, atol=1e-7)


def test_blocks_of_a_long_matrix_make_no_difference() -> None:
    W = _noise(300_001, 8, dtype=torch.float32)
    torch.testing.assert_close(singular_values(W), torch.linalg.svdvals(W.double()), rtol=1e-11, atol=0.0)
    torch.testing.assert_close(singular_values(W.T), singular_values(W), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("ratio", [0.01, 0.2, 0.5, 0.99, 1.0])
def test_the_median_of_marchenko_pastur_halves_its_mass(ratio: float) -> None:
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2

    def density(root: float) -> float:
        x = root**2  # in the root, the square case has no singularity at 0
        return 2 * root * math.sqrt(max(0.0, (high - x) * (x - low))) / (2 * math.pi * ratio * x)

    mass = quad(density, max(math.sqrt(low), 1e-12), math.sqrt(marchenko_pastur_median(ratio)), limit=200)[0]
    assert mass == pytest.approx(0.5, abs=1e-5)


def test_thresholds_of_gavish_and_donoho() -> None:
    assert gavish_donoho(1.0) == pytest.approx(4 / math.sqrt(3), rel=1e-14)
    assert gavish_donoho(1.0) / math.sqrt(marchenko_pastur_median(1.0)) == pytest.approx(2.858, abs=5e-4)
    assert gavish_donoho(0.5) / math.sqrt(marchenko_pastur_median(0.5)) == pytest.approx(
        2.1711, abs=1e-3
    )  # their table
    for ratio in (0.0, 1.1, math.nan):
        with pytest.raises(UsageError, match="aspect ratio"):
            gavish_donoho(ratio)


@pytest.mark.parametrize("profile", [0.0, 0.4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pure_noise_has_no_outlier_and_planted_structure_is_counted(profile: float, dtype: torch.dtype) -> None:
    m, n, replicates = 90, 150, 40
    scales = [torch.exp(profile * _noise(size, seed=size)) for size in (m, n)]
    outer = scales[0][:, None] * scales[1]
    norm = outer.square().mean().sqrt()
    outer = outer / norm
    noise = outer * _noise(replicates, m, n, seed=5)
    pure = spectrum(noise.to(dtype))
    assert int(pure.outliers.sum()) == 0
    assert float(pure.share.max()) == 0.0
    tops = pure.singular_values[:, 0]
    true = separable_edge(*(scale.square() for scale in scales)).location.sqrt() / norm
    assert abs(float((pure.edge / true).mean()) - 1) < 0.03
    assert 0.9 < float((tops / true).mean()) < 1.0
    found = spectrum((noise + outer * _planted(m, n, rank=3, strength=6.0, seed=6)).to(dtype))
    assert found.outliers.tolist() == [3] * replicates
    if profile:  # the white edge takes the profile for structure
        assert int((tops > 1.2 * pure.white_edge).sum()) == replicates
        assert int(pure.rank.min()) > 0
    else:
        assert pure.rank.tolist() == [0] * replicates
        assert found.rank.tolist() == [3] * replicates
        torch.testing.assert_close(pure.noise, torch.ones_like(pure.noise), rtol=0.05, atol=0.0)


def test_outliers_leave_the_level_of_the_noise_alone() -> None:
    """Three directions of equal weight on every entry, out of 30: what they take of the noise must be put back."""
    g = stream(4)
    left, right = (2.0 * torch.randint(2, (60, size, 3), generator=g) - 1 for size in (30, 40))
    noise = _noise(60, 30, 40)
    pure, found = spectrum(noise), spectrum(noise + 2 * left.double() @ right.double().transpose(-1, -2))
    assert found.outliers.tolist() == [3] * 60
    assert float((found.edge / pure.edge).mean()) == pytest.approx(1.0, abs=0.03)


def test_known_noise_sets_the_rank_and_the_white_edge() -> None:
    W = _noise(80, 80) + _planted(80, 80, rank=2, strength=3.0, seed=1)
    known = spectrum(W, noise=1.0)
    assert int(known.rank) == 2
    assert float(known.white_edge) == pytest.approx(2 * math.sqrt(80))
    assert int(spectrum(W, noise=100.0).rank) == 0
    assert int(spectrum(W, noise=0.01).rank) > 70


def test_share_and_stable_rank() -> None:
    """An exact low-rank matrix: everything is in its outliers."""
    W = _planted(60, 80, rank=1, strength=1.0, seed=3)
    s = spectrum(W)
    assert int(s.outliers) == 1
    assert float(s.share) == pytest.approx(1.0)
    assert float(s.stable_rank) == pytest.approx(1.0)
    assert float(spectrum(torch.eye(50)).stable_rank) == pytest.approx(50.0)


@given(SEEDS)
def test_a_spectrum_does_not_see_the_order(seed: int) -> None:
    W = _noise(12, 17, seed=seed)
    moved = W[torch.randperm(12, generator=stream(seed))][:, torch.randperm(17, generator=stream(seed + 1))]
    for name, value in vars(spectrum(W)).items():
        torch.testing.assert_close(getattr(spectrum(moved), name), value, rtol=1e-9, atol=1e-9)


def test_replicates_do_not_touch_one_another() -> None:
    W = _noise(3, 20, 30)
    W[1] = 0
    W[2] += _planted(20, 30, rank=1, strength=5.0, seed=2)
    together = spectrum(W)
    for i in range(3):
        for name, value in vars(spectrum(W[i])).items():
            torch.testing.assert_close(getattr(together, name)[i], value, rtol=1e-10, atol=1e-12)


def test_zeros_have_no_structure_and_half_precision_keeps_small_weights() -> None:
    s = spectrum(torch.zeros(4, 6))
    values = [float(s.rank), float(s.outliers), float(s.edge), float(s.share), float(s.stable_rank)]
    assert values == [0.0] * 5
    small = 1e-4 * _noise(40, 60) * torch.exp(_noise(40, 1))
    torch.testing.assert_close(spectrum(small.half()).edge, spectrum(small).edge, rtol=1e-2, atol=0.0)


def test_an_extreme_row_does_not_hang_the_count() -> None:
    W = _noise(30, 40)
    W[0] *= 1e6
    assert 0 <= int(spectrum(W).outliers) < 30
    assert bool(torch.isfinite(spectrum(W).threshold))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="m >= 2 and n >= 2"):
        spectrum(torch.ones(5, 1))
    with pytest.raises(ShapeError, match="m >= 2 and n >= 2"):
        spectrum(torch.ones(5))
    with pytest.raises(NumericsError, match="the array are not finite"):
        spectrum(torch.full((3, 3), np.nan))
    for noise in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match=f"noise {noise}"):
            spectrum(torch.ones(3, 3), noise=noise)


def test_false_outliers_are_rare() -> None:
    """At most 1 in 1000 by design; more than 12 of 4000 would have a probability below 1e-3."""
    profiles = torch.exp(0.3 * _noise(30, 1, seed=1)) * torch.exp(0.3 * _noise(40, seed=2))
    false = [int((spectrum(scale * _noise(2000, 30, 40, seed=3)).outliers > 0).sum()) for scale in (1.0, profiles)]
    assert sum(false) <= 12
