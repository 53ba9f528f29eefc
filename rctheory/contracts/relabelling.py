"""Relabel the units of an axis in every tensor that touches it, as the declaration says."""

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from rctheory.architectures.axes import Axis
from rctheory.architectures.layout import Layout
from rctheory.errors import ContractError


def relabel(layout: Layout, weights: Mapping[str, Tensor], axis: str, random: torch.Generator) -> dict[str, Tensor]:
    """Permute an axis everywhere: one permutation, never the identity, for each unit of its ancestors.

    Args:
        layout: the declaration.
        weights: declared tensors.
        axis: an axis instance.
        random: draws the permutations.

    Raises:
        ContractError: an axis of one unit.
    """
    if layout.axes[axis].size < 2:
        raise ContractError(f"axis {axis} of one unit", "at least two to relabel", "widen the subject's configuration")
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


def _ancestors(axis: Axis) -> list[Axis]:
    """Return the parent of an axis, its parent, and so on."""
    return [] if axis.parent is None else [axis.parent, *_ancestors(axis.parent)]


def _permutation(size: int, random: torch.Generator) -> Tensor:
    """Draw a permutation that moves something."""
    while True:
        order = torch.randperm(size, generator=random)
        if not torch.equal(order, torch.arange(size)):
            return order
