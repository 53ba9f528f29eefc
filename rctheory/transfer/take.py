"""Apply a plan: take the same units in every tensor that touches their axis."""

from collections.abc import Mapping

from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.errors import ShapeError
from rctheory.transfer.plans import Plan


def take(tensors: Mapping[str, Tensor], layout: Layout, plan: Plan) -> dict[str, Tensor]:
    """Return the tensors with each planned axis replaced by the units that the plan names.

    W*_{c c'} = W_{i(c) i(c')}: in mean-field parametrisation nothing is rescaled, because an averaged axis is
    averaged with its new masses. Where the axes come from is the layout alone: an axis changes in all of its
    tensors or in none.

    Args:
        tensors: source tensors by stored name; leading dimensions beyond the declared ones are kept (seeds).
        layout: the source's layout.
        plan: source indices by axis instance.

    Raises:
        ShapeError: an axis that is not declared, an index out of range, or a tensor of another shape than declared.
    """
    for name, indices in plan.items():
        layout.touches(name)
        size = layout.axes[name].size
        if not indices.numel() or not 0 <= int(indices.min()) <= int(indices.max()) < size:
            raise ShapeError(f"plan of axis {name}", f"at least one index, all in 0..{size - 1}", "draw the plan again")
    return {name: _take_one(name, tensor, layout, plan) for name, tensor in tensors.items()}


def _take_one(name: str, tensor: Tensor, layout: Layout, plan: Plan) -> Tensor:
    """Take units in one tensor, dimension by dimension and nest by nest."""
    declared = layout.tensors.get(name)
    if declared is None or tuple(tensor.shape[-len(declared.shape) :]) != declared.shape:
        found = f"tensor {name} of shape {tuple(tensor.shape)}"
        want = f"{declared.shape}, as declared" if declared else f"a tensor of {layout.architecture}"
        raise ShapeError(found, want, "make the layout and the weights agree")
    lead = tensor.ndim - len(declared.shape)
    for dimension, nest in enumerate(declared.nests, start=lead):
        if not any(instance.name in plan for instance in nest):
            continue
        parts = tensor.unflatten(dimension, [instance.size for instance in nest])
        for place, instance in enumerate(nest):
            if instance.name in plan:
                parts = parts.index_select(dimension + place, plan[instance.name].to(parts.device))
        tensor = parts.flatten(dimension, dimension + len(nest) - 1)
    return tensor
