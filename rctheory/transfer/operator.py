"""The operator of a transfer, tensor by tensor: what a plan does to weights follows from the declaration alone.

Along each dimension of a tensor every planned axis is either *read* (summed over when the tensor is applied) or
*written*. Copies of a unit are written alike and share what reads them. A stream under an RMSNorm may be copied
unequally, s_i sqrt(m_i) being the same for all units: writers carry s_i, gains 1 / s_i. A tied head reads what the
embedding writes: there the last gain carries what is missing. Under a LayerNorm units are copied equally, and what is
left of the width carries the mean of the stream, which is normalised to zero.
Source: claims `widening.rmsnorm`, `widening.layernorm`, `widening.gqa`, `widening.swiglu`, `widening.tied-head`.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.architectures.norms import Norm, NormKind
from rctheory.errors import ShapeError
from rctheory.numerics import generator
from rctheory.transfer import copies, gains
from rctheory.transfer.gains import layer_scale, norm_factors
from rctheory.transfer.units import AxisPlan, flat_sources

BLOCK = 1 << 19  # entries of a block of rows: small enough for the caches


class Operator:
    """Weights of the target from weights of the source, and back.

    Args:
        layout: the source's layout.
        plans: by axis instance, source unit of each target unit; of an inner axis, inside each unit of its parent.
        noise: standard deviation of symmetry-breaking noise, relative to the root mean square of a tensor.
        seed: root seed of the noise.

    Raises:
        ShapeError: an axis that is not declared or not averaged, of another size, or a plan that no norm of it allows.
    """

    def __init__(self, layout: Layout, plans: Mapping[str, AxisPlan], *, noise: float = 0.0, seed: int = 0) -> None:
        """Check the plans against the declaration."""
        self._layout, self._plans, self._noise, self._seed = layout, dict(plans), noise, seed
        self._norms = {tensor: norm for norm in layout.norms for tensor in (norm.gain, norm.bias)}
        for name, plan in plans.items():
            self._check(name, plan)

    @property
    def layout(self) -> Layout:
        """Return the layout of the source."""
        return self._layout

    @property
    def plans(self) -> Mapping[str, AxisPlan]:
        """Return the units of every planned axis instance."""
        return self._plans

    def factors(self, name: str, dimension: int, axis: str) -> Tensor:
        """Return by what weights are multiplied along one planned axis of a dimension: (n,) float64, by source unit.

        Of a gain with an offset, the sum of both is multiplied.

        Args:
            name: declared name.
            dimension: of the tensor.
            axis: the axis instance in the nest of that dimension.
        """
        plan, norm = self._plans[axis], self._norms.get(name)
        if norm is not None:
            return self._norm_factors(plan, norm, axis, name)[0]
        if self._layout.tensors[name].sums(dimension):
            return plan.read()
        written = self._written(name, axis)
        return torch.ones(plan.size, dtype=torch.float64) if written is None else written

    def apply(self, name: str, weights: Tensor, stored: torch.dtype | None = None) -> Tensor:
        """Return one tensor of the target.

        Args:
            name: declared name.
            weights: the tensor of the source, float32 or wider; may be overwritten.
            stored: dtype in which it will be stored, so that the copies of a unit add up to its weight after rounding.
        """
        tensor = self._require(name, weights)
        size = self._noise * float(weights.square().mean().sqrt()) if self._noise else 0.0
        for dimension in reversed(range(len(tensor.nests))):
            weights = self._along(tensor, weights, dimension, size, stored)
        return weights.contiguous()

    def blocks(
        self, name: str, weights: Tensor, entries: int = BLOCK, stored: torch.dtype | None = None
    ) -> Iterator[Tensor]:
        """Yield one tensor of the target as blocks of whole rows: the same entries as `apply`, in less memory and time.

        Rows of a matrix that writes its first dimension are copies, made only when they are needed; small blocks stay
        in the caches. Other tensors come as one block.

        Args:
            name: declared name.
            weights: the tensor of the source, float32 or wider; may be overwritten.
            entries: about how many entries a block has.
            stored: dtype in which it will be stored, as for `apply`.
        """
        tensor = self._require(name, weights)
        planned = [(i.name, self._plans[i.name]) for i in tensor.nests[0] if i.name in self._plans]
        copied = not tensor.sums(0) and not any(plan.means for _, plan in planned)
        if self._noise or len(tensor.nests) == 1 or (planned and not copied):
            yield self.apply(name, weights, stored)
            return
        rows, factors = self.sources(name, 0), [self._row_factors(tensor, axis) for axis, _ in planned]
        if any(values is not None for values in factors):
            stored = None  # scaled rows do not add up in any case, and would be rounded twice
        for taken in rows.split(max(1, entries // self._row(tensor))):
            # Without a plan the rows are those of the source: a view, which is copied before it is changed.
            part = weights.index_select(0, taken) if planned else weights[taken[0] : taken[-1] + 1].clone()
            for dimension in reversed(range(1, len(tensor.nests))):
                part = self._along(tensor, part, dimension, stored=stored)
            for values in factors:
                if values is not None:
                    part = part.mul_(values[taken].to(part.dtype).reshape(-1, *[1] * (part.ndim - 1)))
            yield part.contiguous()

    def sources(self, name: str, dimension: int) -> Tensor:
        """Return, for each entry of the target along a dimension, from which entry of the source it is taken."""
        return flat_sources(self._layout.tensors[name].nests[dimension], self._plans)

    def _row_factors(self, tensor: TensorLayout, axis: str) -> Tensor | None:
        """Return the factors of the rows of a tensor that writes them, by row of the source; None where all are one."""
        written = self._written(tensor.name, axis)
        if written is None:
            return None
        places = [torch.arange(i.size) for i in tensor.nests[0]]
        at = [i.name for i in tensor.nests[0]].index(axis)
        return written[torch.meshgrid(*places, indexing="ij")[at].flatten()]

    def _row(self, tensor: TensorLayout) -> int:
        """Return the number of entries of a row of the target."""
        return prod(len(self.sources(tensor.name, dimension)) for dimension in range(1, len(tensor.nests)))

    def _along(
        self,
        tensor: TensorLayout,
        weights: Tensor,
        dimension: int,
        size: float = 0.0,
        stored: torch.dtype | None = None,
    ) -> Tensor:
        """Return weights changed along one dimension; noise of so large a deviation is added where it is read."""
        norm = self._norms.get(tensor.name)
        for place, instance in enumerate(tensor.nests[dimension]):
            plan = self._plans.get(instance.name)
            if plan is None:
                continue
            parts, at = copies.unfold(weights, tensor, dimension, self._plans, place)
            if norm is not None:
                parts = gains.grow(parts, at, plan, *self._norm_factors(plan, norm, instance.name, tensor.name), stored)
            elif tensor.sums(dimension):
                parts = copies.read(parts, at, plan, stored)
                if size and plan.exact:
                    random = generator(self._seed, "noise", tensor.name, instance.name)
                    parts = copies.add_noise(parts, at, plan, size / float(plan.width / plan.size), random)
            else:
                parts = copies.write(parts, at, plan, self._written(tensor.name, instance.name))
            weights = parts.flatten(dimension, dimension + len(tensor.nests[dimension]) - 1)
        return weights

    def undo(self, name: str, weights: Tensor) -> Tensor:
        """Return one tensor of the source from that of the target: copies are joined.

        The bits of the source come back where no factor but shares of copies was applied and no noise was added;
        otherwise the result is off by rounding.

        Raises:
            ShapeError: a plan that sampled its units, or a tensor of another shape than the target's.
        """
        tensor = self._layout.tensors[name]
        norm = self._norms.get(name)
        for dimension, nest in enumerate(tensor.nests):
            for place in reversed(range(len(nest))):
                instance = nest[place]
                plan = self._plans.get(instance.name)
                if plan is None:
                    continue
                parts, at = copies.unfold(weights, tensor, dimension, self._plans, place, undone=True)
                if norm is not None:
                    parts = gains.shrink(parts, at, plan, *self._norm_factors(plan, norm, instance.name, name))
                elif tensor.sums(dimension):
                    parts = copies.unread(parts, at, plan)
                else:
                    parts = copies.unwrite(parts, at, plan, self._written(name, instance.name))
                weights = parts.flatten(dimension, dimension + len(nest) - 1)
        return self._require_shape(name, weights, tensor.shape)

    def configure(self, config: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
        """Return the configuration of the target: its sizes, and the epsilon of norms whose variance has shrunk."""
        written = self._layout.widths.write(config, sizes)
        for norm in self._layout.norms:
            stream = self._stream(norm)
            if stream in self._plans and self._plans[stream].means:
                scale = layer_scale(self._plans[stream])
                written[norm.epsilon] = config.get(norm.epsilon, norm.default_epsilon) * scale
        return written

    @cached_property
    def _kinds(self) -> dict[str, NormKind]:
        """What the norms over each axis instance divide by."""
        return {self._stream(norm): norm.kind for norm in self._layout.norms}

    def _stream(self, norm: Norm) -> str:
        """Return the axis instance that a norm runs over; empty where the checkpoint lacks the norm."""
        gain = self._layout.tensors.get(norm.gain)
        return gain.nests[0][-1].name if gain else ""

    def _written(self, name: str, axis: str) -> Tensor | None:
        """Return the factors of what writes an axis, by source unit; None where all are one."""
        plan = self._plans[axis]
        unequal = self._kinds.get(axis) is NormKind.RMS and plan.exact and not plan.extends
        rooted = self._root_ratio(name, axis)
        if not unequal and rooted == 1:
            return None
        return rooted * (plan.write_rms() if unequal else torch.ones(plan.size, dtype=torch.float64))

    def _root_ratio(self, name: str, axis: str) -> float:
        """Return sqrt(n / m) for a tensor that the software multiplies by sqrt(n), and by sqrt(m) afterwards."""
        plan = self._plans[axis]
        return sqrt(plan.size / plan.width) if self._layout.rooted.get(name) == axis else 1.0

    def _norm_factors(self, plan: AxisPlan, norm: Norm, axis: str, name: str) -> tuple[Tensor, float]:
        """Return the factors of gain or bias by source unit, and the offset of the gain."""
        bias = name == norm.bias
        root = self._root_ratio(norm.feeds, axis) if norm.feeds else 1.0
        return norm_factors(norm, plan, root, bias=bias), 0.0 if bias else norm.offset

    def _check(self, name: str, plan: AxisPlan) -> None:
        """Refuse a plan that the declaration does not allow."""
        self._layout.touches(name)
        instance = self._layout.axes[name]
        if not instance.axis.averaged:
            found = f"axis {name} of {self._layout.architecture}, which is {instance.axis.role} and not averaged"
            raise ShapeError(found, "an averaged axis", "resize an axis that the declaration averages over")
        if plan.size != instance.size:
            found = f"a plan of {plan.size} units for axis {name} of {instance.size}"
            raise ShapeError(found, "one of as many", "draw the plan for this model")
        norms = [norm for norm in self._layout.norms if self._stream(norm) == name]
        layered = any(norm.kind is NormKind.LAYER for norm in norms)
        if layered and plan.exact and not plan.extends:
            least, most = int(plan.counts.min()), int(plan.counts.max())
            found = f"units of axis {name} with {least} to {most} copies"
            raise ShapeError(found, "as many copies of each, since LayerNorm takes their mean", "choose a multiple")
        if plan.means and (not layered or not all(norm.epsilon for norm in norms)):
            found = f"units of axis {name} that carry the mean"
            raise ShapeError(found, "them only before a LayerNorm", "choose a multiple of the width")

    def _require(self, name: str, weights: Tensor) -> TensorLayout:
        """Return the declaration of a tensor, whose shape must agree."""
        if name not in self._layout.tensors:
            raise ShapeError(f"tensor {name!r}", f"a tensor of {self._layout.architecture}", "name a declared tensor")
        self._require_shape(name, weights, self._layout.tensors[name].shape)
        return self._layout.tensors[name]

    def _require_shape(self, name: str, weights: Tensor, shape: tuple[int, ...]) -> Tensor:
        if tuple(weights.shape) != shape:
            found = f"tensor {name} of shape {tuple(weights.shape)}"
            raise ShapeError(found, f"{shape}, as declared", "make the layout and the weights agree")
        return weights
