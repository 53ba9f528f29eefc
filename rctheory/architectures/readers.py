"""The matrix that alone reads an axis, such as the one behind the neurons of a feed-forward layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.errors import UsageError


@dataclass(frozen=True)
class Reader:
    """The matrix that alone reads an axis: `tensor`, and how many of its inputs g belong to one unit."""

    tensor: str
    group: int

    def columns(self, units: Tensor) -> Tensor:
        """Return the inputs (m g,) of the matrix that belong to units (m,)."""
        return (units[:, None] * self.group + torch.arange(self.group)).flatten()


def reader_of(layout: Layout, axis: str) -> Reader:
    """Return what reads an axis instance.

    Raises:
        UsageError: several matrices read it, or units of another axis stand outside of it.
    """
    reading = [t for t in layout.touches(axis) if layout.tensors[t.tensor].sums(t.dimension)]
    if len(reading) != 1 or reading[0].place:
        found = f"axis {axis} of {layout.architecture}, which {len(reading)} matrices read"
        raise UsageError(found, "an axis that one matrix reads, such as ffn or group", "use rctheory transfer")
    nest = layout.tensors[reading[0].tensor].nests[reading[0].dimension]
    group = 1
    for instance in nest[1:]:
        group *= instance.size
    return Reader(reading[0].tensor, group)
