"""Plans of a whole transfer: new widths, and for every axis that changes the source unit of each target unit.

A plan is drawn before any weight is read, can be saved as JSON, and gives the same weights whenever it is replayed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory.architectures.axes import AxisInstance
from rctheory.architectures.layout import Layout
from rctheory.architectures.norms import Norm, NormKind
from rctheory.checkpoints.json_files import read_json
from rctheory.errors import CheckpointError, ShapeError, UsageError
from rctheory.measures.designs import DESIGNS, Weighted
from rctheory.numerics import generator
from rctheory.transfer.operator import Operator
from rctheory.transfer.units import AxisPlan

SCHEMA = "rctheory.transfer-plan/1"


@dataclass(frozen=True)
class TransferPlan:
    """A transfer, down to every unit.

    Args:
        architecture: name of the declaration.
        layers: number of layers.
        sizes: size of each axis in the source.
        targets: size of each axis in the target.
        design: name of the sampling design that drew the units.
        seed: root seed of the units and of the noise.
        noise: standard deviation of symmetry-breaking noise, relative to the root mean square of each tensor.
        axes: by axis instance that changes, its units.
    """

    architecture: str
    layers: int
    sizes: Mapping[str, int]
    targets: Mapping[str, int]
    design: str
    seed: int
    noise: float
    axes: Mapping[str, AxisPlan]

    @property
    def exact(self) -> bool:
        """Return whether every unit of every axis is kept: then no output changes."""
        return all(plan.exact for plan in self.axes.values())

    def operator(self, layout: Layout) -> Operator:
        """Return what the plan does to the weights of a model.

        Raises:
            ShapeError: the plan was made for another model.
        """
        ours = (self.architecture, self.layers, dict(self.sizes))
        theirs = (layout.architecture, layout.layers, layout.sizes)
        if ours != theirs:
            sizes = {k: v for k, v in self.sizes.items() if layout.sizes.get(k) != v} or dict(self.sizes)
            want = f"the model at hand, {layout.architecture} of {layout.layers} layers with {_words(layout.sizes)}"
            found = f"a plan for {self.architecture} of {self.layers} layers with {_words(sizes)}"
            raise ShapeError(found, want, "draw a plan for this model")
        for name, instance in layout.axes.items():
            have = self.axes[name].width if name in self.axes else instance.size
            if have != self.targets.get(instance.axis.name):
                want = f"{self.targets.get(instance.axis.name)}, its new width"
                raise ShapeError(f"a plan with {have} units of axis {name}", want, "draw the plan again")
        return Operator(layout, self.axes, noise=self.noise, seed=self.seed)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        axes = {
            name: {"units": plan.size, "exact": plan.exact, "indices": plan.indices.tolist()}
            | ({} if plan.shares is None else {"shares": plan.shares.tolist()})
            for name, plan in self.axes.items()
        }
        head = {name: getattr(self, name) for name in ("architecture", "layers", "design", "seed", "noise")}
        return {"schema": SCHEMA, **head, "sizes": dict(self.sizes), "targets": dict(self.targets), "axes": axes}


def draw_transfer(
    layout: Layout,
    changes: Mapping[str, int],
    *,
    design: str = "balanced",
    seed: int = 0,
    noise: float = 0.0,
    importance: Callable[[str], Tensor] | None = None,
) -> TransferPlan:
    """Draw the units of every axis instance that a change of widths concerns, each from its own named stream.

    The balanced design keeps every unit when an axis grows, as often as the others or once more; then the transfer is
    exact. Under a LayerNorm, which takes the mean of its stream, the units beyond a multiple of the width carry that
    mean instead. Every other design, and every axis that shrinks, is a sample: unbiased where the axis is averaged.

    Args:
        layout: the source's layout.
        changes: new sizes of axes, by name; of an inner axis, inside each unit of its parent.
        design: name of a sampling design (`measures.DESIGNS`), or `weighted`: draws with probability proportional to
            importance, what reads a unit being scaled by 1 / (m p).
        seed: root seed.
        noise: relative standard deviation of symmetry-breaking noise.
        importance: for the weighted design, from the name of an axis instance to a positive number for each unit.

    Raises:
        ShapeError: no such axis, an axis that is not averaged, or widths that are not legal; the nearest legal ones
            are named.
        LawError: a width that the design cannot give.
        UsageError: no such design, or noise that is negative or not finite.
    """
    names = sorted({*DESIGNS, Weighted.name})
    if design not in names:
        raise UsageError(f"design {design!r}", f"one of {', '.join(names)}", "choose one of these")
    if design == Weighted.name and importance is None:
        raise UsageError("the weighted design without importance", "a number for each unit", "give importance")
    if not 0 <= noise < float("inf"):
        raise UsageError(f"noise {noise}", "a finite number >= 0", "give a relative standard deviation")
    targets = layout.widths.resize(layout.sizes, changes)
    axes = {
        name: _draw(layout, instance, targets[instance.axis.name], design, seed, importance)
        for name, instance in layout.axes.items()
        if targets[instance.axis.name] != instance.size
    }
    plan = TransferPlan(layout.architecture, layout.layers, layout.sizes, targets, design, seed, noise, axes)
    plan.operator(layout)
    return plan


def _draw(
    layout: Layout,
    instance: AxisInstance,
    m: int,
    design: str,
    seed: int,
    importance: Callable[[str], Tensor] | None,
) -> AxisPlan:
    """Draw the units of one axis instance, in an order that carries nothing."""
    n, random = instance.size, generator(seed, "transfer", design, instance.name, m)
    if design == Weighted.name and importance is not None:
        weighted = Weighted(importance(instance.name))
        return AxisPlan(n, weighted.draw(n, m, random), exact=False, shares=weighted.shares(m))
    exact = design == "balanced" and m >= n
    if exact and m % n and _takes_mean(layout, instance.name):
        indices = torch.cat([torch.arange(n).repeat(m // n), torch.full((m % n,), n)])
    else:
        indices = DESIGNS[design].draw(n, m, random)
    return AxisPlan(n, indices[torch.randperm(m, generator=random)], exact)


def grows_by_parts(layout: Layout, axis: str) -> bool:
    """Return whether an axis instance can grow exactly by a part of its width, and not by multiples alone.

    A LayerNorm takes the mean of its stream. Where it stands before what reads it, units that carry the mean can fill
    the rest; where its output is the stream itself, they cannot.
    """
    norms = _norms(layout, axis)
    return all(norm.kind is NormKind.RMS or norm.epsilon for norm in norms)


def _takes_mean(layout: Layout, axis: str) -> bool:
    """Return whether an axis grows by units that carry the mean of its stream."""
    return grows_by_parts(layout, axis) and any(norm.kind is NormKind.LAYER for norm in _norms(layout, axis))


def _norms(layout: Layout, axis: str) -> list[Norm]:
    """Return the norms over an axis instance."""
    touching = {touch.tensor for touch in layout.touches(axis)}
    return [norm for norm in layout.norms if norm.gain in touching]


def save_plan(plan: TransferPlan) -> str:
    """Return a plan as JSON text."""
    return json.dumps(plan.as_dict(), ensure_ascii=False, allow_nan=False) + "\n"


def load_plan(path: Path) -> TransferPlan:
    """Read a plan: a file of its own, or the record that a transfer left beside its weights.

    Raises:
        CheckpointError: the file cannot be read, is no plan, holds one that contradicts itself, or is the record of
            a model whose weights do not follow from its plan.
    """
    values = read_json(path)
    if values.get("refitted"):
        found = f"{path} of a model in which {len(values['refitted'])} tensors were refitted on text"
        raise CheckpointError(found, "a plan from which every weight follows", "prune the source again")
    return plan_from(values.get("plan", values), str(path))


def plan_from(values: Any, source: str) -> TransferPlan:
    """Return the plan that plain values stand for.

    Args:
        values: as `TransferPlan.as_dict` gives them.
        source: where they come from, for errors.

    Raises:
        CheckpointError: they are no plan, or one that contradicts itself.
    """
    want, remedy = "a plan that rctheory transfer wrote", "draw the plan again"
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise CheckpointError(f"{source} without the schema {SCHEMA}", want, remedy)
    try:
        axes = {
            str(name): AxisPlan(
                int(axis["units"]), _indices(axis["indices"]), axis["exact"] is True, _shares(axis.get("shares"))
            )
            for name, axis in values["axes"].items()
        }
        sizes, targets = ({str(k): int(v) for k, v in values[key].items()} for key in ("sizes", "targets"))
        if not 0 <= float(values["noise"]) < float("inf"):
            raise ValueError(f"noise {values['noise']}")
        head = (str(values["architecture"]), int(values["layers"]), sizes, targets, str(values["design"]))
        return TransferPlan(*head, int(values["seed"]), float(values["noise"]), axes)
    except (ValueError, KeyError, TypeError, AttributeError, ShapeError) as error:
        raise CheckpointError(f"{source}: {type(error).__name__}: {error}", want, remedy) from error


def _indices(values: Any) -> Tensor:
    """Return indices; a fraction is none."""
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError("indices that are not whole numbers")
    return torch.tensor(values, dtype=torch.int64)


def _shares(values: Any) -> Tensor | None:
    """Return the shares of a weighted sample; None where there are none."""
    return None if values is None else torch.tensor(values, dtype=torch.float64)


def _words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())
