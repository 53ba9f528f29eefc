"""Exact widening in memory: units are copied and everything that reads them shares their weight out."""

from collections.abc import Mapping

from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.errors import ShapeError
from rctheory.transfer.operator import Operator
from rctheory.transfer.plans import Plan
from rctheory.transfer.units import AxisPlan


def widen(tensors: Mapping[str, Tensor], layout: Layout, plan: Plan) -> dict[str, Tensor]:
    """Return the tensors of a wider model that computes the same function.

    Args:
        tensors: source tensors by declared name.
        layout: the source's layout.
        plan: source indices by axis instance; of an inner axis, the same inside each unit of its parent. Every unit
            is taken at least once. Under a LayerNorm the index n stands for a unit that carries the mean.

    Raises:
        ShapeError: an axis that is not averaged, a unit that is not taken, or units of an axis under LayerNorm with
            different numbers of copies.
    """
    plans = {}
    for name, indices in plan.items():
        layout.touches(name)
        try:
            plans[name] = AxisPlan(layout.axes[name].size, indices, exact=True)
        except ShapeError as error:
            raise ShapeError(f"axis {name}: {error.found}", error.expected, error.remedy) from error
    operator = Operator(layout, plans)
    return {name: operator.apply(name, tensor.clone()) for name, tensor in tensors.items()}
