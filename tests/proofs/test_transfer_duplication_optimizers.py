"""Claim `transfer.duplication-optimizers`: whole trajectories under the optimisers of torch, unequal multiplicities."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

Optimiser = Callable[[list[Tensor]], torch.optim.Optimizer]
STEPS, EPS = 6, 1e-2
OPTIMISERS: dict[str, Optimiser] = {
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.3, momentum=0.8, weight_decay=0.05),
    "adam": lambda weights: torch.optim.Adam(weights, lr=0.1, betas=(0.7, 0.9), eps=EPS),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.1, betas=(0.7, 0.9), eps=EPS, weight_decay=0.1),
}


@dataclass
class Net:
    """Two hidden layers on weighted axes."""

    weights: list[Tensor]
    masses: list[Tensor]

    def outputs(self, inputs: Tensor) -> Tensor:
        first, second = (mass[None, :] for mass in self.masses)
        hidden = torch.tanh(inputs @ self.weights[0].T)
        return (second * torch.tanh((first * hidden) @ self.weights[1].T)) @ self.weights[2].T

    def scales(self) -> list[Tensor]:
        """Return the masses of the two neurons of every weight."""
        one, two = self.masses
        return [one[:, None], two[:, None] * one[None, :], two[None, :]]

    def grown(self, copies: list[Tensor]) -> "Net":
        """Return the network in which every neuron has its number of copies."""
        one, two = (torch.arange(len(count)).repeat_interleave(count) for count in copies)
        first, middle, last = (weight.detach() for weight in self.weights)
        weights = [first[one], middle[two][:, one], last[:, two]]
        masses = [(mass / count)[units] for mass, count, units in zip(self.masses, copies, (one, two), strict=True)]
        return Net([weight.clone().requires_grad_() for weight in weights], masses)


def train(net: Net, make: Optimiser, data: tuple[Tensor, Tensor], *, raw: bool = False) -> Tensor:
    """Return the outputs after every step; the optimiser sees the gradient over the masses unless `raw`."""
    optimiser, history = make(net.weights), []
    for _ in range(STEPS):
        optimiser.zero_grad()
        outputs = net.outputs(data[0])
        (outputs - data[1]).square().mean().backward()
        for weight, scale in zip(net.weights, net.scales(), strict=True):
            weight.grad = weight.grad if raw else weight.grad / scale
        optimiser.step()
        history.append(net.outputs(data[0]).detach())
    return torch.stack(history)


def network(seed: int) -> tuple[Net, tuple[Tensor, Tensor]]:
    """Return a random network of widths 3 and 2, and data."""
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=random, dtype=torch.float64)  # noqa: E731
    masses = [torch.softmax(draw(3), 0), torch.softmax(draw(2), 0)]
    return Net([draw(3, 2), draw(2, 3), draw(1, 2)], masses), (draw(4, 2), draw(4, 1))


def trainable(net: Net) -> Net:
    return net.grown([torch.ones(len(mass), dtype=torch.long) for mass in net.masses])


@pytest.mark.parametrize("name", OPTIMISERS)
@given(seed=st.integers(0, 2**31), copies=st.lists(st.integers(1, 3), min_size=5, max_size=5))
@settings(max_examples=8)
def test_trajectories_of_torch_optimisers(name: str, seed: int, copies: list[int]) -> None:
    net, data = network(seed)
    counts = [torch.tensor(copies[:3]), torch.tensor(copies[3:])]
    plain = train(trainable(net), OPTIMISERS[name], data)
    torch.testing.assert_close(train(net.grown(counts), OPTIMISERS[name], data), plain, rtol=1e-10, atol=1e-10)


def test_adam_on_raw_gradients_needs_its_epsilon_scaled() -> None:
    """Tensor by tensor for equal multiplicities: epsilon over the product of the copies of the two axes."""
    net, data = network(3)
    counts, shares = [torch.full((3,), 2), torch.full((2,), 3)], (1 / 2, 1 / 6, 1 / 3)

    def adam(scales: tuple[float, ...]) -> Optimiser:
        return lambda weights: torch.optim.Adam(
            [{"params": [w], "eps": EPS * s} for w, s in zip(weights, scales, strict=True)], lr=0.1
        )

    plain = train(trainable(net), adam((1, 1, 1)), data, raw=True)
    scaled = train(net.grown(counts), adam(shares), data, raw=True)
    torch.testing.assert_close(scaled, plain, rtol=1e-10, atol=1e-10)
    unscaled = train(net.grown(counts), adam((1, 1, 1)), data, raw=True)
    assert float((unscaled - plain).abs().max()) > 1e-3
