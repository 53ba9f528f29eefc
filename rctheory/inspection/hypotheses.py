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
from dataclasses import dataclass, fields
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
class Source:
    """Where the log norms of an array come from: a tensor dimension, arranged for the axis at `place` of its nest.

    Without a place they are taken as they are, one block of all units.
    """

    tensor: str
    dimension: int
    place: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a hypothesis says, before any weight is known: the units of an axis are exchangeable.

    Args:
        name: axis instance, or axis path where all layers are pooled.
        kind: how units are permuted.
        axis: the axis; for `flat` the outermost of the nest.
        layer: its layer; None for an axis of the model or all layers pooled.
        declared: the declaration says that they are exchangeable.
        units: how many units one permutation moves.
        sources: sets of arrays under one permutation each, by label; an array has the blocks of all its sources.
    """

    name: str
    kind: Kind
    axis: Axis
    layer: int | None
    declared: bool
    units: int
    sources: tuple[dict[str, tuple[Source, ...]], ...]

    @property
    def family(self) -> str:
        """Return the family that `max_t` takes it for: inside one, distinct axes move arrays of their own.

        Outermost axes, alone or flattened, make one family. Axes of a nest move the same arrays as the axes that they
        nest in, each is a family of its own.
        """
        return self.axis.path if self.kind is Kind.INSIDE else "outermost axes"


@dataclass(frozen=True)
class Hypothesis(Plan):
    """A plan with the log norms that test it: `sets` of arrays, as `order_tests` takes them."""

    sets: tuple[dict[str, Tensor], ...]


def hypotheses(layout: Layout, norms: UnitNorms) -> list[Hypothesis]:
    """Return every hypothesis of a layout, with the log norms that test it."""

    def array(sources: tuple[Source, ...]) -> Tensor:
        return torch.cat([arranged(layout, source, norms[source.tensor, source.dimension]) for source in sources])

    def filled(plan: Plan) -> Hypothesis:
        sets = tuple({label: array(parts) for label, parts in arrays.items()} for arrays in plan.sources)
        return Hypothesis(**{field.name: getattr(plan, field.name) for field in fields(Plan)}, sets=sets)

    return [filled(plan) for plan in plans(layout)]


def plans(layout: Layout) -> list[Plan]:
    """Return what every hypothesis of a layout says."""
    roots = [i for i in layout.axes.values() if i.axis.parent is None and not i.axis.shared]
    found = [*_alone(layout, roots), *_flat(layout, roots), *_inside(layout)]
    return [plan for plan in found if plan.units >= FEWEST_UNITS]


def arranged(layout: Layout, source: Source, norms: Tensor) -> Tensor:
    """Return the log norms of a tensor dimension as a source wants them, (blocks, copies, n)."""
    if source.place is None:
        return norms[None, None]
    return arrange(norms, layout.tensors[source.tensor].nests[source.dimension], source.place)


def _alone(layout: Layout, roots: list[AxisInstance]) -> Iterator[Plan]:
    """Yield a plan for each axis instance that nothing nests in: exchangeable ones, and positions."""
    for instance in roots:
        axis, touches = instance.axis, layout.touches(instance.name)
        if (axis.exchangeable or axis.role is Role.POSITION) and not _nested(layout, touches):
            sources: dict[str, tuple[Source, ...]] = {
                _label(touch.tensor, touch): (Source(touch.tensor, touch.dimension),) for touch in touches
            }
            layer = _layer(layout, touches, axis)
            yield Plan(instance.name, Kind.ALONE, axis, layer, axis.exchangeable, instance.size, (sources,))


def _flat(layout: Layout, roots: list[AxisInstance]) -> Iterator[Plan]:
    """Yield a plan for each nest, flattened; dimensions that share all but their innermost axis move together."""
    for instance in roots:
        sets: dict[tuple[str, ...], dict[str, tuple[Source, ...]]] = {}
        units = 0
        for touch in (touches := layout.touches(instance.name)):
            nest = _nest(layout, touch)
            if len(nest) > 1:
                key = (*(outer.name for outer in nest[:-1]), str(nest[-1].size))
                sets.setdefault(key, {})[_label(touch.tensor, touch)] = (Source(touch.tensor, touch.dimension),)
                units = max(units, layout.tensors[touch.tensor].shape[touch.dimension])
        if sets:
            layer = _layer(layout, touches, instance.axis)
            name = f"{instance.name} (flat)"
            yield Plan(name, Kind.FLAT, instance.axis, layer, False, units, tuple(sets.values()))


def _inside(layout: Layout) -> Iterator[Plan]:
    """Yield a plan for each axis of a nest, its instances in all layers pooled.

    A tensor that runs over the outermost axis alone (one number for each head) moves with it as well.
    """
    pooled: dict[Axis, dict[str, tuple[Source, ...]]] = {}
    units: dict[Axis, int] = {}
    for instance in layout.axes.values():
        touches = layout.touches(instance.name)
        for touch in touches if _nested(layout, touches) else ():
            pattern = _label(layout.tensors[touch.tensor].pattern, touch)
            parts = pooled.setdefault(instance.axis, {})
            parts[pattern] = (*parts.get(pattern, ()), Source(touch.tensor, touch.dimension, touch.place))
            units.setdefault(instance.axis, instance.size)
    for axis, sources in pooled.items():
        yield Plan(axis.path, Kind.INSIDE, axis, None, axis.exchangeable, units[axis], (sources,))


def arrange(values: Tensor, nest: tuple[AxisInstance, ...], place: int) -> Tensor:
    """Arrange the units of a nest as (blocks, copies, n) for the axis at `place`: its ancestors make the blocks."""
    blocks, copies = _around(nest, place)
    arranged = values.reshape([instance.size for instance in nest]).permute(*blocks, *copies, place)
    return arranged.reshape(_shape(nest, place))


def block_shape(layout: Layout, source: Source) -> tuple[int, int, int]:
    """Return the shape (blocks, copies, n) in which `arranged` returns the log norms of a source."""
    tensor = layout.tensors[source.tensor]
    if source.place is None:
        return 1, 1, tensor.shape[source.dimension]
    return _shape(tensor.nests[source.dimension], source.place)


def _shape(nest: tuple[AxisInstance, ...], place: int) -> tuple[int, int, int]:
    """Return the numbers of blocks, copies and units of the axis at a place of a nest."""
    blocks, copies = (prod(nest[k].size for k in chosen) for chosen in _around(nest, place))
    return blocks, copies, nest[place].size


def _around(nest: tuple[AxisInstance, ...], place: int) -> tuple[list[int], list[int]]:
    """Return the places of a nest that make the blocks of an axis, and those that make copies of it."""
    ancestors, parent = set(), nest[place].axis.parent
    while parent is not None:
        ancestors.add(parent)
        parent = parent.parent
    blocks = [k for k, outer in enumerate(nest) if outer.axis in ancestors]
    return blocks, [k for k in range(len(nest)) if k != place and k not in blocks]


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
