"""Axes: sets of units that tensor dimensions run over, and the symmetry that each of them has."""

from dataclasses import dataclass
from enum import StrEnum

from rctheory.errors import LawError


class Role(StrEnum):
    """What the units of an axis are."""

    INPUT = "input"
    OUTPUT = "output"
    RESIDUAL = "residual"
    HIDDEN = "hidden"
    GROUP = "group"
    HEAD = "head"
    HEAD_DIM = "head_dim"
    VOCABULARY = "vocabulary"
    POSITION = "position"
    EXPERT = "expert"
    CHANNEL = "channel"
    FIXED = "fixed"


class Scope(StrEnum):
    """How often an axis exists: once in the model, or once in each layer."""

    MODEL = "model"
    LAYER = "layer"


@dataclass(frozen=True)
class Axis:
    """A set of units that tensor dimensions run over.

    Args:
        name: its name, without dots of the layer or its parents.
        role: what its units are.
        exchangeable: permuting the units (inside their parent) in every tensor that touches them changes nothing.
        averaged: a growing axis, integrated against a probability; else it is fixed and summed.
        scope: one axis in the model, or one in each layer.
        parent: the axis inside whose units this one is permuted; None for an outermost axis.
        shared: it may stand inside other axes without a parent, because all of their units share its order.

    Raises:
        LawError: averaged but not exchangeable (there is no law to integrate against), another scope than its parent,
            or shared and a parent.
    """

    name: str
    role: Role
    exchangeable: bool
    averaged: bool = False
    scope: Scope = Scope.MODEL
    parent: "Axis | None" = None
    shared: bool = False

    def __post_init__(self) -> None:
        """Refuse what defines no law."""
        if self.averaged and not self.exchangeable:
            found = f"axis {self.name} is averaged but not exchangeable"
            raise LawError(found, "an averaged axis to be exchangeable", "declare exchangeable=True or averaged=False")
        if self.parent is not None and self.parent.scope != self.scope:
            found = f"axis {self.name} has scope {self.scope}, its parent {self.parent.name} {self.parent.scope}"
            raise LawError(found, "one scope", "give both the same scope")
        if self.parent is not None and self.shared:
            found = f"axis {self.name} is shared and has parent {self.parent.name}"
            raise LawError(found, "one order for all units, or one in each unit of the parent", "declare one of them")

    @property
    def path(self) -> str:
        """Return the name with its parents, outermost first: `group/head`."""
        return self.name if self.parent is None else f"{self.parent.path}/{self.name}"

    def instance(self, layer: int | None) -> str:
        """Return the name of this axis in one layer: `layers.3.ffn`, or `residual` for an axis of the model."""
        return self.path if self.scope is Scope.MODEL else f"layers.{layer}.{self.path}"


Nest = tuple[Axis, ...]


@dataclass(frozen=True)
class AxisInstance:
    """An axis in one place of one model: `name` such as `layers.3.group/head`, and its number of units."""

    name: str
    axis: Axis
    size: int
