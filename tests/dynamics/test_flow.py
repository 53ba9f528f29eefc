"""The flow: against SciPy's integrator, its order, its fixed points and refusals."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from rctheory.dynamics import ACTIVATIONS, LOSSES, Loss, Network, risk, train
from rctheory.dynamics.flow import MIDPOINT, RK4, flow
from rctheory.errors import NumericsError, UsageError
from tests.helpers import SEEDS, networks, stream
from verification.random_networks import random_data, random_network


def _unpack(network: Network, flat: np.ndarray) -> tuple[torch.Tensor, ...]:
    parts = torch.from_numpy(flat.copy()).split([w.numel() for w in network.weights])
    return tuple(part.reshape(w.shape) for part, w in zip(parts, network.weights, strict=True))


def _scipy_flow(network: Network, x: torch.Tensor, y: torch.Tensor, loss: Loss, horizon: float) -> Network:
    """Integrate with SciPy (Dormand-Prince, order 8); the right side is autograd's gradient over the masses."""

    def slope(_t: float, flat: np.ndarray) -> np.ndarray:
        leaves = tuple(w.requires_grad_() for w in _unpack(network, flat))
        gradients = torch.autograd.grad(risk(replace(network, weights=leaves), x, y, loss), leaves)
        masses = [rows[:, None] * columns for columns, rows in pairwise(network.masses)]
        return -torch.cat([(g / m).reshape(-1) for g, m in zip(gradients, masses, strict=True)]).numpy()

    start = torch.cat([w.reshape(-1) for w in network.weights]).numpy()
    done = solve_ivp(slope, (0, horizon), start, method="DOP853", rtol=1e-11, atol=1e-12)
    return replace(network, weights=_unpack(network, done.y[:, -1]))


@given(networks(max_width=4), st.sampled_from(["tanh", "erf", "gelu"]), st.sampled_from(sorted(LOSSES)), SEEDS)
def test_flow_is_the_one_scipy_integrates(widths: list[int], activation: str, loss_name: str, seed: int) -> None:
    generator, loss = stream(seed), LOSSES[loss_name]
    network = random_network(widths, generator, ACTIVATIONS[activation])
    x, y = random_data(widths[0], widths[-1], 3, generator)
    y = y.softmax(dim=-1) if loss_name == "cross-entropy" else y
    got = flow(network, x, y, horizon=0.4, steps=64, loss=loss)
    want = _scipy_flow(network, x, y, loss, 0.4)
    for a, b in zip(got.weights, want.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_one_stage_is_gradient_descent() -> None:
    network = random_network([2, 5, 4, 1], stream(0))
    x, y = random_data(2, 1, 3, stream(1))
    euler = flow(network, x, y, horizon=0.8, steps=8, tableau=((0.0,), (1.0,)))
    for a, b in zip(euler.weights, train(network, x, y, step=0.1, steps=8).weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("tableau", "order"), [(RK4, 4), (MIDPOINT, 2)])
def test_halving_the_step_gains_the_order(tableau: object, order: int) -> None:
    network = random_network([2, 6, 5, 1], stream(2))
    x, y = random_data(2, 1, 4, stream(3))
    coarse, middle, fine = (flow(network, x, y, horizon=1.0, steps=n, tableau=tableau).outputs(x) for n in (16, 32, 64))
    gain = float((coarse - middle).abs().max() / (middle - fine).abs().max())
    assert 0.8 * 2**order < gain < 1.25 * 2**order


@pytest.mark.parametrize(("horizon", "steps"), [(0.0, 4), (float("nan"), 4), (1.0, 0)])
def test_senseless_times_are_refused(horizon: float, steps: int) -> None:
    network = random_network([1, 2, 1], stream(0))
    with pytest.raises(UsageError, match="horizon > 0"):
        flow(network, torch.ones(1, 1).double(), torch.ones(1, 1).double(), horizon=horizon, steps=steps)


def test_a_diverging_step_is_named() -> None:
    network = random_network([3, 30, 2], stream(0))
    x, y = random_data(3, 2, 5, stream(1))
    with pytest.raises(NumericsError, match=r"W\^1 after 60 steps of size 100.0 are not finite"):
        flow(network, x, y, horizon=6000.0, steps=60)
