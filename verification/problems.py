"""The problems that the simulations share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.dynamics import TANH, Activation, Ansatz, Network, train
from rctheory.dynamics.optimizers import Update
from rctheory.measures import RCKernel, SeparableKernel, UniformLaw, coordinates, trigonometric

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Regression:
    """Fit targets y (B, k) on inputs x (B, n_0) from a row-column ansatz until time T; no updates: gradient descent."""

    ansatz: Ansatz
    x: Tensor
    y: Tensor
    horizon: float = 2.0
    step: float = 0.1
    updates: tuple[Update, ...] = ()

    def train(self, network: Network) -> Network:
        """Train a network of this ansatz to the horizon, in its own dtype and on its own device."""
        weight = network.weights[0]
        steps = round(self.horizon / self.step)
        x, y = self.x.to(weight), self.y.to(weight)
        return train(network, x, y, step=self.step, steps=steps, updates=self.updates)

    def outputs(self, network: Network) -> Tensor:
        """Return the outputs on the inputs, (..., B, k), in float64."""
        return network.outputs(self.x.to(network.weights[0])).double()


def regression(
    residual: float = 1.0, features: Features | None = None, hidden: int = 2, activation: Activation = TANH
) -> Regression:
    """Return the standard problem: two hidden tanh layers on 3 inputs, smooth kernels, a residual of order one.

    Latents are uniform on [-1, 1]; every kernel is a trigonometric polynomial in them (or in `features`), with
    coefficients fixed once, by closed formulas, so that the problem is the same for every seed.

    Args:
        residual: standard deviation of the residual of the middle matrices.
        features: replaces the 5 trigonometric features of the middle matrices' columns (a control uses it).
        hidden: number of hidden layers.
        activation: activation of the hidden layers.
    """
    basis = trigonometric(order=2, frequency=2.5)
    first = SeparableKernel(basis, coefficients(5, 3, shift=0.3), coordinates(3))
    # A deeper network composes more kernels; a gain of 0.7 keeps the second-order part of its error, which is no part
    # of the leading constant, below 2% at width 128 (with gain 1 it is 4.5%).
    gain = 1.0 if hidden <= 2 else 0.7
    middle = SeparableKernel(basis, gain * coefficients(5, 5, shift=1.1), features or basis)
    last = SeparableKernel(coordinates(1), coefficients(1, 5, shift=0.7), basis)
    kernels = (RCKernel(first), *[RCKernel(middle, residual)] * (hidden - 1), RCKernel(last))
    ansatz = Ansatz(3, 1, (UniformLaw(),) * hidden, kernels, activation)
    angles = torch.arange(8, dtype=torch.float64)
    x = torch.stack([torch.cos(1.7 * angles), torch.sin(0.9 * angles + 0.4), torch.cos(0.6 * angles - 1.0)], dim=1)
    y = torch.sin(2.0 * x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:]
    return Regression(ansatz, x, y)


def coefficients(rows: int, columns: int, shift: float) -> Tensor:
    """Return fixed coefficients of order one without structure: cosines of an irrational rotation."""
    index = torch.arange(rows * columns, dtype=torch.float64).reshape(rows, columns)
    golden = (1 + 5**0.5) / 2
    return torch.cos(2 * torch.pi * (golden * index + shift))
