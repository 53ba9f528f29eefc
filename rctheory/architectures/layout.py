"""Layouts: the concrete tensors of a model, and where each of its axes is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from rctheory.architectures.axes import AxisInstance
from rctheory.errors import ShapeError


@dataclass(frozen=True)
class Touch:
    """A place where an axis is used: `tensor`, its `dimension`, and the `place` in the nest of that dimension."""

    tensor: str
    dimension: int
    place: int


@dataclass(frozen=True)
class TensorLayout:
    """A concrete tensor.

    Args:
        name: stored name in a safetensors checkpoint.
        pattern: the same with `{layer}` in place of the number: what it is called in every layer.
        layer: its layer; None for a tensor of the model.
        nests: the axis instances of each dimension, outermost first.
        gguf: stored name in a GGUF file; empty where that format has none.
        gguf_interleaved: GGUF stores the rows of each head as rotary pairs.
    """

    name: str
    pattern: str
    layer: int | None
    nests: tuple[tuple[AxisInstance, ...], ...]
    gguf: str = ""
    gguf_interleaved: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the expected shape: each dimension is the product of its nested axes."""
        return tuple(prod(instance.size for instance in nest) for nest in self.nests)


@dataclass(frozen=True)
class Layout:
    """An architecture at given sizes: every tensor, every axis instance, and where they meet.

    Args:
        architecture: name of the declaration.
        layers: number of layers.
        tensors: concrete tensors by stored name, in the order of the declaration.
        buffers: names of tensors that a checkpoint may hold and that carry no weights.
    """

    architecture: str
    layers: int
    tensors: Mapping[str, TensorLayout]
    buffers: frozenset[str] = frozenset()

    @cached_property
    def axes(self) -> dict[str, AxisInstance]:
        """Every axis instance by name, in the order in which the tensors meet them."""
        return {i.name: i for t in self.tensors.values() for nest in t.nests for i in nest}

    @cached_property
    def _touches(self) -> dict[str, list[Touch]]:
        """Where each axis instance is used."""
        touches: dict[str, list[Touch]] = {name: [] for name in self.axes}
        for tensor in self.tensors.values():
            for dimension, nest in enumerate(tensor.nests):
                for place, instance in enumerate(nest):
                    touches[instance.name].append(Touch(tensor.name, dimension, place))
        return touches

    def touches(self, axis: str) -> tuple[Touch, ...]:
        """Return every tensor dimension that an axis instance runs over: a change of the axis must change them all.

        Raises:
            ShapeError: no such axis instance.
        """
        if axis not in self.axes:
            found = f"axis {axis!r} of architecture {self.architecture}"
            raise ShapeError(found, f"one of {', '.join(list(self.axes)[:8])}", "name a declared axis")
        return tuple(self._touches[axis])

    def require_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare stored shapes with the declared ones.

        Raises:
            ShapeError: a tensor is missing, has another shape, or is not declared.
        """
        name = self.architecture
        for tensor in self.tensors.values():
            if tensor.name not in shapes:
                raise ShapeError(
                    f"tensor {tensor.name} is missing", f"it in every {name} model", "complete the weights"
                )
            if tuple(shapes[tensor.name]) != tensor.shape:
                found = f"tensor {tensor.name} has shape {tuple(shapes[tensor.name])}"
                want = f"{tensor.shape}, as the {name} sizes say"
                raise ShapeError(found, want, "make the configuration and the weights agree")
        extra = sorted(set(shapes) - set(self.tensors) - self.buffers)
        if extra:
            found = f"tensor {extra[0]} is not declared ({len(extra)} such)"
            raise ShapeError(found, f"only the tensors of {name}", "declare it, or remove it from the weights")
