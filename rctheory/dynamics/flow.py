"""Gradient flow, the limit of gradient descent at vanishing steps: dW/dt = velocity, by Runge and Kutta's method."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rctheory.dynamics.activations import SQUARED, Loss
from rctheory.dynamics.network import Network
from rctheory.dynamics.training import velocity
from rctheory.errors import UsageError
from rctheory.numerics import require_finite

Tableau = tuple[Sequence[float], Sequence[float]]
"""An explicit Runge-Kutta scheme, stage i of which starts from stage i - 1 alone: offsets c_i and weights b_i."""
RK4: Tableau = ((0.0, 1 / 2, 1 / 2, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
"""The classical scheme of order 4."""
MIDPOINT: Tableau = ((0.0, 1 / 2), (0.0, 1.0))
"""The midpoint scheme, of order 2."""


def flow(
    network: Network,
    x: Tensor,
    y: Tensor,
    *,
    horizon: float,
    steps: int,
    loss: Loss = SQUARED,
    tableau: Tableau = RK4,
) -> Network:
    """Integrate dW^l_ij/dt = -E_x[d^l_i a^{l-1}_j] to time `horizon` in equal steps, in the network's own dtype.

        k_i = velocity(W + h c_i k_{i-1}),  W <- W + h sum_i b_i k_i,  h = horizon / steps

    Euler's scheme of the same flow is gradient descent: `train` (claim `time.euler`). The order in h is 4 with the
    classical tableau (claim `time.rk4`). The rank of the update grows by stages x data a step, as under descent.

    Args:
        network: start; it is left unchanged. On quadrature nodes it is the limit, with masses 1/n a finite network.
        x: inputs (B, n_0).
        y: targets (B, k).
        horizon: the time T, positive.
        steps: how many steps, at least 1.
        loss: loss per datum; the risk is its mean over the data.
        tableau: the scheme.

    Raises:
        UsageError: a horizon that is not positive and finite, or no step.
        NumericsError: a weight is no longer finite at the end (the step is outside the range of stability).
    """
    if not 0 < horizon < float("inf") or steps < 1:
        raise UsageError(f"horizon {horizon} in {steps} steps", "horizon > 0 and steps >= 1", "change them")
    h = horizon / steps
    offsets, shares = tableau
    current = network
    for _ in range(steps):
        moved = list(current.weights)
        slopes: list[Tensor] = []
        for offset, share in zip(offsets, shares, strict=True):
            stage = _shifted(current, slopes, h * offset) if offset else current
            slopes = velocity(stage.signatures(x, y, loss))
            moved = [torch.add(w, v, alpha=h * share) for w, v in zip(moved, slopes, strict=True)]
        current = replace(current, weights=tuple(moved))
    for layer, weight in enumerate(current.weights, 1):
        require_finite(f"W^{layer} after {steps} steps of size {h}", weight)
    return current


def _shifted(network: Network, slopes: Sequence[Tensor], time: float) -> Network:
    """Return the network moved along `slopes` for some time."""
    moved = (torch.add(w, v, alpha=time) for w, v in zip(network.weights, slopes, strict=True))
    return replace(network, weights=tuple(moved))
