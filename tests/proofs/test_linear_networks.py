"""Linear networks, balance and the continuity equation, written from their definitions, against autograd in float64."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers import SEEDS, stream
from tests.proofs.small_networks import DATA, MASSES, WIDTHS, Problem

INPUTS, OUTPUTS, RANK, STEPS, ETA = 2, 2, 2, 30, 0.05


def draw(source: torch.Generator, *shape: int) -> Tensor:
    """Draw an array from the standard Gaussian law."""
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def spanned(orders: list[Tensor], features: list[Tensor]) -> list[Tensor]:
    """Return the weights phi^T B phi^- of every layer; features are (n, R), unit matrices on fixed axes."""
    return [above @ order @ below.T for order, below, above in zip(orders, features[:-1], features[1:], strict=True)]


def train_weights(weights: list[Tensor], x: Tensor, y: Tensor, steps: int = STEPS) -> tuple[list[Tensor], Tensor]:
    """Train a deep linear network by autograd with mean-field rates; hidden axes are averaged."""
    sizes = [1, *(w.shape[0] for w in weights[:-1]), 1]

    def outputs(leaves: list[Tensor]) -> Tensor:
        h = x
        for leaf, size in zip(leaves, sizes[:-1], strict=True):
            h = h @ leaf.T / size
        return h

    for _ in range(steps):
        leaves = [w.clone().requires_grad_() for w in weights]
        gradients = torch.autograd.grad((outputs(leaves) - y).square().sum(1).mean() / 2, leaves)
        rates = [ETA * low * high for low, high in pairwise(sizes)]
        weights = [w - rate * g for w, rate, g in zip(weights, rates, gradients, strict=True)]
    return weights, outputs(weights)


def train_orders(orders: list[Tensor], grams: list[Tensor], x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor]:
    """Train the order parameters: Gram matrices are all that is known of the neurons."""
    for step in range(STEPS + 1):
        coordinates = [x.T]
        for order, gram in zip(orders, grams[:-1], strict=True):
            coordinates.append(order @ gram @ coordinates[-1])
        if step == STEPS:
            break
        echo, rates = (coordinates[-1] - y.T) / len(x), []
        for order, gram, below in zip(orders[::-1], grams[:0:-1], coordinates[-2::-1], strict=True):
            rates.insert(0, -echo @ below.T)
            echo = order.T @ gram @ echo
        orders = [order + ETA * rate for order, rate in zip(orders, rates, strict=True)]
    return orders, coordinates[-1].T


def network(source: torch.Generator, depth: int, width: int) -> tuple[list[Tensor], list[Tensor]]:
    """Draw order parameters and features of a network with `depth` weight matrices."""
    hidden = [draw(source, width + layer, RANK) for layer in range(depth - 1)]
    features = [torch.eye(INPUTS, dtype=torch.float64), *hidden, torch.eye(OUTPUTS, dtype=torch.float64)]
    sizes = [INPUTS, *([RANK] * (depth - 1)), OUTPUTS]
    return [draw(source, high, low) for low, high in pairwise(sizes)], features


def grams_of(features: list[Tensor]) -> list[Tensor]:
    """Return the Gram matrices: means over hidden axes, sums over fixed ones."""
    hidden = [phi.T @ phi / len(phi) for phi in features[1:-1]]
    return [features[0].T @ features[0], *hidden, features[-1].T @ features[-1]]


@given(seed=SEEDS, depth=st.integers(2, 5), width=st.integers(3, 7))
@settings(max_examples=10)
def test_order_parameters_are_the_whole_dynamics(seed: int, depth: int, width: int) -> None:
    source = stream(seed)
    orders, features = network(source, depth, width)
    x, y = draw(source, DATA, INPUTS) / 2, draw(source, DATA, OUTPUTS)
    orders = [order / 2 for order in orders]
    weights, outputs = train_weights(spanned(orders, features), x, y)
    closed, predicted = train_orders(orders, grams_of(features), x, y)
    assert outputs.isfinite().all()
    assert torch.allclose(outputs, predicted, rtol=1e-10, atol=1e-10)
    for left, right in zip(weights, spanned(closed, features), strict=True):
        assert torch.allclose(left, right, rtol=1e-10, atol=1e-10)


@given(seed=SEEDS, depth=st.integers(2, 4))
@settings(max_examples=5)
def test_two_laws_with_equal_grams_train_alike(seed: int, depth: int) -> None:
    """Two populations of other widths, whose features are moved to equal Gram matrices; and a control without that."""
    source = stream(seed)
    orders, features = network(source, depth, 4)
    _, others = network(source, depth, 7)
    matched = [others[0]]
    for own, other in zip(features[1:-1], others[1:-1], strict=True):
        root = torch.linalg.cholesky(own.T @ own / len(own))
        moved = torch.linalg.cholesky(other.T @ other / len(other))
        matched.append(other @ torch.linalg.inv(moved).T @ root.T)
    matched.append(others[-1])
    x, y = draw(source, DATA, INPUTS) / 2, draw(source, DATA, OUTPUTS)
    orders = [order / 2 for order in orders]
    first, second, control = (train_weights(spanned(orders, phi), x, y)[1] for phi in (features, matched, others))
    assert first.isfinite().all()
    assert torch.allclose(first, second, rtol=1e-9, atol=1e-10)
    assert not torch.allclose(first, control, rtol=1e-4, atol=1e-4)


def balances(weights: list[Tensor]) -> list[Tensor]:
    """Return mean of squared outgoing less mean of squared incoming weights of every hidden neuron; sums at ends."""
    one, two, three = weights
    first = two.square().mean(0) - one.square().sum(1)
    return [first, three.square().sum(0) - two.square().mean(1)]


def mean_field_velocity(problem: Problem, activation: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return minus the gradient over the masses, by autograd."""
    leaves = [w.clone().requires_grad_() for w in problem.weights]
    h = activation(problem.inputs @ leaves[0].T)
    h = activation(h @ leaves[1].T / WIDTHS[1])
    risk = (h @ leaves[2].T / WIDTHS[2] - problem.targets).square().sum(1).mean() / 2
    return [-g / kappa for g, kappa in zip(torch.autograd.grad(risk, leaves), MASSES, strict=True)]


