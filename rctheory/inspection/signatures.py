"""Signatures of the units of an axis: a row for each unit, a column for each slice of a tensor that it runs through.

The column of a slice is its log root mean square, which a wider model shares: a norm would grow with the width of the
other axes. So the empirical laws of the rows can be compared between models of different widths, and between two times
of one training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.architectures.axes import AxisInstance, Scope
from rctheory.architectures.layout import Layout, Touch
from rctheory.errors import ShapeError
from rctheory.inspection.hypotheses import DIMENSIONS, arrange
from rctheory.inspection.moments import Moments, log_norms


@dataclass(frozen=True)
class Signatures:
    """The units of one axis instance.

    Args:
        axis: the axis instance.
        slices: what each column is of, the same in every layer: `mlp.gate_proj rows`, or `... mean`.
        values: (units, slices), float64. Units of an inner axis are counted through all units of its parents.
    """

    axis: AxisInstance
    slices: tuple[str, ...]
    values: Tensor

    def of(self, slices: Sequence[str]) -> Tensor:
        """Return the columns of some slices, in the order given."""
        return self.values[:, [self.slices.index(name) for name in slices]]


def unit_signatures(layout: Layout, moments: Mapping[str, Moments], *, means: bool = False) -> dict[str, Signatures]:
    """Return the signatures of every exchangeable axis instance, by name.

    With unit i of the axis and a tensor of which it moves the slice w_i, the column is log (mean of w_i^2)^(1/2). Other
    axes of the same dimension belong to the slice: a key coordinate of a group has one slice of the query matrix, over
    all query heads of the group. Where a slice is exactly zero its mean square counts as 1e-32 of the largest.

    Args:
        layout: the layout.
        moments: those of every tensor.
        means: add the mean entry of each slice as a column of its own. It tells the signs of biases apart, and shrinks
            with the width where entries are independent.
    """
    found = {}
    for instance in layout.axes.values():
        touches = layout.touches(instance.name) if instance.axis.exchangeable else ()
        if touches:
            columns = {_label(layout, touch, instance): _log_rms(layout, moments, touch) for touch in touches}
            if means:
                columns |= {
                    f"{_label(layout, touch, instance)} mean": _average(
                        moments[touch.tensor].means(touch.dimension), layout, touch
                    )
                    for touch in touches
                }
            found[instance.name] = Signatures(instance, tuple(columns), torch.stack(list(columns.values()), dim=1))
    return found


def shared_slices(first: Signatures, second: Signatures) -> tuple[str, ...]:
    """Return the slices that two axis instances have in common, in the order of the first.

    Raises:
        ShapeError: there is none.
    """
    shared = tuple(name for name in first.slices if name in second.slices)
    if not shared:
        found = f"axes {first.axis.name} and {second.axis.name} without a common slice"
        raise ShapeError(found, "two models of one architecture", "compare models whose tensors have the same names")
    return shared


def _log_rms(layout: Layout, moments: Mapping[str, Moments], touch: Touch) -> Tensor:
    """Return the log root mean square of the slice of each unit."""
    return log_norms(_average(moments[touch.tensor].mean_squares(touch.dimension), layout, touch))


def _average(values: Tensor, layout: Layout, touch: Touch) -> Tensor:
    """Average over the other axes of the dimension, outside of the axis and its parents."""
    arranged = arrange(values, layout.tensors[touch.tensor].nests[touch.dimension], touch.place)
    return arranged.mean(dim=1).reshape(-1)


def _label(layout: Layout, touch: Touch, instance: AxisInstance) -> str:
    """Name a slice: by its place in a layer, or in full for an axis of the whole model."""
    tensor = layout.tensors[touch.tensor]
    name = tensor.name if instance.axis.scope is Scope.MODEL else tensor.pattern.rpartition("{layer}.")[2]
    return f"{name.removesuffix('.weight')} {DIMENSIONS[touch.dimension]}"
