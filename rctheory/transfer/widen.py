"""Exact widening: units are copied and everything that reads them shares their weight out, so no output changes.

In the standard parametrisation a sum over units is a sum, not an average: of m copies of a unit each reader takes 1/m.
A stream that is normed by its root mean square may be copied unequally: with D units made D', m_i of them copies of
unit i, what writes it is multiplied by s_i = sqrt(D' / (D m_i)) and the gains are divided by it; then the mean square
is that of the source, and the normed copies equal the normed source.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rctheory.architectures.axes import AxisInstance
from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.architectures.norms import NormKind
from rctheory.errors import ShapeError
from rctheory.transfer.plans import Plan, multiplicities
from rctheory.transfer.take import take


def widen(tensors: Mapping[str, Tensor], layout: Layout, plan: Plan) -> dict[str, Tensor]:
    """Return the tensors of a wider model that computes the same function.

    Args:
        tensors: source tensors by declared name.
        layout: the source's layout.
        plan: source indices by axis instance; of an inner axis, the same inside each unit of its parent. Every unit
            is taken at least once.

    Raises:
        ShapeError: an axis that is not averaged, a unit that is not taken, or units of an axis under LayerNorm with
            different numbers of copies.
    """
    counts = {name: _count(layout, name, indices) for name, indices in plan.items()}
    scales = {name: _scale(layout, name, counts[name]) for name in plan}
    norms = {norm.gain: norm for norm in layout.norms} | {norm.bias: norm for norm in layout.norms}
    widened = {}
    for name, tensor in take(tensors, layout, plan).items():
        declared, norm = layout.tensors[name], norms.get(name)
        if norm is None:
            widened[name] = tensor * _root_ratio(name, layout, plan) * _factors(declared, counts, scales, tensor)
            continue
        (stream,) = declared.nests[0]
        if stream.name not in plan:
            widened[name] = tensor
            continue
        factor = 1 / scales[stream.name]
        if norm.feeds:
            # The tied head reads what the embedding writes: s_c here, and the software's own factor there.
            factor = factor / (counts[stream.name] * scales[stream.name] * _root_ratio(norm.feeds, layout, plan))
        factor = factor.to(tensor.dtype)
        offset = norm.offset if name == norm.gain else 0.0
        widened[name] = (offset + tensor) * factor - offset
    return widened


def _count(layout: Layout, name: str, indices: Tensor) -> Tensor:
    """Return for each target unit how many copies its source has, float64."""
    layout.touches(name)
    instance = layout.axes[name]
    if not instance.axis.averaged:
        found = f"axis {name} of {layout.architecture}, which is {instance.axis.role} and not averaged"
        raise ShapeError(found, "an averaged axis", "widen an axis that the declaration averages over")
    copies = multiplicities(indices, instance.size)
    if not bool((copies > 0).all()):
        found = f"unit {int((copies == 0).nonzero()[0])} of axis {name} is not taken"
        raise ShapeError(found, "every unit at least once", "widen, or transfer by sampling instead")
    return copies[indices].to(torch.float64)


def _scale(layout: Layout, name: str, counts: Tensor) -> Tensor:
    """Return what the writers of each target unit are multiplied by, float64."""
    kinds = {n.kind for n in layout.norms if n.gain in layout.tensors and name in _streams(layout.tensors[n.gain])}
    if not kinds:
        return torch.ones_like(counts)
    if NormKind.LAYER in kinds and bool((counts != counts[0]).any()):
        found = f"units of axis {name} with {int(counts.min())} to {int(counts.max())} copies"
        raise ShapeError(found, "as many copies of each, since LayerNorm takes their mean", "choose a multiple")
    return (len(counts) / layout.axes[name].size / counts).sqrt()


def _streams(tensor: TensorLayout) -> set[str]:
    """Return the axis instances of a vector."""
    return {instance.name for instance in tensor.nests[0]}


def _factors(declared: TensorLayout, counts: Plan, scales: Plan, tensor: Tensor) -> Tensor:
    """Return the product of all factors of a tensor, of a shape that broadcasts."""
    product = torch.ones([], dtype=torch.float64)
    for dimension, nest in enumerate(declared.nests):
        reads = len(declared.nests) > 1 and dimension == declared.reads
        factors = [_along(instance, counts, scales, reads=reads) for instance in nest]
        combined = factors[0]
        for factor in factors[1:]:
            combined = torch.outer(combined, factor).flatten()
        shape = [1] * len(declared.nests)
        shape[dimension] = len(combined)
        product = product * combined.reshape(shape)
    return product.to(tensor.dtype)


def _along(instance: AxisInstance, counts: Plan, scales: Plan, *, reads: bool) -> Tensor:
    """Return the factors of the target units of one axis."""
    if instance.name not in counts:
        return torch.ones(instance.size, dtype=torch.float64)
    return 1 / counts[instance.name] if reads else scales[instance.name]


def _root_ratio(name: str, layout: Layout, plan: Plan) -> float:
    """Return sqrt(n / m) for a tensor that the software multiplies by sqrt(n), and by sqrt(m) once it is wider."""
    axis = layout.rooted.get(name)
    return (layout.axes[axis].size / len(plan[axis])) ** 0.5 if axis in plan and axis is not None else 1.0
