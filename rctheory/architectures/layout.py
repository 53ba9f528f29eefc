"""Layouts: the concrete tensors of a model, and where each of its axes is used."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from rctheory.architectures.axes import AxisInstance
from rctheory.architectures.norms import Norm
from rctheory.architectures.storage import Naming, Place, join_shapes
from rctheory.architectures.widths import Widths
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
        name: declared name.
        pattern: the same with `{layer}` in place of the number: what it is called in every layer.
        layer: its layer; None for a tensor of the model.
        nests: the axis instances of each dimension, outermost first.
        stored: where checkpoints with the names of transformers hold it.
        gguf: where a GGUF file holds it; None where that format does not.
        optional: group of tensors that a checkpoint holds or lacks together; empty where it must hold this one.
        reads: dimension that is summed over when the tensor is applied; a vector reads nothing.
    """

    name: str
    pattern: str
    layer: int | None
    nests: tuple[tuple[AxisInstance, ...], ...]
    stored: Place
    gguf: Place | None = None
    optional: str = ""
    reads: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the expected shape: each dimension is the product of its nested axes."""
        return tuple(prod(instance.size for instance in nest) for nest in self.nests)

    def sums(self, dimension: int) -> bool:
        """Return whether a dimension is summed over when the tensor is applied; a vector only writes."""
        return len(self.nests) > 1 and dimension == self.reads


@dataclass(frozen=True)
class Layout:
    """An architecture at given sizes: every tensor, every axis instance, and where they meet.

    Args:
        architecture: name of the declaration.
        layers: number of layers.
        tensors: concrete tensors by declared name, in the order of the declaration.
        buffers: stored names that a checkpoint may hold and that carry no weights.
        prefix: with what the stored names begin, except in a checkpoint of the bare model without its head.
        renamed: ends of stored names in older checkpoints, by what they are now.
        twins: stored names of second copies that a checkpoint may hold, with the declared tensor that each repeats.
        widths: entries of the configuration that hold the sizes.
        norms: every norm over an axis.
        rooted: tensors that the software multiplies by the square root of the size of an axis, with its name.
    """

    architecture: str
    layers: int
    tensors: Mapping[str, TensorLayout]
    buffers: frozenset[str] = frozenset()
    prefix: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    twins: Mapping[str, str] = field(default_factory=dict)
    widths: Widths = field(default_factory=Widths)
    norms: tuple[Norm, ...] = ()
    rooted: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def axes(self) -> dict[str, AxisInstance]:
        """Every axis instance by name, in the order in which the tensors meet them."""
        return {i.name: i for t in self.tensors.values() for nest in t.nests for i in nest}

    @property
    def sizes(self) -> dict[str, int]:
        """Return the size of each axis by the name of the axis: every layer has the same."""
        return {instance.axis.name: instance.size for instance in self.axes.values()}

    def singular(self, name: str) -> str:
        """Return the axis that a user means by its name or by its plural; another name as it is."""
        return name[:-1] if name not in self.sizes and name.removesuffix("s") in self.sizes else name

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

    def found_in(self, names: Collection[str]) -> "Layout":
        """Return the layout of the tensors that a checkpoint of these stored names is to have.

        It says what a configuration does not: optional groups of which nothing is stored are left out, the bare model
        has no prefix and nothing outside of it, and older checkpoints have other names.

        Args:
            names: stored names, as transformers gives them.
        """
        bare = bool(self.prefix) and not any(name.startswith(self.prefix) for name in names)
        current = {name for t in self.tensors.values() for name in t.stored.names} | self.buffers | set(self.twins)
        stored = {name: self._stored_name(name, bare, names) for name in current}
        tensors = {n: replace(t, stored=t.stored.renamed(stored)) for n, t in self.tensors.items()}
        held = {n for n, t in tensors.items() if not set(t.stored.names).isdisjoint(names)}
        groups = {tensors[name].optional for name in held}
        outside = {n for n in tensors if bare and not n.startswith(self.prefix)}
        kept = {n: t for n, t in tensors.items() if n in held or (t.optional in {"", *groups} and n not in outside)}
        buffers, twins = (stored[name] for name in self.buffers), {stored[twin]: n for twin, n in self.twins.items()}
        return replace(self, tensors=kept, buffers=frozenset(buffers), twins=twins, prefix="")

    def _stored_name(self, name: str, bare: bool, names: Collection[str]) -> str:
        """Return what a checkpoint calls the stored tensor `name`."""
        name = name.removeprefix(self.prefix) if bare else name
        older = (name.removesuffix(new) + old for new, old in self.renamed.items() if name.endswith(new))
        return next((other for other in older if name not in names and other in names), name)

    def require_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare shapes by declared name with the declared ones.

        Raises:
            ShapeError: a tensor is missing, has another shape, or is not declared.
        """
        self._compare(shapes, {tensor.name: tensor.shape for tensor in self.tensors.values()})

    def require_stored(self, shapes: Mapping[str, tuple[int, ...]], naming: Naming) -> None:
        """Compare shapes by stored name with those that follow from the declaration.

        Raises:
            ShapeError: a stored tensor is missing, has another shape, or is not declared.
        """
        self._compare(shapes, self.stored_shapes(naming))

    def stored_shapes(self, naming: Naming) -> dict[str, tuple[int, ...]]:
        """Return the shape of every stored tensor by its stored name.

        Raises:
            ShapeError: that format has no name for a tensor, or declared tensors do not fill the stored ones.
        """
        return join_shapes((self.place(name, naming), tensor.shape) for name, tensor in self.tensors.items())

    def place(self, name: str, naming: Naming) -> Place:
        """Return where a declared tensor is stored.

        Raises:
            ShapeError: no such tensor, or that format has no name for it.
        """
        if name not in self.tensors:
            raise ShapeError(f"tensor {name!r}", f"a tensor of {self.architecture}", "name a declared tensor")
        tensor = self.tensors[name]
        place = tensor.stored if naming is Naming.TRANSFORMERS else tensor.gguf
        if place is None:
            found = f"tensor {name} of {self.architecture} without a name in {naming}"
            raise ShapeError(found, "a name in every format that is read", "declare it")
        return place

    def _compare(self, shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
        """Compare found shapes with expected ones."""
        for name, shape in expected.items():
            if name not in shapes:
                want = f"it in every {self.architecture} model"
                raise ShapeError(f"tensor {name} is missing", want, "complete the weights")
            if tuple(shapes[name]) != shape:
                found = f"tensor {name} has shape {tuple(shapes[name])}"
                want = f"{shape}, as the {self.architecture} sizes say"
                raise ShapeError(found, want, "make the configuration and the weights agree")
        extra = sorted(set(shapes) - set(expected) - self.buffers - set(self.twins))
        if extra:
            found = f"tensor {extra[0]} is not declared ({len(extra)} such)"
            want = f"only the tensors of {self.architecture}"
            raise ShapeError(found, want, "declare it, or remove it from the weights")
