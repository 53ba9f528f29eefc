"""Helmert contrasts against the dense matrix, and a normal null that is refused where it does not hold."""

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from rctheory.statistics.arrays import interaction_normal
from rctheory.statistics.arrays.cycles import cycle_sum
from rctheory.statistics.arrays.helmert import helmert
from rctheory.statistics.arrays.tails import upper_tail
from tests.helpers import stream


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def dense(W: Tensor) -> Tensor:
    """H_m W H_n^T with dense matrices; SciPy's rows, up to signs."""
    m, n = W.shape
    return torch.from_numpy(linalg.helmert(m) @ W.numpy() @ linalg.helmert(n).T)


def test_contrasts_are_those_of_the_dense_matrix() -> None:
    W = 100 + draw(7, 5)
    found = helmert(helmert(W, -2), -1)
    np.testing.assert_allclose(found.abs().numpy(), dense(W).abs().numpy(), atol=1e-10)
    np.testing.assert_allclose(
        helmert(torch.eye(6, dtype=torch.float64), -2).abs(), np.abs(linalg.helmert(6)), atol=1e-12
    )


def test_statistic_is_the_standardised_four_cycle_of_the_contrasts() -> None:
    W = draw(9, 12)
    C = dense(W)
    expected = float(cycle_sum(C)[0]) / (2 * (8 * 7 * 11 * 10) ** 0.5 * float(C.square().mean()) ** 2)
    expected *= ((1 + 2 / 88) * (1 + 4 / 88) * (1 + 6 / 88)) ** 0.5
    assert float(interaction_normal(W).statistic) == pytest.approx(expected, rel=1e-9)
    batch = interaction_normal(torch.stack([draw(9, 12, seed=1), W]))
    assert float(batch.statistic[1]) == pytest.approx(expected, rel=1e-9)


def test_moments_of_the_null() -> None:
    """Mean 0, variance 1 and the skewness that the p-value takes, for Gaussian noise: within 6.2 standard errors."""
    m, n, draws = 4, 5, 400_000
    test = interaction_normal(draw(draws, m, n))
    z = test.statistic
    d = (m - 1) * (n - 1)
    second, third = (np.prod([1 + 2 * k / d for k in range(power)]) for power in (4, 6))
    skewness = 4 * (m + n - 6) / ((m - 1) * (m - 2) * (n - 1) * (n - 2)) ** 0.5 * second**1.5 / third
    for power, expected in ((1, 0.0), (2, 1.0), (3, skewness)):
        values = z**power
        assert abs(float(values.mean()) - expected) < 6.2 * float(values.std()) / draws**0.5
    expected_p = upper_tail(z, torch.full_like(z, skewness))
    torch.testing.assert_close(test.p_value[~test.p_value.isnan()], expected_p[~test.p_value.isnan()])


@pytest.mark.parametrize("kind", ["heavy tails", "row scales", "column scales"])
def test_what_breaks_the_null_is_refused(kind: str) -> None:
    W = draw(40, 60)
    if kind == "heavy tails":
        W = W / draw(40, 60, seed=1).abs().clamp(min=0.05)
    elif kind == "row scales":
        W = W * torch.linspace(0.3, 2, 40, dtype=torch.float64)[:, None]
    else:
        W = W * torch.linspace(0.3, 2, 60, dtype=torch.float64)
    test = interaction_normal(W)
    assert bool(test.p_value.isnan())
    assert "use interaction()" in test.refusal
    assert interaction_normal(draw(40, 60)).refusal == ""
