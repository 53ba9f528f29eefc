"""The fitted row-column law: recovers what was planted, finds nothing in noise, and samples at any width."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import LawError, NumericsError, ShapeError, UsageError
from rctheory.measures import RCFit, ResidualLaw, fit_rc
from rctheory.measures.shrinkage import shrink
from rctheory.statistics.arrays.residuals import excess_kurtosis
from tests.helpers import SEEDS, stream

M, N, RANK = 200, 300, 3


def _world(seed: int = 0, *, signal: float = 0.4, spread: float = 0.5) -> dict[str, torch.Tensor]:
    """Return a planted row-column array, with its parts."""
    g = stream(seed)
    left, right = (torch.randn(size, RANK, generator=g, dtype=torch.float64) for size in (M, N))
    s, t = (torch.exp(spread * torch.randn(size, generator=g, dtype=torch.float64)) for size in (M, N))
    mean = signal * s[:, None] * left @ right.T
    noise = torch.randn(M, N, generator=g, dtype=torch.float64)
    return {"W": mean + s[:, None] * t * noise, "mean": mean, "noise": noise, "outer": s[:, None] * t}


@pytest.fixture(scope="module")
def planted() -> tuple[dict[str, torch.Tensor], RCFit]:
    world = _world()
    return world, fit_rc(world["W"])


def test_the_planted_law_is_recovered(planted: tuple[dict[str, torch.Tensor], RCFit]) -> None:
    world, fit = planted
    assert fit.rank == RANK
    error = (fit.expected() - world["mean"]).square().sum() / world["mean"].square().sum()
    assert float(error) < 0.25
    best = torch.linalg.svd(world["W"])  # what the best rank-3 approximation that knows no scales would give
    plain = best.U[:, :RANK] * best.S[:RANK] @ best.Vh[:RANK]
    assert float(error) < 0.8 * float((plain - world["mean"]).square().sum() / world["mean"].square().sum())
    scales = fit.rows.latents[:, -1:].exp() * fit.columns.latents[:, -1].exp()
    assert float((scales / world["outer"]).log().std()) < 0.12
    assert float((fit.standardised(world["W"]) - world["noise"]).square().mean()) < 0.1
    truth = float(world["mean"].square().sum() / world["W"].square().sum())
    assert fit.goodness.explained == pytest.approx(truth, abs=0.05)
    assert fit.goodness.held_out == pytest.approx(truth, abs=0.08)
    assert fit.goodness.held_out < fit.goodness.explained
    assert fit.goodness.kolmogorov < 0.01
    assert abs(fit.goodness.excess_kurtosis) < 0.15


@pytest.mark.parametrize("spread", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_mean_whatever_its_scales(spread: float, seed: int) -> None:
    world = _world(seed, signal=0.0, spread=spread)
    fit = fit_rc(world["W"])
    assert (fit.rank, fit.goodness.explained, fit.goodness.held_out) == (0, 0.0, 0.0)
    assert fit.expected().abs().max() == 0


def test_shuffled_entries_have_no_fit(planted: tuple[dict[str, torch.Tensor], RCFit]) -> None:
    W = planted[0]["W"]
    shuffled = W.flatten()[torch.randperm(W.numel(), generator=stream(1))].reshape(W.shape)
    fit = fit_rc(shuffled)
    assert fit.rank == 0
    assert fit.goodness.held_out == 0.0


@pytest.mark.parametrize("size", [(150, 150), (100, 300), (300, 100)])
def test_singular_values_are_shrunk_to_the_best_coefficients(size: tuple[int, int]) -> None:
    """Against u^T M v, the coefficient of an empirical pair of singular vectors that comes closest to the mean M."""
    g = stream(size[0])
    edge = math.sqrt(size[0]) + math.sqrt(size[1])
    left, right = (torch.linalg.qr(torch.randn(n, 3, generator=g, dtype=torch.float64))[0] for n in size)
    mean = edge * (left * torch.tensor([0.9, 1.2, 1.8])) @ right.T
    best, values = torch.zeros(3), torch.zeros(3)
    for _ in range(20):
        u, shrunk, v = shrink(mean + torch.randn(*size, generator=g, dtype=torch.float64), 50)
        best += (u * (mean @ v)).sum(dim=0) / 20
        values += shrunk / 20
    torch.testing.assert_close(values / edge, best / edge, rtol=0.0, atol=0.02)
    assert float(best[2] / edge) < 0.8  # of 0.9: shrinking matters here


def test_orders_and_transposes_commute_with_the_fit(planted: tuple[dict[str, torch.Tensor], RCFit]) -> None:
    world, fit = planted
    order = torch.randperm(M, generator=stream(3))
    torch.testing.assert_close(fit_rc(world["W"][order]).expected(), fit.expected()[order], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(fit_rc(world["W"].T).expected(), fit.expected().T, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(fit_rc(1e-3 * world["W"]).expected(), 1e-3 * fit.expected(), rtol=1e-6, atol=1e-11)
    single = fit_rc(world["W"].float())
    torch.testing.assert_close(single.expected(), fit.expected(), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(100, 150), (600, 500)])
def test_samples_of_any_width_keep_the_scale_and_the_spectrum(
    planted: tuple[dict[str, torch.Tensor], RCFit], size: tuple[int, int], smoothing: float
) -> None:
    world, fit = planted
    W = fit.sample(*size, seed=4, smoothing=smoothing)
    assert W.shape == size
    assert float(W.std() / world["W"].std()) == pytest.approx(1.0, abs=0.2)
    again = fit_rc(W)
    assert again.rank == RANK
    assert again.goodness.explained == pytest.approx(fit.goodness.explained, abs=0.1)


def test_samples_are_reproducible_and_share_an_axis_when_asked(
    planted: tuple[dict[str, torch.Tensor], RCFit],
) -> None:
    _, fit = planted
    assert torch.equal(fit.sample(5, 6, seed=1), fit.sample(5, 6, seed=1))
    assert not torch.equal(fit.sample(5, 6, seed=1), fit.sample(5, 6, seed=2))
    down = fit_rc(_world(seed=9)["W"].T, max_rank=1)  # its columns run over as many units as the rows of `fit`
    means = []
    for name in ("neuron", "other"):
        rows = _rows(fit, "neuron", 50)
        columns = _rows(down, name, 50, axis="columns")
        means.append(torch.equal(rows, columns))
    assert means == [True, False]


def _rows(fit: RCFit, name: str, count: int, axis: str = "rows") -> torch.Tensor:
    """Return which fitted units a sample drew, by marking them in the latents and silencing the residual."""
    units = getattr(fit, axis)
    marks = torch.cat([torch.zeros_like(units.latents[:, :-1]), torch.arange(len(units.latents))[:, None] / 100], dim=1)
    silent = ResidualLaw(fit.residual.levels, torch.ones_like(fit.residual.quantiles))
    other = "columns" if axis == "rows" else "rows"
    flat = torch.zeros_like(getattr(fit, other).latents)
    parts = {axis: type(units)(marks, units.masses), other: type(units)(flat, getattr(fit, other).masses)}
    marked = RCFit(parts["rows"], parts["columns"], silent, fit.goodness)
    if axis == "rows":
        return marked.sample(count, 1, seed=7, row_axis=name).log().mul(100).round()[:, 0]
    return marked.sample(1, count, seed=7, column_axis=name).log().mul(100).round()[0]


def test_an_exact_low_rank_matrix_and_dead_units_are_fitted() -> None:
    world = _world()
    fit = fit_rc(world["mean"])
    assert fit.rank == RANK
    torch.testing.assert_close(fit.expected(), world["mean"], rtol=1e-4, atol=1e-6)
    assert fit.goodness.held_out > 0.99
    dead = world["W"].clone()
    dead[3] = 0
    dead[:, 5] = 0
    assert torch.isfinite(fit_rc(dead).sample(50, 50, seed=1, smoothing=0.2)).all()
    zeros = fit_rc(torch.zeros(8, 9))
    assert float(zeros.sample(5, 5, seed=0).abs().max()) == 0
    assert all(math.isfinite(value) for value in vars(zeros.goodness).values())


def test_a_cap_on_the_rank_holds() -> None:
    W = _world()["W"]
    assert [fit_rc(W, max_rank=cap).rank for cap in (0, 1, 2, 100)] == [0, 1, 2, RANK]


@given(SEEDS, st.integers(2, 400))
def test_a_residual_law_has_mean_zero_and_variance_one(seed: int, size: int) -> None:
    law = ResidualLaw.of(torch.randn(size, generator=stream(seed)) ** 3 + 5)
    draws = law.sample((20_000,), stream(seed + 1))
    z = float(draws.mean()) * math.sqrt(len(draws))
    assert 2 * stats.norm.sf(abs(z)) > 1e-9
    fourth = float((draws.square() - 1).square().mean())
    z = float(draws.square().mean() - 1) / math.sqrt(fourth / len(draws))
    assert abs(z) < 12  # heavy tails: the ratio is far from normal
    assert bool((law.quantiles.diff() >= 0).all())


def test_a_residual_law_keeps_the_shape() -> None:
    sample = torch.from_numpy(stats.t(6).rvs(200_000, random_state=0))
    law = ResidualLaw.of(sample)
    drawn = law.sample((200_000,), stream(1))
    assert stats.ks_2samp(drawn.numpy(), (sample / sample.std()).numpy()).pvalue > 1e-9
    assert float(excess_kurtosis(drawn)) == pytest.approx(float(excess_kurtosis(sample)), rel=0.25)


def test_bad_input_is_refused(planted: tuple[dict[str, torch.Tensor], RCFit]) -> None:
    world, fit = planted
    for shape in ((3, 9), (2, 8, 8), (9,)):
        with pytest.raises(ShapeError, match="fit one matrix at a time"):
            fit_rc(torch.ones(shape))
    for options in ({"held_out": 0.0}, {"held_out": 0.6}, {"held_out": math.nan}, {"max_rank": -1}):
        with pytest.raises(UsageError, match="held-out share"):
            fit_rc(world["W"], **options)
    with pytest.raises(NumericsError, match="the matrix are not finite"):
        fit_rc(torch.full((5, 5), math.nan))
    with pytest.raises(ShapeError, match=r"expected \(..., 200, 300\)"):
        fit.standardised(world["W"].T)
    for options in ({"m": 0}, {"smoothing": -0.1}, {"smoothing": 1.5}, {"smoothing": math.nan}):
        with pytest.raises(LawError, match="at least one unit"):
            fit.sample(**{"m": 5, "n": 5, "seed": 0} | options)
    with pytest.raises(ShapeError, match="1 residuals"):
        ResidualLaw.of(torch.ones(1))
