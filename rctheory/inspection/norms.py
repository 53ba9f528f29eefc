"""Log norms of the units of every axis, gathered in one pass over a checkpoint."""

from collections.abc import Callable, Mapping

from torch import Tensor

from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.inspection.moments import Moments, log_norms

__all__ = ["UnitNorms", "collect_moments", "collect_norms", "log_norms", "norms_of"]

UnitNorms = Mapping[tuple[str, int], Tensor]
"""By (tensor, dimension), the log norm of every unit of that dimension, float64."""


def collect_moments(checkpoint: Checkpoint, report_progress: Callable[[str], None]) -> dict[str, Moments]:
    """Return the moments of every tensor and of the units of its dimensions.

    Each tensor is read once, a block of rows at a time; only a few numbers for each unit are kept.

    Raises:
        CheckpointError: a tensor cannot be read, or has NaN or infinite entries.
    """
    moments: dict[str, Moments] = {}
    for number, (name, tensor) in enumerate(checkpoint.layout.tensors.items(), start=1):
        moments[name] = Moments.of(tensor.shape)
        start = 0
        for block in checkpoint.blocks(name):
            moments[name].add(block, start)
            start += len(block)
        if number % 32 == 0 or number == len(checkpoint.layout.tensors):
            report_progress(f"read {number} of {len(checkpoint.layout.tensors)} tensors of {checkpoint.source}")
    return moments


def norms_of(moments: Mapping[str, Moments]) -> dict[tuple[str, int], Tensor]:
    """Return the log norm of every unit of every tensor dimension: of rows, of columns, of the entries of a vector."""
    return {(name, k): of.log_norms(k) for name, of in moments.items() for k in range(len(of.shape))}


def collect_norms(checkpoint: Checkpoint, report_progress: Callable[[str], None]) -> dict[tuple[str, int], Tensor]:
    """Return `norms_of` the moments of a checkpoint; reads and raises like `collect_moments`."""
    return norms_of(collect_moments(checkpoint, report_progress))
