"""The Langevin system of particles: its drift is a gradient, its limit pools the networks."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import SEEDS, stream
from verification.uniform_in_time import Dynamics, outputs_and_drift


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), SEEDS)
def test_drift_is_the_gradient_of_the_risk(networks: int, n: int, data: int, seed: int) -> None:
    theta = torch.randn(networks, n, 4, generator=stream(seed), dtype=torch.float64, requires_grad=True)
    x = torch.randn(data, 3, generator=stream(seed + 1), dtype=torch.float64)
    y = torch.randn(data, generator=stream(seed + 2), dtype=torch.float64)
    outputs = (theta[..., 3:] * torch.tanh(theta[..., :3] @ x.T)).mean(dim=-2)
    risk = 0.5 * (outputs - y).square().mean(dim=-1).sum() + 0.35 * theta.square().sum() / n
    (gradient,) = torch.autograd.grad(risk, theta)
    got, drift = outputs_and_drift(theta.detach(), x, y, Dynamics(decay=0.7))
    torch.testing.assert_close(got, outputs.detach())
    torch.testing.assert_close(drift, -n * gradient)


@given(st.integers(1, 4), st.integers(1, 4), SEEDS)
def test_the_limit_is_one_network_of_all_neurons(networks: int, n: int, seed: int) -> None:
    theta = torch.randn(networks, n, 4, generator=stream(seed), dtype=torch.float64)
    x, y = torch.randn(2, 3, generator=stream(seed + 1), dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    outputs, drift = outputs_and_drift(theta, x, y, Dynamics(), pooled=True)
    whole, whole_drift = outputs_and_drift(theta.reshape(1, -1, 4), x, y, Dynamics())
    torch.testing.assert_close(outputs, whole)
    torch.testing.assert_close(drift.reshape(1, -1, 4), whole_drift)
