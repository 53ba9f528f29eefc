"""Clauses about symmetry: relabelling of axes, and how gradients follow it and factorise."""

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.contracts.relabelling import relabel
from rctheory.contracts.subject import Subject
from rctheory.errors import ContractError
from rctheory.numerics import generator

# float64 leaves 1e-13 of a forward pass; a wrong symmetry changes outputs by their size.
UNCHANGED, CHANGED = 1e-9, 1e-4
RANK = 1e-9
"""Singular values below this part of the largest one are rounding."""


def check_relabelling(subject: Subject) -> None:
    """Relabelling an exchangeable axis leaves the function unchanged.

    Raises:
        ContractError: it changed.
    """
    for axis in _each_axis(subject.source.layout, exchangeable=True):
        difference = relative(subject.source.outputs, _relabelled(subject, axis))
        if not difference <= UNCHANGED:
            found = f"outputs that differ by {difference:.2g} of their size after relabelling axis {axis}"
            want = f"at most {UNCHANGED:g}, since it is declared exchangeable"
            raise ContractError(found, want, "declare it ordered, or find the tensor that touches it")


def check_order(subject: Subject) -> None:
    """Relabelling an axis that is not exchangeable changes the function: no symmetry is left undeclared.

    Raises:
        ContractError: it did not.
    """
    for axis in _each_axis(subject.source.layout, exchangeable=False):
        difference = relative(subject.source.outputs, _relabelled(subject, axis))
        if not difference > CHANGED:
            found = f"outputs that differ by {difference:.2g} of their size after relabelling axis {axis}"
            want = f"more than {CHANGED:g}, since it is declared ordered"
            raise ContractError(found, want, "declare it exchangeable, or find where else it is used")


def check_gradient(subject: Subject) -> None:
    """The gradient factorises: that of a matrix applied once is one outer product, of what it writes and what it reads.

    On the smallest input the gradient of each matrix has at most the declared rank: the number of uses, twice where it
    is a table and a head. And gradients are relabelled with the weights, along each averaged axis: training keeps the
    symmetry.

    Raises:
        ContractError: a larger rank, or gradients that do not follow.
    """
    model = subject.source
    single = subject.inputs[:1] if subject.single is None else subject.single
    twice = set(model.layout.twins.values())
    for name, gradient in model.gradients(model.weights, single).items():
        if gradient.ndim < 2:
            continue
        bound = subject.uses * (2 if name in twice else 1)
        if not rank(gradient) <= bound:
            found = f"the gradient of {name} of rank {rank(gradient)}"
            want = f"at most {bound}, as often as it is used on one input"
            raise ContractError(found, want, "declare where else it is used (twins), or correct `uses`")
    before = model.gradients(model.weights, subject.inputs)
    # Some gradients are zero by symmetry (a key bias): all are compared with the largest.
    largest = max(float(gradient.abs().max()) for gradient in before.values())
    for axis in _each_axis(model.layout, exchangeable=True, averaged=True):
        relabelled = relabel(model.layout, model.weights, axis, generator(0, "relabel", axis))
        after = model.gradients(relabelled, subject.inputs)
        expected = relabel(model.layout, before, axis, generator(0, "relabel", axis))
        for name, gradient in expected.items():
            difference = relative(gradient, after[name], least=largest)
            if not difference <= UNCHANGED:
                found = f"a gradient of {name} that is off by {difference:.2g} after relabelling axis {axis}"
                raise ContractError(found, "the relabelled gradient", "look at the backward pass")


def rank(matrix: Tensor) -> int:
    """Return the number of singular values of the unfolded tensor, (rows, everything else), above rounding."""
    values = torch.linalg.svdvals(matrix.flatten(1))
    return int((values > RANK * values[0]).sum())


def relative(expected: Tensor, found: Tensor, *, least: float = 0.0) -> float:
    """Return the largest difference, relative to the largest expected entry; NaN where one is NaN."""
    size = max(float(expected.abs().max()), least)
    difference = float((expected - found).abs().max())
    return difference / size if size else difference


def _relabelled(subject: Subject, axis: str) -> Tensor:
    """Return the outputs after relabelling one axis."""
    model = subject.source
    return model.outputs_with(relabel(model.layout, model.weights, axis, generator(0, "relabel", axis)))


def _each_axis(layout: Layout, *, exchangeable: bool, averaged: bool | None = None) -> list[str]:
    """Return one instance of every axis, that of the last layer."""
    found = {
        i.axis.path: i.name
        for i in layout.axes.values()
        if i.axis.exchangeable is exchangeable and averaged in (None, i.axis.averaged)
    }
    return list(found.values())
