"""One network on weighted axes: against autograd, against torch's own layers, and its refusals."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.dynamics import ACTIVATIONS, LOSSES, Network, accuracy, risk, velocity
from rctheory.errors import ShapeError
from tests.helpers import SEEDS, networks, stream
from verification.random_networks import random_data, random_network


@given(networks(), st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from(sorted(LOSSES)), SEEDS)
def test_velocity_is_the_autograd_gradient_over_the_masses(
    widths: list[int], activation: str, loss_name: str, seed: int
) -> None:
    generator, loss = stream(seed), LOSSES[loss_name]
    network = random_network(widths, generator, ACTIVATIONS[activation])
    x, y = random_data(widths[0], widths[-1], 3, generator)
    y = y.softmax(dim=-1) if loss_name == "cross-entropy" else y
    weights = tuple(w.clone().requires_grad_() for w in network.weights)
    gradients = torch.autograd.grad(risk(replace(network, weights=weights), x, y, loss), weights)
    for layer, speed in enumerate(velocity(network.signatures(x, y, loss))):
        masses = network.masses[layer + 1][:, None] * network.masses[layer]
        torch.testing.assert_close(-masses * speed, gradients[layer], rtol=1e-10, atol=1e-13)


@given(networks(), SEEDS)
def test_uniform_masses_are_the_standard_network(widths: list[int], seed: int) -> None:
    generator = stream(seed)
    network = random_network(widths, generator, uniform=True)
    x, _ = random_data(widths[0], widths[-1], 4, generator)
    h = x
    for layer, weight in enumerate(network.weights):
        scale = widths[layer] if layer else 1  # the input axis is summed, hidden axes are averaged
        h = torch.nn.functional.linear(h, weight / scale)
        h = torch.tanh(h) if layer + 1 < len(network.weights) else h
    torch.testing.assert_close(network.outputs(x), h, rtol=1e-12, atol=1e-13)


@given(networks(max_width=4), st.integers(1, 3), SEEDS)
def test_a_batch_of_networks_is_each_network(widths: list[int], seeds: int, seed: int) -> None:
    generator = stream(seed)
    masses = random_network(widths, generator).masses
    singles = [replace(random_network(widths, generator), masses=masses) for _ in range(seeds)]
    stacked = tuple(torch.stack(ws) for ws in zip(*(s.weights for s in singles), strict=True))
    batch = Network(stacked, masses, singles[0].activation)
    x, y = random_data(widths[0], widths[-1], 3, generator)
    together = velocity(batch.signatures(x, y, LOSSES["squared"]))
    for index, single in enumerate(singles):
        alone = velocity(single.signatures(x, y, LOSSES["squared"]))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[index], b, rtol=1e-12, atol=1e-14)


def test_shapes_that_do_not_fit_are_refused() -> None:
    network = random_network([2, 3, 4, 1], stream(0))
    with pytest.raises(ShapeError, match=r"W\^2 of shape \(4, 3\)"):
        replace(network, masses=(*network.masses[:2], torch.ones(5), network.masses[3]))
    with pytest.raises(ShapeError, match="L >= 2"):
        Network(network.weights[:1], network.masses[:2], network.activation)


def test_accuracy_counts_the_largest_output() -> None:
    weights = (torch.eye(3), torch.eye(3))
    network = Network(weights, (torch.ones(3),) * 3, ACTIVATIONS["linear"])
    assert accuracy(network, torch.eye(3), torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)
