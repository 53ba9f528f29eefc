"""Diagnostics of what a fit leaves: silent where the fit is right, loud where something is planted in the residual."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from scipy import stats

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.measures import fit_rc
from rctheory.statistics.arrays.residuals import (
    _away_from,
    distance_to_normal,
    excess_kurtosis,
    lag_correlation,
    residual_diagnostics,
)
from tests.helpers import CUTOFF, SEEDS, stream


@dataclass(frozen=True)
class AsItIs:
    """A fit that takes nothing away."""

    def standardised(self, W: torch.Tensor) -> torch.Tensor:
        return W

    def directions(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(1, 0), torch.zeros(1, 0)


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def _planted(seed: int, m: int = 96, n: int = 140) -> torch.Tensor:
    left, right = _noise(m, 2, seed=seed), _noise(n, 2, seed=seed + 1)
    scales = torch.exp(0.5 * _noise(m, 1, seed=seed + 2)) * torch.exp(0.5 * _noise(n, seed=seed + 3))
    return scales * (0.6 * left @ right.T + _noise(m, n, seed=seed + 4))


def test_a_right_fit_leaves_nothing_and_the_raw_array_is_full_of_structure() -> None:
    W = _planted(0)
    left = residual_diagnostics(W, fit_rc(W), seed=0)
    raw = residual_diagnostics(W, AsItIs(), seed=0)
    for name in ("row_scales", "column_scales", "interaction"):
        assert float(getattr(raw, name).p_value) < CUTOFF
        assert float(getattr(left, name).p_value) > 1e-3
    assert float(raw.excess_kurtosis) > 1
    assert abs(float(left.excess_kurtosis)) < 0.2
    assert float(left.kolmogorov) < 0.02


def test_the_tests_err_on_the_side_of_silence_after_a_fit() -> None:
    worlds = [_planted(10 * seed) for seed in range(40)]
    tests = [residual_diagnostics(W, fit_rc(W), seed=0) for W in worlds]
    for name in ("row_scales", "column_scales", "interaction"):
        rejected = sum(float(getattr(test, name).p_value) <= 0.05 for test in tests)
        assert stats.binom.sf(rejected - 1, len(tests), 0.05) > 1e-3, name


def test_the_complement_of_the_directions_is_an_isometry() -> None:
    Z, U, V = _noise(2, 12, 9), _noise(12, 3, seed=1), _noise(9, 2, seed=2)
    left = _away_from(Z, U, V)
    assert left.shape == (2, 9, 7)
    P, Q = (torch.eye(len(part)).double() - part @ torch.linalg.pinv(part) for part in (U, V))
    torch.testing.assert_close(torch.linalg.svdvals(left), torch.linalg.svdvals(P @ Z @ Q)[:, :7])
    assert float(_away_from(U @ V[:3].T.new_ones(3, 9), U, V).abs().max()) < 1e-12
    assert _away_from(Z, U[:, :0], V[:, :0]).shape == Z.shape


def test_structure_that_the_fit_may_not_take_is_found_in_the_residual() -> None:
    W = _planted(0)
    for rank in (0, 1):
        blind = residual_diagnostics(W, fit_rc(W, max_rank=rank), seed=0)
        assert float(blind.interaction.p_value) < CUTOFF


@pytest.mark.parametrize(("axis", "other", "dim"), [("rows", "columns", -2), ("columns", "rows", -1)])
def test_planted_order_is_seen_along_its_axis_at_its_lag(axis: str, other: str, dim: int) -> None:
    x = _noise(3, 80, 90)
    W = x + 0.5 * x.roll(4, dims=dim)
    seen = residual_diagnostics(W, AsItIs(), seed=0)
    assert float(seen.lags[axis][4].p_value.max()) < CUTOFF
    assert float(seen.lags[axis][4].effect.mean()) == pytest.approx(0.4, abs=0.03)  # 0.5 / 1.25
    quiet = [test.p_value for lag, test in seen.lags[axis].items() if lag not in (4, 8)]
    quiet += [test.p_value for test in seen.lags[other].values()]
    assert float(torch.cat(quiet).min()) > 1e-4


def test_lags_keep_their_level_under_heavy_tails_and_scales() -> None:
    t3 = torch.from_numpy(stats.t(3).rvs((2000, 20, 30), random_state=1)) * torch.exp(_noise(20, 1))
    for axis in ("rows", "columns"):
        rejected = int((lag_correlation(t3, axis, 1).p_value <= 0.05).sum())
        assert abs(rejected - 100) < 4 * math.sqrt(2000 * 0.05 * 0.95)


@given(SEEDS)
def test_replicates_are_treated_alike(seed: int) -> None:
    W = _noise(3, 12, 15, seed=seed)
    together = residual_diagnostics(W, AsItIs(), seed=1)
    alone = residual_diagnostics(W[1], AsItIs(), seed=1)
    torch.testing.assert_close(together.excess_kurtosis[1], alone.excess_kurtosis)
    torch.testing.assert_close(together.kolmogorov[1], alone.kolmogorov)
    torch.testing.assert_close(together.lags["rows"][8].p_value[1], alone.lags["rows"][8].p_value)
    assert sorted(together.lags["rows"]) == [1, 2, 4, 8]
    assert (alone.kolmogorov, alone.excess_kurtosis) != (0, 0)


def test_kurtosis_and_distance_are_those_of_scipy() -> None:
    for values in (_noise(1000) ** 3, torch.zeros(5), torch.linspace(-9, 1, 20, dtype=torch.float64)):
        want = stats.kstest(values.numpy(), "norm").statistic
        assert float(distance_to_normal(values)) == pytest.approx(want, abs=1e-12)
    centred = _noise(1000) ** 3
    centred -= centred.mean()
    assert float(excess_kurtosis(centred)) == pytest.approx(stats.kurtosis(centred.numpy()), rel=1e-12)
    assert float(excess_kurtosis(torch.zeros(5))) == 0


def test_zeros_have_no_correlation_and_bad_input_is_refused() -> None:
    nothing = lag_correlation(torch.zeros(4, 5), "rows", 1)
    assert (float(nothing.effect), float(nothing.p_value)) == (0.0, 1.0)
    with pytest.raises(UsageError, match="axis 'diagonal'"):
        lag_correlation(_noise(4, 5), "diagonal", 1)
    for lag in (0, 5, -1):
        with pytest.raises(UsageError, match=f"lag {lag} along 5 columns; expected 1 to 4"):
            lag_correlation(_noise(4, 5), "columns", lag)
    with pytest.raises(ShapeError):
        residual_diagnostics(_noise(3, 9), AsItIs(), seed=0)
    with pytest.raises(NumericsError):
        residual_diagnostics(torch.full((5, 5), math.nan), AsItIs(), seed=0)
