"""Random networks on random masses: the generic input of the exact claims."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from rctheory.dynamics import ACTIVATIONS, TANH, Activation, Network


def random_masses(n: int, stream: torch.Generator) -> Tensor:
    """Draw a probability on n neurons, all masses within a factor 3 of one another."""
    raw = 0.5 + torch.rand(n, generator=stream, dtype=torch.float64)
    return raw / raw.sum()


def random_network(
    widths: Sequence[int], stream: torch.Generator, activation: Activation = TANH, *, uniform: bool = False
) -> Network:
    """Draw a float64 network with standard normal weights on axes of sizes n_0..n_L; inner axes carry masses.

    Args:
        widths: n_0..n_L.
        stream: source of randomness.
        activation: activation of the hidden layers.
        uniform: give the inner axes masses 1/n in place of random ones.
    """
    inner = [
        torch.full((n,), 1 / n, dtype=torch.float64) if uniform else random_masses(n, stream) for n in widths[1:-1]
    ]
    ones = [torch.ones(n, dtype=torch.float64) for n in (widths[0], widths[-1])]
    weights = [torch.randn(rows, columns, generator=stream, dtype=torch.float64) for columns, rows in pairwise(widths)]
    return Network(tuple(weights), (ones[0], *inner, ones[1]), activation)


def random_data(inputs: int, outputs: int, count: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw inputs (count, inputs) and targets (count, outputs), standard normal."""
    x = torch.randn(count, inputs, generator=stream, dtype=torch.float64)
    return x, torch.randn(count, outputs, generator=stream, dtype=torch.float64)


SMOOTH = tuple(ACTIVATIONS[name] for name in ("tanh", "erf", "gelu"))
"""Activations with a derivative everywhere."""


def relative_error(got: Tensor, want: Tensor) -> float:
    """Return the largest difference relative to the largest entry of `want`; NaN if either holds one."""
    return float((got - want).abs().max() / want.abs().max())


def largest(errors: Iterable[float]) -> float:
    """Return the largest error; NaN if one is (Python's `max` may drop it), and NaN of none at all."""
    return float(np.max([*errors] or [math.nan]))
