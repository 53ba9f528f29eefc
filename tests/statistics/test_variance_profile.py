"""The edge of noise with row and column scales: closed forms, the equations themselves, simulated matrices."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics.variance_profile import Edge, estimated_variances, separable_edge, tracy_widom_quantile
from tests.helpers import SEEDS, stream


def _profiles(m: int, n: int, spread_a: float, spread_b: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = stream(seed)
    draws = [torch.randn(size, generator=g, dtype=torch.float64) for size in (m, n)]
    return tuple(torch.exp(s * d) for s, d in zip((spread_a, spread_b), draws, strict=True))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 5), (576, 1536), (2000, 10)])
def test_white_noise_has_the_edge_of_marchenko_and_pastur_and_the_scale_of_johnstone(m: int, n: int) -> None:
    edge = separable_edge(torch.full((m,), 2.0), torch.full((n,), 3.0))
    roots = math.sqrt(m) + math.sqrt(n)
    assert float(edge.location) == pytest.approx(6 * roots**2, rel=1e-12)
    assert float(edge.scale) == pytest.approx(6 * roots * (m**-0.5 + n**-0.5) ** (1 / 3), rel=1e-10)


@given(SEEDS, st.integers(1, 30), st.integers(1, 30), st.floats(0, 3), st.floats(0, 3))
def test_the_edge_is_the_least_solution_of_the_dyson_equations(
    seed: int, m: int, n: int, spread_a: float, spread_b: float
) -> None:
    """Against a search over t with a bracketing root finder for each side."""
    a, b = _profiles(m, n, spread_a, spread_b, seed)

    def root(values: np.ndarray, t: float) -> float:
        top, total = values.max(), values.sum()
        return brentq(
            lambda q: (values / (q - top + top - values)).sum() - t, top * (1 + 1e-13), top + total / t * 1.01
        )

    def z(log_t: float) -> float:
        t = math.exp(log_t)
        return t * root(a.numpy(), t) * root(b.numpy(), t)

    searched = min(z(log_t) for log_t in np.linspace(0, math.log(m * n) / 2, 60))
    edge = float(separable_edge(a, b).location)
    assert edge <= searched * (1 + 1e-9)
    assert edge >= searched * (1 - 0.02)  # 60 points of log t


@given(SEEDS, st.integers(1, 12), st.integers(1, 12))
def test_the_edge_is_symmetric_homogeneous_and_blind_to_order(seed: int, m: int, n: int) -> None:
    a, b = _profiles(m, n, 1.0, 1.0, seed)
    edge = separable_edge(a, b)
    for other in (separable_edge(b, a), separable_edge(a.flip(0) / 7, 7 * b)):
        torch.testing.assert_close(other.location, edge.location, rtol=1e-10, atol=0.0)
        torch.testing.assert_close(other.scale, edge.scale, rtol=1e-7, atol=0.0)


def test_leading_dimensions_are_independent_problems() -> None:
    pairs = [_profiles(6, 9, s, 0.5, seed=i) for i, s in enumerate((0.0, 0.3, 2.0, 4.0))]
    together = separable_edge(*(torch.stack(parts) for parts in zip(*pairs, strict=True)))
    alone = torch.stack([separable_edge(*pair).location for pair in pairs])
    torch.testing.assert_close(together.location, alone, rtol=1e-12, atol=0.0)


def test_simulated_edges_follow_the_tracy_widom_law() -> None:
    """Mean -1.21 and standard deviation 1.27 in the limit; at these sizes the mean lies 0.1 to 0.4 lower."""
    a, b = _profiles(120, 300, 0.4, 0.4, seed=1)
    edge = separable_edge(a, b)
    noise = torch.randn(300, 120, 300, generator=stream(2), dtype=torch.float64)
    W = a.sqrt()[:, None] * b.sqrt() * noise
    tops = (torch.linalg.eigvalsh(W @ W.transpose(-1, -2))[:, -1] - edge.location) / edge.scale
    assert -1.8 < float(tops.mean()) < -1.0
    assert 1.0 < float(tops.std()) < 1.5
    white = separable_edge(*(part.mean() * torch.ones_like(part) for part in (a, b)))
    assert float(white.location) < 0.85 * float(edge.location)  # the profile matters: this test can fail


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.6])
def test_estimated_variances_scatter_like_the_variances_behind_them(spread: float) -> None:
    """Raw mean squares would scatter by 0.05 more in each of these; the heaviest tails of the noise here are t8's."""
    a, b = _profiles(60, 90, spread, spread, seed=3)
    a, b = a / a.mean(), b / b.mean()
    noise = torch.from_numpy(stats.t(8).rvs((400, 60, 90), random_state=5)) * math.sqrt(6 / 8)
    for estimate, truth in zip(estimated_variances((a[:, None] * b).sqrt() * noise), (a, b), strict=True):
        assert float(estimate.var(dim=-1).mean() - truth.var()) == pytest.approx(0.0, abs=0.02 + 0.06 * spread)
        assert float((estimate.mean(dim=-1) - 1).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("probability", "table"), [(0.05, -3.1804), (0.5, -1.2686), (0.9, 0.4501), (0.95, 0.9793), (0.99, 2.0234)]
)
def test_tracy_widom_quantiles_agree_with_the_tables(probability: float, table: float) -> None:
    assert tracy_widom_quantile(probability) == pytest.approx(table, abs=0.02)


def test_bad_variances_are_refused() -> None:
    one = torch.ones(3)
    with pytest.raises(UsageError, match="variances >= 0"):
        separable_edge(torch.tensor([1.0, -1.0]), one)
    with pytest.raises(UsageError, match="not all of them 0"):
        separable_edge(one, torch.zeros(2))
    with pytest.raises(NumericsError, match="row variances are not finite"):
        separable_edge(torch.tensor([1.0, math.nan]), one)
    with pytest.raises(ShapeError, match="for the same matrices"):
        separable_edge(torch.ones(2, 3), one)
    with pytest.raises(ShapeError, match="column variances of shape"):
        separable_edge(one, torch.ones(0))
    with pytest.raises(UsageError, match="inside \\(0, 1\\)"):
        Edge(one, one).quantile(0.0)
