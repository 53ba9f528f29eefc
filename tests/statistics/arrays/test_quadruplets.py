"""Quadruplet U-statistics against the enumeration of every quadruplet, and of every array of a small world."""

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
import torch

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics.arrays import quadruplet_kernels as kernels
from rctheory.statistics.arrays.quadruplets import quadruplet_interval, quadruplet_variance
from tests.helpers import stream

# Each kernel again, as a plain function of the four entries (a b / c d).
PLAIN: dict[str, Callable[[float, float, float, float], float]] = {
    "GRAND_MEAN": lambda a, b, c, d: (a + b + c + d) / 4,
    "SECOND_MOMENT": lambda a, b, c, d: (a * a + b * b + c * c + d * d) / 4,
    "ROW_PRODUCT": lambda a, b, c, d: (a * b + c * d) / 2,
    "COLUMN_PRODUCT": lambda a, b, c, d: (a * c + b * d) / 2,
    "SQUARED_MEAN": lambda a, b, c, d: (a * d + b * c) / 2,
    "ROW_VARIANCE": lambda a, b, c, d: (a - c) * (b - d) / 2,
    "COLUMN_VARIANCE": lambda a, b, c, d: (a - b) * (c - d) / 2,
    "RESIDUAL_VARIANCE": lambda a, b, c, d: (a - b - c + d) ** 2 / 4,
    "TOTAL_VARIANCE": lambda a, b, c, d: ((a - d) ** 2 + (b - c) ** 2) / 4,
    "FOUR_CYCLE": lambda a, b, c, d: a * b * c * d,
}


def _enumerate(name: str, Y: np.ndarray) -> dict[tuple[tuple[int, int], tuple[int, int]], float]:
    """Evaluate a kernel on every quadruplet."""
    m, n = Y.shape
    h = PLAIN[name]
    return {
        ((i, k), (j, q)): h(Y[i, j], Y[i, q], Y[k, j], Y[k, q])
        for (i, k), (j, q) in product(combinations(range(m), 2), combinations(range(n), 2))
    }


def _pair_part(values: np.ndarray, m: int, x: np.ndarray) -> tuple[float, float]:
    """Fit e_ik by g_i + g_k, by least squares over all pairs."""
    pairs = list(combinations(range(m), 2))
    design = np.array([[float(i in pair) for i in range(m)] for pair in pairs])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    form = 2 * sum(x[i] * value * x[k] for (i, k), value in zip(pairs, left, strict=True))
    return float((left**2).sum() / (m * (m - 3) / 2)), float(form)


@pytest.mark.parametrize("name", PLAIN)
def test_closed_sums_are_enumerations(name: str) -> None:
    Y = torch.randn(5, 6, generator=stream(1), dtype=torch.float64) + 0.3
    kernel, table = getattr(kernels, name), _enumerate(name, Y.numpy())
    cells = [[np.mean([v for (r, c), v in table.items() if i in r and j in c]) for j in range(6)] for i in range(5)]
    torch.testing.assert_close(kernel.cells(Y[None])[0], torch.tensor(cells), rtol=1e-11, atol=1e-12)
    for axis, pairs in (("rows", combinations(range(5), 2)), ("columns", combinations(range(6), 2))):
        k = int(axis == "columns")
        e = np.array([np.mean([v for key, v in table.items() if key[k] == pair]) for pair in pairs])
        x = torch.randn(1, (5, 6)[k], generator=stream(2), dtype=torch.float64)
        x = x - x.mean()
        found = kernel.transposed().pairs(Y.T[None], x) if k else kernel.pairs(Y[None], x)
        variance, form = _pair_part(e, (5, 6)[k], x[0].numpy())
        assert float(found[0]) == pytest.approx(variance, rel=1e-9, abs=1e-12)
        assert float(found[1]) == pytest.approx(form, rel=1e-9, abs=1e-12)
    assert float(quadruplet_variance(Y, kernel).estimate) == pytest.approx(np.mean(list(table.values())), rel=1e-11)


