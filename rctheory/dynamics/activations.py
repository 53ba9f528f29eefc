"""Activations with their slopes, and losses with their output gradients."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """An activation sigma and its derivative, both elementwise.

    Args:
        name: the field's name for it.
        value: h -> sigma(h).
        slope: (h, sigma(h)) -> sigma'(h); the value is passed in because tanh gives its slope for free.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


def _gelu_slope(h: Tensor, _a: Tensor) -> Tensor:
    density = torch.exp(-0.5 * h.square()) / math.sqrt(2 * math.pi)
    slope: Tensor = torch.special.ndtr(h) + h * density
    return slope


def _erf_slope(h: Tensor, _a: Tensor) -> Tensor:
    return 2 / math.sqrt(math.pi) * torch.exp(-h.square())


TANH = Activation("tanh", torch.tanh, lambda _h, a: 1 - a.square())
ERF = Activation("erf", torch.erf, _erf_slope)
GELU = Activation("gelu", lambda h: h * torch.special.ndtr(h), _gelu_slope)
RELU = Activation("relu", torch.relu, lambda h, _a: (h > 0).to(h))
LINEAR = Activation("linear", lambda h: h, lambda h, _a: torch.ones_like(h))
ACTIVATIONS = {a.name: a for a in (TANH, ERF, GELU, RELU, LINEAR)}
"""Every activation by its name."""


@dataclass(frozen=True)
class Loss:
    """A loss per datum, on outputs f (..., B, k) and targets that broadcast to it.

    Args:
        name: the field's name for it.
        value: (f, y) -> (..., B).
        gradient: (f, y) -> d value / d f, (..., B, k).
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]


SQUARED = Loss("squared", lambda f, y: 0.5 * (f - y).square().sum(dim=-1), lambda f, y: f - y)
CROSS_ENTROPY = Loss(
    "cross-entropy",
    lambda f, y: -(y * torch.log_softmax(f, dim=-1)).sum(dim=-1),
    lambda f, y: torch.softmax(f, dim=-1) * y.sum(dim=-1, keepdim=True) - y,
)
"""Cross-entropy of softmax(f) against class probabilities y (one-hot for hard labels)."""
LOSSES = {loss.name: loss for loss in (SQUARED, CROSS_ENTROPY)}
"""Every loss by its name."""
