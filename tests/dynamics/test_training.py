"""Training: relabelling, one step against autograd, refusals, devices."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given

from rctheory.dynamics import LOSSES, risk, train
from rctheory.errors import NumericsError, UsageError
from tests.helpers import SEEDS, networks, stream
from verification.problems import regression
from verification.random_networks import random_data, random_network


@given(networks(max_width=7), SEEDS)
def test_relabelling_neurons_commutes_with_training(widths: list[int], seed: int) -> None:
    generator = stream(seed)
    network = random_network(widths, generator)
    x, y = random_data(widths[0], widths[-1], 4, generator)
    identity = [torch.arange(n) for n in widths]
    orders = [identity[0], *(torch.randperm(n, generator=generator) for n in widths[1:-1]), identity[-1]]

    def relabel(net):
        weights = [w[orders[i + 1]][:, orders[i]] for i, w in enumerate(net.weights)]
        masses = [p[order] for p, order in zip(net.masses, orders, strict=True)]
        return replace(net, weights=tuple(weights), masses=tuple(masses))

    first = relabel(train(network, x, y, step=0.1, steps=5))
    then = train(relabel(network), x, y, step=0.1, steps=5)
    for a, b in zip(first.weights, then.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@given(networks(), SEEDS)
def test_one_step_is_the_gradient_over_the_masses(widths: list[int], seed: int) -> None:
    generator = stream(seed)
    network = random_network(widths, generator)
    x, y = random_data(widths[0], widths[-1], 3, generator)
    leaves = tuple(w.clone().requires_grad_() for w in network.weights)
    gradients = torch.autograd.grad(risk(replace(network, weights=leaves), x, y), leaves)
    trained = train(network, x, y, step=0.3, steps=1)
    for layer, gradient in enumerate(gradients):
        masses = network.masses[layer + 1][:, None] * network.masses[layer]
        want = network.weights[layer] - 0.3 * gradient / masses
        torch.testing.assert_close(trained.weights[layer], want, rtol=1e-10, atol=1e-12)


def test_training_lowers_the_risk_and_leaves_the_start_alone() -> None:
    problem = regression()
    network = problem.ansatz.limit(16)
    before = [w.clone() for w in network.weights]
    trained = problem.train(network)
    assert float(risk(trained, problem.x, problem.y)) < 0.5 * float(risk(network, problem.x, problem.y))
    assert all(torch.equal(a, b) for a, b in zip(before, network.weights, strict=True))


def test_diverging_step_is_named() -> None:
    network = random_network([3, 40, 2], stream(0))
    x, y = random_data(3, 2, 5, stream(1))
    with pytest.raises(NumericsError, match=r"W\^1 after 400 steps of size 1000.0 are not finite"):
        train(network, x, y, step=1000.0, steps=400)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_senseless_steps_are_refused(step: float) -> None:
    network = random_network([1, 2, 1], stream(0))
    with pytest.raises(UsageError, match="step > 0"):
        train(network, torch.ones(1, 1).double(), torch.ones(1, 1).double(), step=step, steps=1)


def test_too_few_batches_are_refused_and_batches_are_used() -> None:
    network = random_network([2, 3, 1], stream(0))
    x, y = random_data(2, 1, 6, stream(1))
    picks = [torch.tensor([0, 3]), torch.tensor([5])]
    trained = train(network, x, y, step=0.1, steps=2, batches=picks)
    by_hand = train(train(network, x[picks[0]], y[picks[0]], step=0.1, steps=1), x[5:], y[5:], step=0.1, steps=1)
    assert all(torch.equal(a, b) for a, b in zip(trained.weights, by_hand.weights, strict=True))
    with pytest.raises(UsageError, match="2 batches"):
        train(network, x, y, step=0.1, steps=3, batches=picks)


@pytest.mark.gpu
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_cuda_trains_like_the_cpu(loss: str) -> None:
    network = random_network([3, 64, 48, 2], stream(0))
    x, y = random_data(3, 2, 8, stream(1))
    y = y.softmax(dim=-1)
    want = train(network, x, y, step=0.1, steps=10, loss=LOSSES[loss])
    moved = replace(
        network, weights=tuple(w.cuda() for w in network.weights), masses=tuple(p.cuda() for p in network.masses)
    )
    got = train(moved, x.cuda(), y.cuda(), step=0.1, steps=10, loss=LOSSES[loss])
    for a, b in zip(got.weights, want.weights, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-10, atol=1e-12)
