"""The pigeonhole bootstrap against resampled arrays, and against every draw of a tiny one."""

from itertools import product

import pytest
import torch
from torch import Tensor

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics.arrays import bootstrap, pigeonhole_interval, quadruplet_interval
from rctheory.statistics.arrays.bootstrap import GRAND_MEAN, Mean
from rctheory.statistics.arrays.quadruplet_kernels import GRAND_MEAN as GRAND_MEAN_KERNEL
from tests.helpers import stream


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def _all_masses(units: int) -> Tensor:
    drawn = torch.tensor(list(product(range(units), repeat=units)))
    return torch.nn.functional.one_hot(drawn, units).double().mean(dim=1)


def squared_mean(arrays: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A statistic with parts of every kind of second order: rows with rows, columns with columns, both."""
    return GRAND_MEAN(arrays, rows, columns).square()


def test_masses_give_what_resampled_arrays_give() -> None:
    W, k = _normal(2, 5, 4), 7
    chosen_rows, chosen_columns = (torch.randint(u, (k, u), generator=stream(u)) for u in (5, 4))
    p, q = (torch.nn.functional.one_hot(x, u).double().mean(dim=1) for x, u in ((chosen_rows, 5), (chosen_columns, 4)))
    cubes = Mean(lambda x: x**3)
    for draw in range(k):
        resampled = W[:, chosen_rows[draw]][:, :, chosen_columns[draw]]
        torch.testing.assert_close(GRAND_MEAN(W, p, q)[:, draw], resampled.mean(dim=(1, 2)))
        torch.testing.assert_close(cubes(W, p, q)[:, draw], resampled.pow(3).mean(dim=(1, 2)))


def test_spread_of_a_mean_is_that_over_every_draw() -> None:
    W = _normal(3, 4, 3, seed=1)
    p, q = _all_masses(4), _all_masses(3)
    every = GRAND_MEAN(W, p.repeat_interleave(len(q), dim=0), q.repeat(len(p), 1))
    spread = bootstrap._spread_of_mean(W)
    torch.testing.assert_close(spread.pigeonhole, every.var(dim=1, correction=0))
    only_rows = GRAND_MEAN(W, p, torch.full((len(p), 3), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(spread.rows, only_rows.var(dim=1, correction=0) * 4 / 3)


def test_draws_have_multinomial_moments() -> None:
    p = bootstrap.multinomial_masses(5, 40_000, stream(3))
    torch.testing.assert_close(p.sum(dim=1), torch.ones(40_000, dtype=torch.float64))
    torch.testing.assert_close(p.mean(dim=0), torch.full((5,), 0.2, dtype=torch.float64), rtol=0.02, atol=0)
    cov = torch.eye(5, dtype=torch.float64) / 25 - 1 / 125
    torch.testing.assert_close(torch.cov(p.T), cov, rtol=0, atol=1.5e-3)


def test_grand_mean_has_the_standard_error_of_the_quadruplets() -> None:
    W = _normal(2, 3, 12, 15, seed=4) + _normal(12, 1, seed=5) * 2 + 1
    found, other = pigeonhole_interval(W, method="normal"), quadruplet_interval(W, GRAND_MEAN_KERNEL)
    torch.testing.assert_close(found.estimate, other.estimate)
    torch.testing.assert_close(found.sd, other.sd)
    # Student's quantile, without the skewness that the quadruplets correct for.
    torch.testing.assert_close(found.high - found.low, other.high - other.low, rtol=0.05, atol=0)
    assert (found.high - found.low > 2 * 1.96 * found.sd).all()


def test_second_differences_find_the_parts_of_a_mean() -> None:
    W = _normal(4, 30, 20, seed=6) + _normal(4, 30, 1, seed=7) + 1
    exact = bootstrap._spread_of_mean(W)
    p, q = bootstrap.multinomial_masses(30, 8000, stream(8)), bootstrap.multinomial_masses(20, 8000, stream(9))
    u, v = p.new_full((1, 30), 1 / 30), q.new_full((1, 20), 1 / 20)
    estimate = GRAND_MEAN(W, u, v)
    spread = bootstrap._spread(lambda x, y: GRAND_MEAN(W, x, y), p, q, GRAND_MEAN(W, p, q) - estimate, estimate)
    for name in ("rows", "columns", "second", "variance"):
        torch.testing.assert_close(getattr(spread, name), getattr(exact, name), rtol=0.08, atol=0)


def test_second_differences_find_what_two_rows_do_together() -> None:
    """Of sum_{ii'} a_i a_i' p_i p_i' around its zero, everything is of second order: variance 2 (sum a^2 / m^2)^2."""
    a = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(15)
    W = a[:, None].expand(1, 30, 10).clone()
    p, q = bootstrap.multinomial_masses(30, 20_000, stream(10)), bootstrap.multinomial_masses(10, 20_000, stream(11))
    estimate = torch.zeros(1, 1, dtype=torch.float64)
    spread = bootstrap._spread(lambda x, y: squared_mean(W, x, y), p, q, squared_mean(W, p, q), estimate)
    expected = 2 * (30 / 30**2) ** 2
    assert float(spread.second) == pytest.approx(expected, rel=0.1)
    assert float(spread.rows) < 0.2 * expected
    assert float(spread.columns) < 1e-12


def test_degenerate_arrays_are_refused() -> None:
    r, c, x = _normal(300, 40, 1, seed=12), _normal(300, 1, 50, seed=13), _normal(300, 40, 50, seed=14)
    for W in (x, r * c):
        found = pigeonhole_interval(W, draws=199)
        assert float(found.low.isnan().double().mean()) > 0.97
        assert "degenerate" in found.refusal
    assert float(pigeonhole_interval(r + 0.1 * c, squared_mean, draws=199).sd.isnan().double().mean()) > 0.97
    assert pigeonhole_interval(r + c + x, draws=199).refusal == ""
    assert pigeonhole_interval(3 + r + c + 0.1 * x, squared_mean, draws=199).refusal == ""
    assert pigeonhole_interval(torch.full((5, 6), 0.1), draws=199).low.isnan()


def test_a_smooth_function_of_the_mean_has_the_transformed_interval() -> None:
    W = 10 + _normal(5, 60, 1, seed=15) + _normal(5, 60, 80, seed=16)
    plain, squared = pigeonhole_interval(W), pigeonhole_interval(W, squared_mean)
    torch.testing.assert_close(squared.estimate, plain.estimate.square())
    torch.testing.assert_close(squared.low, plain.low.square(), rtol=3e-3, atol=0)
    torch.testing.assert_close(squared.high, plain.high.square(), rtol=3e-3, atol=0)


def test_methods_agree_on_symmetric_draws_and_reflect_skew_ones() -> None:
    skew = _normal(40, 1, seed=17).exp().expand(40, 30) + 0.01 * _normal(40, 30, seed=18)
    found = {method: pigeonhole_interval(skew, method=method, draws=1999) for method in ("percentile", "basic")}
    percentile, basic = found["percentile"], found["basic"]
    assert percentile.high - percentile.estimate > percentile.estimate - percentile.low
    torch.testing.assert_close(percentile.high - percentile.estimate, basic.estimate - basic.low)


def test_quantiles_leave_their_share_of_ranks() -> None:
    drawn = torch.randperm(399, generator=stream(21)).double()[None] + 1
    assert bootstrap._quantiles(drawn, 0.95).flatten().tolist() == pytest.approx([10.0, 390.0])
    assert bootstrap._quantiles(drawn, 0.9).flatten().tolist() == pytest.approx([20.0, 380.0])


def test_chunks_and_leading_axes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    W = 1 + _normal(2, 2, 9, 8, seed=19) + 3 * _normal(9, 1, seed=20)
    whole = pigeonhole_interval(W)
    monkeypatch.setattr(bootstrap, "CHUNK_BYTES", 1)
    torch.testing.assert_close(pigeonhole_interval(W).low, whole.low)
    torch.testing.assert_close(pigeonhole_interval(W[1, 0]).high, whole.high[1, 0])


def test_bad_arguments_are_refused() -> None:
    W = _normal(6, 6)
    with pytest.raises(UsageError, match="at least 99"):
        pigeonhole_interval(W, draws=98)
    with pytest.raises(UsageError, match="between 0 and 1"):
        pigeonhole_interval(W, level=0.0)
    with pytest.raises(UsageError, match="method 'bca'"):
        pigeonhole_interval(W, method="bca")
    with pytest.raises(ShapeError, match=r"statistic of shape \(1,\)"):
        pigeonhole_interval(W, lambda arrays, rows, columns: arrays.mean(dim=(1, 2)))
    with pytest.raises(NumericsError, match="finite"):
        pigeonhole_interval(W / 0)
