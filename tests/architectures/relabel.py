"""Relabel the units of an axis in stored tensors, as the declaration says."""

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.pieces import gather, scatter
from rctheory.contracts.relabelling import relabel

__all__ = ["declared", "relabel", "relabel_stored"]


def relabel_stored(layout: Layout, state: dict[str, Tensor], axis: str, random: torch.Generator) -> None:
    """Relabel an axis in stored tensors, in place."""
    for name, tensor in relabel(layout, declared(layout, state), axis, random).items():
        scatter(tensor, layout.place(name, Naming.TRANSFORMERS), state)


def declared(layout: Layout, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the declared tensors out of stored ones."""
    return {name: gather(state, layout.place(name, Naming.TRANSFORMERS)).clone() for name in layout.tensors}
