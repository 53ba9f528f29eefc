"""The law of signatures of a layer: what its neurons do on probe inputs, free of their labels and latents."""

import torch
from torch import Tensor

from rctheory.errors import ShapeError


def signature_law(activations: Tensor, deltas: Tensor) -> Tensor:
    """Return the signatures s_i = (a_i(x_1), .., a_i(x_K), d_i(x_1), .., d_i(x_K)) of one layer as a sample.

    A relabelling of the neurons permutes the sample; a change of the latents' coordinates leaves it alone. Its
    empirical law is therefore what networks of different widths share, and what a distance may compare.

    Args:
        activations: a^l on K probe inputs, (..., K, n), of order one in the width.
        deltas: d^l on the same inputs, (..., K, n), of order one in the width.

    Returns:
        The sample (..., n, 2 K).

    Raises:
        ShapeError: the shapes differ, or there is no input or neuron.
    """
    if activations.shape != deltas.shape or activations.ndim < 2 or not activations.numel():
        found = f"activations of shape {tuple(activations.shape)} and deltas of shape {tuple(deltas.shape)}"
        raise ShapeError(found, "one shape (..., K, n) with K, n >= 1", "take both from one layer and one pass")
    return torch.cat([activations, deltas], dim=-2).transpose(-1, -2).contiguous()