def _world(entry: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], size: int = 5) -> torch.Tensor:
    """Return every array of latents +-1, all equally likely."""
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=size)), dtype=torch.float64)
    r, c = signs[:, None, :, None], signs[None, :, None, :]
    return entry(r, c).expand(len(signs), len(signs), size, size).reshape(-1, size, size)


@pytest.mark.parametrize("name", ["GRAND_MEAN", "SQUARED_MEAN", "ROW_PRODUCT", "COLUMN_PRODUCT"])
def test_the_variance_has_no_bias(name: str) -> None:
    """Kernels with parts of first and second order alone on these arrays: the expectation is exact."""
    worlds = [_world(lambda r, c: r + 0.5 * c + 0.7)]
    worlds += [_world(lambda r, c: r + 0.5 * c + 0.8 * r * c)] if name == "GRAND_MEAN" else []
    for arrays in worlds:
        found = quadruplet_variance(arrays, getattr(kernels, name))
        torch.testing.assert_close(found.variance.mean(), found.estimate.var(correction=0), rtol=1e-10, atol=1e-14)


def test_the_parts_of_the_variance_are_those_of_the_limit() -> None:
    arrays = _world(lambda r, c: r + 0.5 * c + 0.3)
    found = quadruplet_variance(arrays, kernels.SQUARED_MEAN)
    # h_10 = E[h | r_1] - theta with theta = 0.09: (r + 0.3) 0.3 / ... each entry of the quadruplet's row counts half.
    assert float(found.v10.mean()) == pytest.approx((0.3 * 1.0) ** 2, rel=1e-9)
    assert float(found.v01.mean()) == pytest.approx((0.3 * 0.5) ** 2, rel=1e-9)


