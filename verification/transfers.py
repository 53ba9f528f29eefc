"""Transfers of mean-field networks, tied as the architecture declares and untied as the controls want them."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.mlp import mlp
from rctheory.architectures.spec import Architecture, Axis, Nest
from rctheory.dynamics import Network
from rctheory.measures import Design
from rctheory.transfer import Plan, draw_plan, split_masses, take


def layout_of(network: Network, *, tied: bool = True) -> Layout:
    """Return the declared layout of a network; untied, the columns that read an axis are an axis of their own."""
    architecture = mlp(len(network.weights))
    names = ["input", *(f"hidden.{k}" for k in range(1, len(network.weights))), "output"]
    sizes = dict(zip(names, network.widths, strict=True))
    if not tied:
        architecture = _untied(architecture)
        sizes |= {f"{name}.columns": sizes[name] for name in names[1:-1]}
    return architecture.layout(sizes)


def resample(network: Network, width: int, design: Design, seed: int, *, tied: bool = True) -> Network:
    """Return the network with every hidden axis sampled to `width` units of equal mass.

    Untied is a planted error: rows of a layer and columns of the next are drawn independently of each other.
    """
    layout = layout_of(network, tied=tied)
    hidden = [name for name in layout.axes if name.startswith("hidden.")]
    plan = draw_plan(layout, dict.fromkeys(hidden, width), design, seed)
    tensors = take(network.tensors(), layout, plan)
    equal = torch.full_like(network.masses[0][:1], 1.0 / width).expand(width)
    inner = [equal] * (len(network.weights) - 1)
    return network.with_tensors(tensors, (network.masses[0], *inner, network.masses[-1]))


def duplicate(network: Network, plan: Plan, rows_only: Mapping[str, Tensor] | None = None) -> Network:
    """Return the network with units copied as planned, copies sharing the mass of their source.

    Args:
        network: the source.
        plan: source index of each copy, by hidden axis.
        rows_only: a planted error: other indices for the rows of some axis, its columns staying as planned.
    """
    if rows_only is None:
        tensors = take(network.tensors(), layout_of(network), plan)
    else:
        columns = {f"{name}.columns": indices for name, indices in plan.items()}
        tensors = take(network.tensors(), layout_of(network, tied=False), {**plan, **columns, **rows_only})
    masses = list(network.masses)
    for name, indices in plan.items():
        layer = int(name.removeprefix("hidden."))
        masses[layer] = split_masses(masses[layer], indices)
    return network.with_tensors(tensors, tuple(masses))


def _untied(architecture: Architecture) -> Architecture:
    """Give the columns of every hidden axis a name of their own."""

    def rename(nest: Nest) -> Nest:
        return tuple(_columns(axis) if axis.averaged else axis for axis in nest)

    tensors = (replace(s, dimensions=(s.dimensions[0], rename(s.dimensions[1]))) for s in architecture.tensors)
    return Architecture(f"untied {architecture.name}", tuple(tensors))


def _columns(axis: Axis) -> Axis:
    return replace(axis, name=f"{axis.name}.columns")
