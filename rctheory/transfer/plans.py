"""Plans: which source unit each target unit is taken from, one draw per axis."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.errors import ShapeError
from rctheory.measures.designs import Design
from rctheory.numerics import generator

Plan = Mapping[str, Tensor]
"""From the name of an axis instance to the source index of each target unit, (m,) int64."""


def draw_plan(layout: Layout, widths: Mapping[str, int], design: Design, seed: int) -> dict[str, Tensor]:
    """Draw one index vector for each axis named in `widths`, each from its own named stream.

    Args:
        layout: the source's layout.
        widths: target number of units by axis instance.
        design: the sampling design.
        seed: root seed.

    Raises:
        ShapeError: an axis that the layout does not have, or one that is not averaged: it has no law to sample.
        LawError: a width that the design cannot give.
    """
    plan = {}
    for name, m in widths.items():
        layout.touches(name)
        instance = layout.axes[name]
        if not instance.axis.averaged:
            found = f"axis {name} of {layout.architecture}, which is {instance.axis.role} and not averaged"
            raise ShapeError(found, "an averaged axis", "resize an axis that the declaration averages over")
        plan[name] = design.draw(instance.size, m, generator(seed, "plan", design.name, name, m))
    return plan


def multiplicities(indices: Tensor, n: int) -> Tensor:
    """Return how often each of n source units is taken: (n,) int64."""
    return torch.bincount(indices, minlength=n)


def split_masses(masses: Tensor, indices: Tensor) -> Tensor:
    """Return the masses of copies that share the mass of their source: p_j / c_j, (m,).

    With these masses duplication keeps the function and the trajectory exactly (claim `transfer.duplication`).

    Args:
        masses: masses of the n source units.
        indices: source unit of each of the m copies.

    Raises:
        ShapeError: a source unit without a copy: its mass would be lost.
    """
    counts = multiplicities(indices, masses.numel())
    lost = int((counts == 0).sum())
    if lost:
        raise ShapeError(f"{lost} of {masses.numel()} units without a copy", "every unit copied", "use balanced copies")
    return (masses / counts)[indices]
