"""The calibration study: its noises have the laws that they are named after, and its cells judge as they say."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from rctheory.suite.experiment import Context, Tier
from tests.helpers import CUTOFF, stream
from verification.calibration import Calibrated, Cell, report, study
from verification.calibration_dissociation import dissociation_p_values
from verification.calibration_noise import NOISES, PROFILE, SPREAD, draw
from verification.calibration_power import SIGNALS


@pytest.mark.parametrize(
    ("noise", "law"),
    [
        ("Gaussian", stats.norm()),
        ("uniform", stats.uniform(-0.5, 1)),
        ("t6", stats.t(6)),
        ("t3", stats.t(3)),
        ("exponential", stats.expon(-1)),
    ],
)
def test_noises_have_their_laws(noise: str, law: object) -> None:
    values = draw(noise, (10, 20, 96), stream(1)).flatten().double().numpy()
    assert stats.kstest(values, law.cdf).pvalue > CUTOFF


def test_blocks_have_sixteen_levels_and_stay_near() -> None:
    rounded = draw("blocks of Q4_1", (2, 6, 64), stream(0))
    plain = torch.randn((2, 6, 64), generator=stream(0))
    assert max(len(block.unique()) for block in rounded.unflatten(-1, (-1, 32)).flatten(0, 2)) <= 16
    assert 0.01 < float((rounded - plain).std()) < 0.15


@pytest.mark.parametrize("spared", ["rows", "columns"])
def test_the_profile_spares_the_axis_that_is_tested(spared: str) -> None:
    arrays = draw(PROFILE, (40, 30, 320), stream(0), spared).double()
    rows, columns = (arrays.square().mean(dim=dim).log() / 2 for dim in (-1, -2))
    free, scaled = (rows, columns) if spared == "rows" else (columns, rows)
    noise = {"rows": 320, "columns": 30}[spared]
    assert float(scaled.std(dim=-1).mean()) == pytest.approx(SPREAD, rel=0.15)
    assert float(free.std(dim=-1).mean()) < 3 * (1 / noise) ** 0.5


def test_cells_know_refusal_and_standard_errors() -> None:
    assert Cell("a", "b", 0.05, 400, 33, 0.0).errors == pytest.approx(0.0325 / (0.05 * 0.95 / 400) ** 0.5)
    assert math.isnan(Cell("a", "b", 0.05, 400, 0, 0.9).rate)
    assert Cell("a", "b", 0.05, 400, 0, 0.2).within  # refusals keep it low
    assert not Cell("a", "b", 0.05, 400, 0, 0.0).within
    assert Cell("a", "b", 0.05, 400, 0, 0.2).p_value == 1.0
    assert Cell("a", "b", 0.05, 400, 0, 0.0).p_value < 1e-6


def test_a_test_that_refuses_everything_supports_nothing() -> None:
    nothing = {"nothing": Calibrated(lambda W, _: torch.full((len(W),), torch.nan))}
    measured = report(study(Context(tier=Tier.SMOKE), nothing, 10, (4, 32)))
    assert measured.quantities["size"].values == {}
    assert math.isnan(measured.quantities["within"].value)


def test_dissociation_is_studied_on_arrays_with_and_without_row_effects() -> None:
    with_effects, alone = (
        dissociation_p_values(Context(tier=Tier.SMOKE), "Gaussian", 300, effect) for effect in (1.0, 0.0)
    )
    assert stats.binomtest(int((with_effects <= 0.05).sum()), 300, 0.05).pvalue > CUTOFF
    assert float((alone <= 0.05).double().mean()) < float((with_effects <= 0.05).double().mean())
    again = dissociation_p_values(Context(tier=Tier.SMOKE), "Gaussian", 150, 1.0)
    torch.testing.assert_close(again[:100], with_effects[:100], rtol=0, atol=0)


def test_every_noise_is_studied_and_uniform_p_values_pass() -> None:
    even = {"even": Calibrated(lambda W, seed: torch.rand(len(W), generator=stream(seed)), allows_interaction=True)}
    cells = study(Context(tier=Tier.SMOKE), even, 300, (4, 32))
    assert {cell.noise for cell in cells} == set(NOISES)
    assert min(report(cells).quantities["size"].values.values()) > 1e-6


@pytest.mark.parametrize("signal", sorted(SIGNALS))
def test_strength_is_the_shift_of_the_statistic(signal: str) -> None:
    """At strength z the mean of the standardised statistic is z, up to what the signal adds to its own scale."""
    from rctheory.statistics.arrays import interaction, mean_effects
    from rctheory.statistics.arrays.scales import scale_effects

    statistics = {
        "row effects": lambda W: mean_effects(W, "rows").statistic,
        "row scales": lambda W: scale_effects(W, "rows").statistic,
        "spike": lambda W: interaction(W, seed=0).statistic,
    }
    noise = draw("Gaussian", (400, 64, 128), stream(0))
    shifts = statistics[signal](SIGNALS[signal].plant(noise, 3.0, stream(1))).numpy()
    assert float(np.mean(shifts)) == pytest.approx(3.0, abs=0.5)
