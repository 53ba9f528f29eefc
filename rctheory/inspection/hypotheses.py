"""The hypotheses of exchangeability that follow from a layout: nothing here knows an architecture.

Three kinds, for the axes of at least three units (of two units every order looks the same):

* *alone*: an exchangeable axis that stands alone in its dimension (residual coordinates, feed-forward units): one test
  for each axis instance, jointly over everything that touches it. Norm gains and embeddings take part: the symmetry
  moves them too, and leaving one out would leave a place where an order could hide. An axis of positions is tested in
  the same way: the declaration calls it ordered, so there the test must reject.
* *inside*: an axis of a nest (query heads inside a group, coordinates inside a head): units are permuted inside each
  unit of the parent. One such axis is small, so the instances of all layers are pooled into one test.
* *flat*: all units of a nest as if there were no nesting. The declaration denies this symmetry, so here the test must
  reject: it shows that the order of the indices carries what the nest says.

Another outermost axis that is not exchangeable (vocabulary, inputs, outputs) claims nothing and is not tested.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import prod

import torch
from torch import Tensor

from rctheory.architectures.axes import Axis, AxisInstance, Role, Scope
from rctheory.architectures.layout import Layout, Touch
from rctheory.inspection.norms import UnitNorms

FEWEST_UNITS = 3
DIMENSIONS = ("rows", "columns")


class Kind(StrEnum):
    """How the units of a hypothesis are permuted."""

    ALONE = "alone"
    INSIDE = "inside"
    FLAT = "flat"


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis: the units of an axis are exchangeable.

    Args:
        name: axis instance, or axis path where all layers are pooled.
        kind: how units are permuted.
        axis: the axis; for `flat` the outermost of the nest.
        layer: its layer; None for an axis of the model or all layers pooled.
        declared: the declaration says that they are exchangeable.
        units: how many units one permutation moves.
        sets: sets of arrays under one permutation each, as `order_tests` takes them.
    """

    name: str
    kind: Kind
    axis: Axis
    layer: int | None
    declared: bool
    units: int
    sets: tuple[dict[str, Tensor], ...]

    @property
    def family(self) -> str:
        """Return the family that `max_t` takes it for: inside one, distinct axes move arrays of their own.

        Outermost axes, alone or flattened, make one family. Axes of a nest move the same arrays as the axes that they
        nest in, each is a family of its own.
        """
        return self.axis.path if self.kind is Kind.INSIDE else "outermost axes"


def hypotheses(layout: Layout, norms: UnitNorms) -> list[Hypothesis]:
    """Return every hypothesis of a layout, with the log norms that test it."""
    roots = [i for i in layout.axes.values() if i.axis.parent is None and not i.axis.shared]
    found = [*_alone(layout, norms, roots), *_flat(layout, norms, roots), *_inside(layout, norms)]
    return [hypothesis for hypothesis in found if hypothesis.units >= FEWEST_UNITS]


def _alone(layout: Layout, norms: UnitNorms, roots: list[AxisInstance]) -> Iterator[Hypothesis]:
    """Yield a hypothesis for each axis instance that nothing nests in: exchangeable ones, and positions."""
    for instance in roots:
        axis, touches = instance.axis, layout.touches(instance.name)
        if (axis.exchangeable or axis.role is Role.POSITION) and not _nested(layout, touches):
            arrays = {
                _label(touch.tensor, touch): norms[touch.tensor, touch.dimension][None, None] for touch in touches
            }
            layer = _layer(layout, touches, axis)
            yield Hypothesis(instance.name, Kind.ALONE, axis, layer, axis.exchangeable, instance.size, (arrays,))


def _flat(layout: Layout, norms: UnitNorms, roots: list[AxisInstance]) -> Iterator[Hypothesis]:
    """Yield a hypothesis for each nest, flattened; dimensions that share all but their innermost axis move together."""
    for instance in roots:
        sets: dict[tuple[str, ...], dict[str, Tensor]] = {}
        for touch in (touches := layout.touches(instance.name)):
            nest = _nest(layout, touch)
            if len(nest) > 1:
                key = (*(outer.name for outer in nest[:-1]), str(nest[-1].size))
                sets.setdefault(key, {})[_label(touch.tensor, touch)] = norms[touch.tensor, touch.dimension][None, None]
        if sets:
            units = max(array.shape[-1] for arrays in sets.values() for array in arrays.values())
            layer = _layer(layout, touches, instance.axis)
            name = f"{instance.name} (flat)"
            yield Hypothesis(name, Kind.FLAT, instance.axis, layer, False, units, tuple(sets.values()))


def _inside(layout: Layout, norms: UnitNorms) -> Iterator[Hypothesis]:
    """Yield a hypothesis for each axis of a nest, its instances in all layers pooled.

    A tensor that runs over the outermost axis alone (one number for each head) moves with it as well.
    """
    pooled: dict[Axis, dict[str, list[Tensor]]] = {}
    for instance in layout.axes.values():
        touches = layout.touches(instance.name)
        for touch in touches if _nested(layout, touches) else ():
            pattern = _label(layout.tensors[touch.tensor].pattern, touch)
            array = arrange(norms[touch.tensor, touch.dimension], _nest(layout, touch), touch.place)
            pooled.setdefault(instance.axis, {}).setdefault(pattern, []).append(array)
    for axis, parts in pooled.items():
        arrays = {label: torch.cat(part) for label, part in parts.items()}
        units = next(iter(arrays.values())).shape[-1]
        yield Hypothesis(axis.path, Kind.INSIDE, axis, None, axis.exchangeable, units, (arrays,))


def arrange(values: Tensor, nest: tuple[AxisInstance, ...], place: int) -> Tensor:
    """Arrange the units of a nest as (blocks, copies, n) for the axis at `place`: its ancestors make the blocks."""
    ancestors, parent = set(), nest[place].axis.parent
    while parent is not None:
        ancestors.add(parent)
        parent = parent.parent
    blocks = [k for k, outer in enumerate(nest) if outer.axis in ancestors]
    copies = [k for k in range(len(nest)) if k != place and k not in blocks]
    sizes = [instance.size for instance in nest]
    arranged = values.reshape(sizes).permute(*blocks, *copies, place)
    return arranged.reshape(prod(sizes[k] for k in blocks), prod(sizes[k] for k in copies), sizes[place])


def _nested(layout: Layout, touches: tuple[Touch, ...]) -> bool:
    """Return whether an axis shares a dimension with others in any of the places that it is used in."""
    return any(len(_nest(layout, touch)) > 1 for touch in touches)


def _nest(layout: Layout, touch: Touch) -> tuple[AxisInstance, ...]:
    """Return the whole nest of a touched dimension."""
    return layout.tensors[touch.tensor].nests[touch.dimension]


def _layer(layout: Layout, touches: tuple[Touch, ...], axis: Axis) -> int | None:
    """Return the layer of an axis instance; None for an axis of the model."""
    return None if axis.scope is Scope.MODEL else layout.tensors[touches[0].tensor].layer


def _label(tensor: str, touch: Touch) -> str:
    """Name an array: `model.layers.3.mlp.gate_proj.weight rows`."""
    return f"{tensor} {DIMENSIONS[touch.dimension]}"
