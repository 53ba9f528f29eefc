"""Which matrices share neurons: read off the layout, so nothing here knows an architecture."""

from itertools import combinations

from rctheory.architectures.axes import Role
from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.inspection.statistic import Pair, Side

NEURONS = frozenset({Role.HIDDEN, Role.HEAD_DIM})
"""Roles whose units are neurons: a matrix that writes them and one that reads them meet in each. Residual coordinates
are no such place: every layer meets there, so that all pairs of a model would share them."""


def neuron_pairs(layout: Layout) -> tuple[Pair, ...]:
    """Return all pairs of matrices of which one dimension each runs over the same neurons, in reading order.

    Two dimensions share neurons when their innermost axis is one and the same instance: gate rows, up rows and down
    columns; query and key rows of a group; value rows and the columns that read them; rows of one layer of a
    perceptron and columns of the next.
    """
    sides: dict[str, list[Side]] = {}
    for tensor in matrices(layout):
        for dimension, nest in enumerate(tensor.nests):
            if nest[-1].axis.role in NEURONS:
                sides.setdefault(nest[-1].name, []).append(Side(tensor, dimension))
    return tuple(
        Pair(layout.axes[axis], first, second)
        for axis, touching in sides.items()
        for first, second in combinations(touching, 2)
        if first.tensor is not second.tensor
    )


def matrices(layout: Layout) -> list[TensorLayout]:
    """Return the tensors of two dimensions, in reading order."""
    return [tensor for tensor in reading_order(layout) if len(tensor.nests) == 2]


def reading_order(layout: Layout) -> list[TensorLayout]:
    """Return all tensors layer by layer, so that those that share neurons are read close together.

    Tensors of the model keep their place before or after the layers.
    """
    tensors = list(layout.tensors.values())
    first = next((k for k, tensor in enumerate(tensors) if tensor.layer is not None), len(tensors))
    before, after = tensors[:first], [tensor for tensor in tensors[first:] if tensor.layer is None]
    layered = sorted((t for t in tensors if t.layer is not None), key=lambda tensor: tensor.layer or 0)
    return [*before, *layered, *after]


def short_name(tensor: TensorLayout) -> str:
    """Return what a tensor is called in every layer, without what all names share: `mlp.gate_proj`."""
    return tensor.pattern.rpartition("{layer}.")[2].removesuffix(".weight")