@pytest.mark.parametrize("name", ["linear", "relu", "leaky"])
@given(seed=SEEDS)
@settings(max_examples=5)
def test_a_step_of_descent_changes_the_balance_by_its_square(name: str, seed: int) -> None:
    """The balance after a step is the balance plus eta^2 times that of the velocity: no first order, exactly."""
    shapes = {"linear": lambda u: u, "relu": torch.relu, "leaky": lambda u: torch.nn.functional.leaky_relu(u, 0.1)}
    problem = Problem.drawn(seed)
    rates = mean_field_velocity(problem, shapes[name])
    for eta in (1e-3, 0.1):
        stepped = [w + eta * v for w, v in zip(problem.weights, rates, strict=True)]
        for now, after, defect in zip(balances(problem.weights), balances(stepped), balances(rates), strict=True):
            assert torch.allclose(after, now + eta**2 * defect, rtol=1e-10, atol=1e-10)


def test_tanh_has_no_balance() -> None:
    """The control: the first-order change is there when the activation is not homogeneous."""
    problem = Problem.drawn(3)
    rates = mean_field_velocity(problem, torch.tanh)
    one, two, three = (w * v for w, v in zip(problem.weights, rates, strict=True))
    assert (two.mean(0) - one.sum(1)).abs().max() > 1e-3
    assert (three.sum(0) - two.mean(1)).abs().max() > 1e-3


@given(seed=SEEDS)
@settings(max_examples=5)
def test_weak_continuity_equation_of_a_network(seed: int) -> None:
    """Derivative along gradient flow, by autograd in the weights, against signatures from the definitions."""
    problem = Problem.drawn(seed)
    rates = mean_field_velocity(problem, torch.tanh)
    latents = [torch.linspace(-1, 1, size, dtype=torch.float64) for size in WIDTHS]
    for layer, (weight, rate, (delta, signal)) in enumerate(
        zip(problem.weights, rates, problem.signatures(problem.weights), strict=True)
    ):
        z, low = latents[layer + 1][:, None], latents[layer][None, :]
        leaf = weight.clone().requires_grad_()
        functional = MASSES[layer] * torch.sin(leaf * (1 + z) + low * z).sum()
        (slope,) = torch.autograd.grad(functional, leaf)
        moved = (slope * rate).sum()
        force = -(delta @ signal.T) / DATA
        weak = MASSES[layer] * ((1 + z) * torch.cos(weight * (1 + z) + low * z) * force).sum()
        assert abs(moved - weak) <= 1e-10 * max(1.0, abs(weak))
