"""Relabel the units of an axis in every tensor that touches it, as the declaration says."""

from itertools import product

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.pieces import gather, scatter


def relabel(layout: Layout, weights: dict[str, Tensor], axis: str, random: torch.Generator) -> dict[str, Tensor]:
    """Permute an axis everywhere: one permutation, never the identity, for each unit of its ancestors."""
    relabelled = dict(weights)
    orders: dict[tuple[int, ...], Tensor] = {}
    for touch in layout.touches(axis):
        nest = layout.tensors[touch.tensor].nests[touch.dimension]
        ancestors = _ancestors(nest[touch.place].axis)
        outer = [k for k, instance in enumerate(nest) if instance.axis in ancestors]
        sizes = [instance.size for instance in nest]
        index = torch.arange(layout.tensors[touch.tensor].shape[touch.dimension]).reshape(sizes)
        moved = index.movedim((*outer, touch.place), tuple(range(len(outer) + 1)))
        for unit in product(*(range(sizes[k]) for k in outer)):
            if unit not in orders:
                orders[unit] = _permutation(sizes[touch.place], random)
            moved[unit] = moved[unit][orders[unit]].clone()
        relabelled[touch.tensor] = relabelled[touch.tensor].index_select(touch.dimension, index.flatten())
    return relabelled


def relabel_stored(layout: Layout, state: dict[str, Tensor], axis: str, random: torch.Generator) -> None:
    """Relabel an axis in stored tensors, in place."""
    for name, tensor in relabel(layout, declared(layout, state), axis, random).items():
        scatter(tensor, layout.place(name, Naming.TRANSFORMERS), state)


def declared(layout: Layout, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the declared tensors out of stored ones."""
    return {name: gather(state, layout.place(name, Naming.TRANSFORMERS)).clone() for name in layout.tensors}


def _ancestors(axis) -> list:
    """Return the parent of an axis, its parent, and so on."""
    return [] if axis.parent is None else [axis.parent, *_ancestors(axis.parent)]


def _permutation(size: int, random: torch.Generator) -> Tensor:
    """Draw a permutation that moves something."""
    assert size > 1, "an axis of one unit has no relabelling"
    while True:
        order = torch.randperm(size, generator=random)
        if not torch.equal(order, torch.arange(size)):
            return order
