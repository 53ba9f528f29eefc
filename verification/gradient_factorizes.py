"""Claim `gradient.factorizes`: dR/dW_ij = p_i p_j E_x[d_i a_j], against automatic differentiation in float64."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from rctheory.dynamics import CROSS_ENTROPY, SQUARED, Loss, Network, risk, velocity
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.random_networks import SMOOTH, largest, random_data, random_network, relative_error

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From row masses (n, 1), column masses (1, n') and the velocity to the gradient that it claims."""
LOSSES = (SQUARED, CROSS_ENTROPY)


def _theorem(rows: Tensor, columns: Tensor, speed: Tensor) -> Tensor:
    return -rows * columns * speed


def _error(network: Network, x: Tensor, y: Tensor, loss: Loss, rule: Rule) -> float:
    """Return the largest relative difference from autograd over the layers."""
    weights = tuple(weight.clone().requires_grad_() for weight in network.weights)
    gradients = torch.autograd.grad(risk(replace(network, weights=weights), x, y, loss), weights)
    claimed = [
        rule(network.masses[layer + 1][:, None], network.masses[layer][None, :], speed)
        for layer, speed in enumerate(velocity(network.signatures(x, y, loss)))
    ]
    return largest(relative_error(got, want) for got, want in zip(claimed, gradients, strict=True))


def _measure(context: Context, rule: Rule = _theorem) -> Measurement:
    """Try depths 2 to 5, three activations, two losses, unequal widths and masses."""
    errors = []
    for depth, activation, loss in product(range(2, 6), SMOOTH, LOSSES):
        stream = context.generator("gradient", depth, activation.name, loss.name)
        widths = [3, *[11 + 5 * layer for layer in range(depth - 1)], 4]
        network = random_network(widths, stream, activation)
        x, y = random_data(3, 4, 7, stream)
        errors.append(_error(network, x, y.softmax(dim=-1) if loss is CROSS_ENTROPY else y, loss, rule))
    return Measurement({"error": Estimate(largest(errors))})


EXPERIMENT = Experiment("depths 2 to 5, random masses, against autograd", _measure)
WRONG_POWER = Experiment(
    "the mass of the column neuron left out: a wrong power of the width",
    lambda context: _measure(context, lambda rows, _columns, speed: -rows * speed),
)
WRONG_SIGN = Experiment(
    "the velocity points uphill", lambda context: _measure(context, lambda rows, columns, speed: rows * columns * speed)
)
