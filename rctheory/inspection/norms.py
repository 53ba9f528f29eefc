"""Log norms of the units of every axis, gathered in one pass over a checkpoint."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from rctheory.checkpoints.checkpoint import Checkpoint

UnitNorms = Mapping[tuple[str, int], Tensor]
"""By (tensor, dimension), the log norm of every unit of that dimension, float64."""


def collect_norms(checkpoint: Checkpoint, report_progress: Callable[[str], None]) -> dict[tuple[str, int], Tensor]:
    """Return the log norm of every unit of every tensor dimension: of rows, of columns, of the entries of a vector.

    Each tensor is read once, a block of rows at a time; only one number for each unit is kept.

    Raises:
        CheckpointError: a tensor cannot be read, or has NaN or infinite entries.
    """
    norms: dict[tuple[str, int], Tensor] = {}
    for number, (name, tensor) in enumerate(checkpoint.layout.tensors.items(), start=1):
        squares = [torch.zeros(size, dtype=torch.float64) for size in tensor.shape]
        start = 0
        for block in checkpoint.blocks(name):
            _add_squares(squares, block, start)
            start += len(block)
        norms |= {(name, dimension): log_norms(values) for dimension, values in enumerate(squares)}
        if number % 32 == 0 or number == len(checkpoint.layout.tensors):
            report_progress(f"read {number} of {len(checkpoint.layout.tensors)} tensors of {checkpoint.source}")
    return norms


def log_norms(squares: Tensor) -> Tensor:
    """Return log sqrt(s) of sums of squares, with s at least 1e-32 of the largest.

    A unit that is exactly zero (padding, a pruned unit) has no logarithm. The floor depends on the set of values alone,
    not on their order, so the permutation tests stay exact.
    """
    largest = squares.max()
    return 0.5 * squares.clamp(min=float(largest) * 1e-32).log() if largest > 0 else torch.zeros_like(squares)


def _add_squares(squares: list[Tensor], block: Tensor, start: int) -> None:
    """Add the squares of a block of rows to the sums of each dimension."""
    stop = start + len(block)
    if block.dim() == 1:
        squares[0][start:stop] = block.square()
        return
    entries = block.numpy()
    squares[0][start:stop] = torch.from_numpy(np.einsum("ij,ij->i", entries, entries))
    squares[1] += torch.from_numpy(np.einsum("ij,ij->j", entries, entries))
