"""Axis and Architecture declarations: which tensor dimensions are one and the same axis, and which symmetry it has.

A declaration is all that an operator needs to know of a model. A tensor dimension is a *nest* of axes, outermost
first: the rows of a query projection are `(GROUP, HEAD, KEY_DIM)`. An axis may have a *parent*, inside which it is
permuted: one permutation for each unit of the parent, the same for every other axis of the nest. A *shared* axis has
none: one permutation for all units of whatever it is nested in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rctheory.architectures.axes import Axis, AxisInstance, Nest, Role, Scope
from rctheory.architectures.layout import Layout, TensorLayout, Touch
from rctheory.architectures.norms import Norm, NormKind
from rctheory.architectures.storage import Naming, Place, Request, Stored, lay_out
from rctheory.architectures.widths import Widths
from rctheory.errors import CheckpointError, LawError, ShapeError

__all__ = [
    "Architecture",
    "Axis",
    "AxisInstance",
    "Layout",
    "Naming",
    "Nest",
    "Norm",
    "NormKind",
    "Place",
    "Role",
    "Scope",
    "Stored",
    "TensorLayout",
    "TensorSpec",
    "Touch",
    "Widths",
]

LAYER = "{layer}"
MOST_LAYERS = 2000  # each costs memory before a weight is read, and a configuration may say anything


@dataclass(frozen=True)
class TensorSpec:
    """One tensor, or one in each layer when its name holds `{layer}`.

    Args:
        name: declared name; the stored name too, where `stored` does not say otherwise.
        dimensions: for each tensor dimension the nested axes that it runs over, outermost first.
        gguf: where a GGUF file holds it; None where that format does not.
        stored: where checkpoints with the names of transformers hold it; None for a tensor of its own.
        optional: group of tensors that a checkpoint may lack, all together; empty where it may not.
        reads: dimension that is summed over when the tensor is applied: 1 where outputs come first, 0 where inputs do,
            as in an embedding. The other dimensions write. A vector only writes.

    Raises:
        LawError: a dimension without axes, a parent that is missing from the nest or stands inside its child, or an
            axis of a layer in a tensor of the model.
    """

    name: str
    dimensions: tuple[Nest, ...]
    gguf: Stored | None = None
    stored: Stored | None = None
    optional: str = ""
    reads: int = 1

    def __post_init__(self) -> None:
        """Check the nesting of every dimension."""
        for number, nest in enumerate(self.dimensions):
            where = f"dimension {number} of {self.name}"
            if not nest:
                raise LawError(f"{where} runs over no axis", "at least one axis", "declare its axes")
            for place, axis in enumerate(nest):
                self._check_axis(where, axis, nest[:place])

    def _check_axis(self, where: str, axis: Axis, outer: Nest) -> None:
        """Check one axis against those outside of it."""
        if axis in outer:
            raise LawError(f"{where} runs over {axis.name} twice", "each axis once", "remove one")
        misplaced = bool(outer) and not axis.shared if axis.parent is None else axis.parent not in outer
        if misplaced:
            parent = "no parent" if axis.parent is None else f"parent {axis.parent.name}"
            found = f"{where} nests {axis.name} ({parent}) inside {[a.name for a in outer]}"
            raise LawError(found, "every inner axis to stand inside its parent", "order the nest outermost first")
        if axis.scope is Scope.LAYER and LAYER not in self.name:
            found = f"{where} runs over {axis.name}, an axis of a layer"
            raise LawError(found, f"{LAYER} in the name of the tensor", "name the layer or declare scope MODEL")


@dataclass(frozen=True)
class Architecture:
    """A family of models: its tensors and, through them, its axes.

    Args:
        name: name of the family.
        tensors: every tensor.
        buffers: stored names that a checkpoint may hold and that carry no weights: they follow from the sizes.
        prefix: with what the stored names begin, except in a checkpoint of the bare model without its head.
        renamed: ends of stored names in older checkpoints, by what they are now.
        twins: stored names of second copies that a checkpoint may hold, with the declared tensor that each repeats.
        widths: entries of the configuration that hold the sizes.
        norms: every norm over an axis.
        rooted: tensors that the software multiplies by the square root of the size of an axis.

    Raises:
        LawError: two tensors, or two different axes, of the same name; or a norm without its gain.
    """

    name: str
    tensors: tuple[TensorSpec, ...]
    buffers: tuple[str, ...] = ()
    prefix: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    twins: Mapping[str, str] = field(default_factory=dict)
    widths: Widths = field(default_factory=Widths)
    norms: tuple[Norm, ...] = ()
    rooted: Mapping[str, Axis] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse names that mean two things."""
        names = [spec.name for spec in self.tensors]
        axes = [axis.name for axis in self.axes]
        for kind, found in (("tensor", names), ("axis", axes)):
            twice = sorted({name for name in found if found.count(name) > 1})
            if twice:
                raise LawError(f"{kind} {twice[0]} is declared twice in {self.name}", "one meaning", "rename one")
        missing = sorted(({norm.gain for norm in self.norms} | set(self.rooted)) - set(names))
        if missing:
            raise LawError(
                f"tensor {missing[0]} is not declared in {self.name}", "a declared tensor", "correct its name"
            )

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Every axis of the family, in the order in which the tensors meet them."""
        return tuple(dict.fromkeys(a for spec in self.tensors for nest in spec.dimensions for a in nest))

    def configured(self, config: Mapping[str, Any], **fixed: int) -> Layout:
        """Return the layout that a configuration describes.

        Args:
            config: holds every entry of the widths.
            fixed: sizes of axes that no entry holds.

        Raises:
            CheckpointError: an entry is missing or contradicts another one, or the sizes make no layout.
        """
        sizes, layers = self.widths.read(config), self.widths.read_layers(config)
        try:
            return self.layout({**sizes, **fixed}, layers)
        except ShapeError as error:
            raise CheckpointError(f"{error.found} in the configuration", error.expected, error.remedy) from error

    def layout(self, sizes: Mapping[str, int], layers: int = 1) -> Layout:
        """Return the concrete tensors for a size of each axis and a number of layers.

        Args:
            sizes: number of units by axis name; of an inner axis, inside one unit of its parent.
            layers: how often the tensors with `{layer}` in their name exist.

        Raises:
            ShapeError: an axis without a size, a size without its axis, a size or number of layers below 1, or too
                many layers.
        """
        declared = {axis.name for axis in self.axes}
        if declared != set(sizes):
            found = f"sizes of {', '.join(sorted(sizes)) or 'nothing'} for {self.name}"
            raise ShapeError(found, f"one of each axis {', '.join(sorted(declared))}", "give every axis its size")
        for name, value in (*sizes.items(), ("layers", layers)):
            if type(value) is not int or value < 1:
                raise ShapeError(f"{self.name}: {name} = {value!r}", "a whole number of at least 1", "correct the size")
        if layers > MOST_LAYERS:
            raise ShapeError(f"{self.name} with {layers} layers", f"at most {MOST_LAYERS}", "correct the number")
        wanted = [
            (spec, layer) for spec in self.tensors for layer in (range(layers) if LAYER in spec.name else (None,))
        ]
        places = lay_out([_request(spec, spec.stored or Stored(spec.name), sizes, layer) for spec, layer in wanted])
        gguf = {at: _request(spec, spec.gguf, sizes, layer) for at, (spec, layer) in enumerate(wanted) if spec.gguf}
        gguf_places = dict(zip(gguf, lay_out(list(gguf.values())), strict=True))
        tensors = [
            _concrete(spec, sizes, layer, place, gguf_places.get(at))
            for at, ((spec, layer), place) in enumerate(zip(wanted, places, strict=True))
        ]
        buffers = frozenset(name.replace(LAYER, str(layer)) for name in self.buffers for layer in range(layers))
        norms = [n.in_layer(LAYER, at) for n in self.norms for at in range(layers if LAYER in n.name else 1)]
        return Layout(
            architecture=self.name,
            layers=layers,
            tensors={t.name: t for t in tensors},
            buffers=buffers,
            prefix=self.prefix,
            renamed=self.renamed,
            twins=self.twins,
            widths=self.widths,
            norms=tuple(norms),
            rooted={name: axis.name for name, axis in self.rooted.items()},
        )


def _request(spec: TensorSpec, stored: Stored, sizes: Mapping[str, int], layer: int | None) -> Request:
    """Ask for the place of one tensor of one layer."""
    name, outermost = stored.name.replace(LAYER, str(layer)), spec.dimensions[stored.dimension][0].name
    units = range(sizes[outermost]) if f"{{{outermost}}}" in name else (0,)
    names = tuple(name.replace(f"{{{outermost}}}", str(unit)) for unit in units)
    return Request(stored, names, tuple(tuple(sizes[axis.name] for axis in nest) for nest in spec.dimensions))


def _concrete(
    spec: TensorSpec, sizes: Mapping[str, int], layer: int | None, place: Place, gguf: Place | None
) -> TensorLayout:
    """Give one tensor of one layer its name, axis instances and places."""
    nests = tuple(
        tuple(AxisInstance(axis.instance(layer), axis, sizes[axis.name]) for axis in nest) for nest in spec.dimensions
    )
    name = spec.name.replace(LAYER, str(layer))
    return TensorLayout(name, spec.name, layer, nests, place, gguf, spec.optional, spec.reads)
