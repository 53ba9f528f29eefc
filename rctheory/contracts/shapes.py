"""Clauses about names and shapes: layout, growth of single axes, and the way from stored names and back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.pieces import gather, scatter
from rctheory.contracts.subject import Config, Model, Subject
from rctheory.contracts.widths import next_legal
from rctheory.errors import ContractError, ShapeError


def check_shapes(subject: Subject) -> None:
    """Every stored tensor has the shape that follows from the sizes, at two configurations.

    Raises:
        ContractError: one has another.
    """
    for config in (subject.config, subject.other_config):
        model = subject.model(config)
        expected = model.layout.stored_shapes(Naming.TRANSFORMERS)
        for name in sorted(set(expected) & set(model.stored)):
            if tuple(model.stored[name].shape) != expected[name]:
                found = f"{name} of shape {tuple(model.stored[name].shape)}"
                want = f"{expected[name]} of sizes {model.layout.sizes}"
                raise ContractError(found, want, f"look at declare({dict(config)})")


def check_growth(subject: Subject) -> None:
    """When the width of one axis changes, those tensor dimensions change that touch it, and no others.

    The configuration is rewritten by the declared widths; a model that is built from it is the judge. An axis that
    shares an entry of the configuration with others changes together with them.

    Raises:
        ContractError: a dimension changed that does not touch a changed axis, or one stayed that does.
    """
    source = subject.source
    before = _dimensions(source)
    wider = [next_legal(source.layout, axis) for axis in _resizable(source.layout)]
    if not any(wider):
        raise ContractError("no averaged axis that can grow", "one at least", "declare its entry in `widths`")
    for targets in filter(None, wider):
        changed = {name for name, size in targets.items() if size != source.layout.sizes[name]}
        grown = subject.model(_configured(source, targets))
        expected = source.layout.widths.write(source.config, targets)
        for place, size in _dimensions(grown).items():
            tensor, dimension = place
            touching = {i.axis.name for i in source.layout.tensors[tensor].nests[dimension]} & changed
            if (size != before[place]) != bool(touching):
                found = f"dimension {dimension} of {tensor} goes from {before[place]} to {size}"
                want = f"{'a change' if touching else 'none'} when {', '.join(sorted(changed))} changes"
                raise ContractError(found, want, f"look at build({expected})")


def check_names(subject: Subject) -> None:
    """Stored names and declared ones are in bijection, piece by piece: there and back, every byte is the same.

    Raises:
        ContractError: a stored tensor that is not declared, a declared one that is not stored, or bytes that differ.
    """
    model = subject.source
    places = {name: model.layout.place(name, Naming.TRANSFORMERS) for name in model.layout.tensors}
    held = {name for place in places.values() for name in place.names}
    extra = sorted(set(model.stored) - held - model.layout.buffers - set(model.layout.twins))
    if extra or not held <= set(model.stored):
        found = (
            f"stored tensor {extra[0]} without a declaration" if extra else f"no {sorted(held - set(model.stored))[0]}"
        )
        raise ContractError(found, "every stored tensor declared, and every declared one stored", "declare its axes")
    _round_trip(model.layout, {name: model.stored[name] for name in held}, Naming.TRANSFORMERS)
    if any(tensor.gguf is not None for tensor in model.layout.tensors.values()):
        shapes = _shapes(model.layout, Naming.GGUF)
        entries = {name: torch.rand(shape, dtype=torch.float64) for name, shape in shapes.items()}
        _round_trip(model.layout, entries, Naming.GGUF)


def _round_trip(layout: Layout, stored: Mapping[str, Tensor], naming: Naming) -> None:
    """Compare stored tensors with what comes of declaring and storing them."""
    shapes = _shapes(layout, naming)
    again = {name: torch.full(shapes[name], float("nan"), dtype=tensor.dtype) for name, tensor in stored.items()}
    for name in layout.tensors:
        place = layout.place(name, naming)
        scatter(gather(stored, place), place, again)
    for name, tensor in stored.items():
        if not torch.equal(tensor, again[name]):
            wrong = int((tensor != again[name]).sum())
            found = f"{wrong} entries of {name} that differ after gather and scatter in the naming of {naming}"
            raise ContractError(found, "none", "correct `stored` or `gguf` of its parts")


def _shapes(layout: Layout, naming: Naming) -> dict[str, tuple[int, ...]]:
    """Return the stored shapes."""
    try:
        return layout.stored_shapes(naming)
    except ShapeError as error:
        raise ContractError(f"{error.found} in the naming of {naming}", error.expected, error.remedy) from error


def _dimensions(model: Model) -> dict[tuple[str, int], int]:
    """Return the size of every dimension that a declared tensor has in a model that was built.

    Along a dimension that stored tensors share out among declared ones only the whole is seen: it changes by the parts
    that change.
    """
    sizes: dict[tuple[str, int], int] = {}
    for tensor in model.layout.tensors.values():
        for dimension in range(len(tensor.nests)):
            stored = [model.stored[name].shape[dimension] for name in tensor.stored.names]
            sizes[tensor.name, dimension] = sum(stored) if dimension == tensor.stored.dimension else stored[0]
    return sizes


def _resizable(layout: Layout) -> list[str]:
    """Return the averaged axes that the configuration holds."""
    held = {axis.name for _, axes in layout.widths.equations for axis in axes if axis.averaged}
    return [name for name in layout.sizes if name in held]


def _configured(model: Model, targets: Mapping[str, int]) -> Config:
    return model.layout.widths.write(model.config, targets)