def test_grand_mean_is_the_classical_analysis_of_variance() -> None:
    Y = torch.randn(3, 6, 9, generator=stream(2), dtype=torch.float64)
    rows, columns, mean = Y.mean(dim=2, keepdim=True), Y.mean(dim=1, keepdim=True), Y.mean(dim=(1, 2), keepdim=True)
    ms_r = 9 * (rows - mean).square().sum(dim=(1, 2)) / 5
    ms_c = 6 * (columns - mean).square().sum(dim=(1, 2)) / 8
    ms_e = (Y - rows - columns + mean).square().sum(dim=(1, 2)) / 40
    found = quadruplet_variance(Y, kernels.GRAND_MEAN)
    torch.testing.assert_close(found.variance, (ms_r + ms_c - ms_e) / 54, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(found.second, ms_e / 54, rtol=1e-10, atol=1e-14)


def _mixed(batch: int, m: int, n: int) -> torch.Tensor:
    r, c, x = (torch.randn(batch, *s, generator=stream(k)) for k, s in enumerate(((m, 1), (1, n), (m, n))))
    return 1 + r + 0.5 * c + 0.2 * r * c + 0.4 * x


@pytest.mark.parametrize(
    ("name", "theta"),
    [
        ("GRAND_MEAN", 1.0),
        ("SQUARED_MEAN", 1.0),
        ("ROW_PRODUCT", 2.0),
        ("SECOND_MOMENT", 2.45),
        ("ROW_VARIANCE", 1.0),
        ("COLUMN_VARIANCE", 0.25),
        ("TOTAL_VARIANCE", 1.45),
        ("ROW_SHARE", 1 / 1.45),
    ],
)
def test_standardised_errors_have_unit_variance(name: str, theta: float) -> None:
    found = quadruplet_interval(_mixed(400, 80, 100), getattr(kernels, name))
    assert float(found.sd.isnan().double().mean()) < 0.01
    scores = ((found.estimate - theta) / found.sd)[~found.sd.isnan()]
    # An estimate of a variance and its standard error rise together: the scores have a longer lower tail.
    assert abs(float(scores.median())) < 0.25
    assert 0.85 < float(scores.abs().quantile(0.6827)) < 1.2


def _tails(name: str, theta: float, arrays: torch.Tensor) -> tuple[float, float]:
    """Return the shares of intervals that lie above and below the truth."""
    found = quadruplet_interval(arrays, getattr(kernels, name))
    return float((found.low > theta).double().mean()), float((found.high < theta).double().mean())


def test_both_ends_miss_alike_under_skewness_and_curvature() -> None:
    """Without the correction the square of the mean is missed by 0.8% on one side and 6.0% on the other."""
    r, c = (torch.randn(2000, *s, generator=stream(k)) for k, s in enumerate(((40, 1), (1, 60))))
    x = torch.randn(2000, 40, 60, generator=stream(2))
    for tail in (
        *_tails("SQUARED_MEAN", 1.0, 1 + 0.8 * r + 0.5 * c),
        *_tails("ROW_SHARE", 0.5, r + 0.5**0.5 * (c + x)),
    ):
        assert 0.005 < tail < 0.05


def test_the_bias_of_a_ratio_is_its_first_order() -> None:
    r, x = torch.randn(20_000, 8, 1, generator=stream(3)), torch.randn(20_000, 8, 10, generator=stream(4))
    arrays = (3 + r + 0.3 * x).double()
    ratio = kernels.Ratio(kernels.GRAND_MEAN, kernels.SECOND_MOMENT)
    found = quadruplet_variance(arrays, ratio)
    error = found.estimate - 3 / 10.09
    assert float(found.bias.mean()) == pytest.approx(float(error.mean()), rel=0.35)


def test_degenerate_arrays_are_refused() -> None:
    r, c, x = (torch.randn(400, *s, generator=stream(k)) for k, s in enumerate(((40, 1), (1, 50), (40, 50))))
    for W in (r * c, x, (r * c + x)):
        found = quadruplet_interval(W, kernels.GRAND_MEAN)
        assert float(found.low.isnan().float().mean()) > 0.97
        assert "degenerate" in found.refusal
        assert not found.estimate.isnan().any()
    # Mean effects of rows do not save the square of a mean that is zero: r_1 r_2 is degenerate itself.
    assert float(quadruplet_interval(r + 0 * x, kernels.SQUARED_MEAN).sd.isnan().float().mean()) > 0.97
    assert quadruplet_interval(r + 0.5 * x, kernels.GRAND_MEAN).refusal == ""


def test_an_array_without_noise_is_no_evidence() -> None:
    # Of many constants: for some the rounding of the means alone would look like an influence of rows.
    constant = torch.randn(100, 1, 1, generator=stream(5), dtype=torch.float64).expand(100, 11, 13)
    for name in (*PLAIN, "ROW_SHARE"):
        assert quadruplet_interval(constant, getattr(kernels, name)).sd.isnan().all(), name
    rows = torch.arange(6.0)[:, None].expand(6, 7)
    assert quadruplet_interval(rows, kernels.GRAND_MEAN).refusal == ""
    assert quadruplet_interval(rows, kernels.RESIDUAL_VARIANCE).sd.isnan()


def test_leading_axes_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Y = _mixed(6, 8, 9).reshape(2, 3, 8, 9)
    whole = quadruplet_interval(Y, kernels.ROW_SHARE)
    monkeypatch.setattr("rctheory.statistics.arrays.quadruplets.CHUNK_BYTES", 1)
    monkeypatch.setattr("rctheory.statistics.arrays.quadruplet_kernels.BLOCK_BYTES", 1)
    split = quadruplet_interval(Y, kernels.ROW_SHARE)
    torch.testing.assert_close(whole.estimate, split.estimate)
    single = quadruplet_variance(Y[1, 2], kernels.FOUR_CYCLE)
    monkeypatch.undo()
    torch.testing.assert_close(single.variance, quadruplet_variance(Y, kernels.FOUR_CYCLE).variance[1, 2])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ShapeError, match="m >= 4"):
        quadruplet_interval(torch.randn(3, 8), kernels.GRAND_MEAN)
    with pytest.raises(NumericsError, match="finite"):
        quadruplet_interval(torch.full((5, 5), torch.nan), kernels.GRAND_MEAN)
    with pytest.raises(UsageError, match="level 95"):
        quadruplet_interval(torch.randn(5, 8), kernels.GRAND_MEAN, 95)
