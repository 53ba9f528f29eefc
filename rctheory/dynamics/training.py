"""Training with mean-field learning rates: every weight moves with a velocity free of the width."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rctheory.dynamics.activations import SQUARED, Loss
from rctheory.dynamics.network import Network, Signatures
from rctheory.dynamics.optimizers import Moment, Update
from rctheory.errors import UsageError
from rctheory.numerics import require_finite

Observer = Callable[[int, Network, Signatures], None]
"""Called before each step with the step's index, the network and its signatures."""


def velocity(signatures: Signatures) -> list[Tensor]:
    """Return dW^l_ij/dt = -E_x[d^l_i a^{l-1}_j], l = 1..L, each (..., n_l, n_{l-1}).

    The mean-field learning rate divides the gradient by the masses of the two neurons, so no mass is left.
    Source: claims `gradient.factorizes` and `closure.gd`.
    """
    return [-(d.transpose(-1, -2) @ a) / a.shape[-2] for d, a in signatures.pairs()]


def train(
    network: Network,
    x: Tensor,
    y: Tensor,
    *,
    step: float,
    steps: int,
    loss: Loss = SQUARED,
    updates: Sequence[Update] = (),
    batches: Iterable[Tensor] | None = None,
    observer: Observer | None = None,
) -> Network:
    """Run gradient descent W <- W + step * velocity, or another optimizer; the limit's Euler scheme is the same code.

    Cost per step and seed: 6 B n^2 operations for hidden width n; two passes over W to read it, one to write it.
    Where a weight or a mass requires a gradient, the run is recorded and can be differentiated, to any order.

    Args:
        network: start; it is left unchanged.
        x: inputs (B, n_0).
        y: targets (B, k).
        step: the time step, free of the width.
        steps: how many steps.
        loss: loss per datum; the risk is its mean over the data.
        updates: turn the mean-field gradient into the direction of descent, in this order; none is gradient descent.
        batches: index tensors, one a step, for mini-batch SGD; the full batch when absent.
        observer: sees the network and its signatures before each step.

    Raises:
        UsageError: a step that is not positive and finite, a negative number of steps, or too few batches.
        NumericsError: a weight is no longer finite at the end (the step size diverges).
    """
    if not 0 < step < float("inf") or steps < 0:
        raise UsageError(f"step {step} and {steps} steps", "step > 0 and steps >= 0", "change them")
    differentiable = any(t.requires_grad for t in (*network.weights, *network.masses))
    current = network
    if not differentiable:
        copies = tuple(w.clone(memory_format=torch.contiguous_format) for w in network.weights)
        current = replace(network, weights=copies)
    started = [update.start() for update in updates]
    picks = iter(batches) if batches is not None else None
    for index in range(steps):
        inputs, targets = (x, y) if picks is None else _pick(picks, x, y, index)
        signatures = current.signatures(inputs, targets, loss)
        if observer is not None:
            observer(index, current, signatures)
        if not started and not differentiable:
            for weight, (d, a) in zip(current.weights, signatures.pairs(), strict=True):
                _descend(weight, d, a, step / inputs.shape[-2])
            continue
        directions = [-speed for speed in velocity(signatures)]
        for advance in started:
            directions = advance(Moment(index, step, current, signatures), directions)
        moved = zip(current.weights, directions, strict=True)
        current = replace(current, weights=tuple(w - step * u for w, u in moved))
    for layer, weight in enumerate(current.weights, 1):
        require_finite(f"W^{layer} after {steps} steps of size {step}", weight)
    return current


def _pick(picks: "Iterable[Tensor]", x: Tensor, y: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Take the data of the next batch."""
    batch = next(iter(picks), None)
    if batch is None:
        raise UsageError(f"{index} batches", "one batch for each step", "give more batches or fewer steps")
    return x[batch], y[batch]


def _descend(weight: Tensor, d: Tensor, a: Tensor, rate: float) -> None:
    """Subtract rate * d^T a in place, without storing the velocity: one read and one write of the weight."""
    if weight.ndim == 2:
        weight.addmm_(d.transpose(-1, -2), a, alpha=-rate)
        return
    a = a.expand(*weight.shape[:-2], *a.shape[-2:])
    flat, d, a = (part.reshape(-1, *part.shape[-2:]) for part in (weight, d, a))
    flat.baddbmm_(d.transpose(-1, -2), a, alpha=-rate)


def risk(network: Network, x: Tensor, y: Tensor, loss: Loss = SQUARED) -> Tensor:
    """Return the mean loss over the data, (...)."""
    return loss.value(network.outputs(x), y).mean(dim=-1)


def accuracy(network: Network, x: Tensor, labels: Tensor) -> float:
    """Return the share of the data (inputs (B, n_0), labels (B,)) whose largest output is the label's."""
    return float((network.outputs(x).argmax(dim=-1) == labels).to(torch.float64).mean())
