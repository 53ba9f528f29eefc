"""Masses on the units of a trained model: every unit counts as 1, a transfer changes by how much it counts.

A sample that takes unit j of n with multiplicity c_j into m units is the model with masses p_j = c_j n / m. So the loss
of every transfer is one function of the masses, and its derivatives at p = 1 are what a transfer will cost.

Where a mass acts follows from the declaration. What reads an axis is multiplied by p. A stream under an RMSNorm enters
its mean square as well: there what writes is multiplied by p^(1/2), gains by p^(-1/2), readers by p; then the norm
sees the weighted mean square. A tied table brings p^(1/2) a second time, so that the gain before it stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.architectures.norms import NormKind
from rctheory.architectures.storage import Naming, Place
from rctheory.checkpoints.pieces import gather, scatter
from rctheory.errors import ShapeError, UsageError

Masses = Mapping[str, Tensor]
"""From the name of an axis instance to the masses of its units, (n,)."""


@dataclass(frozen=True)
class Use:
    """Where a mass acts: a dimension of a tensor, the place of the axis in its nest, and the power of the mass."""

    tensor: str
    dimension: int
    place: int
    power: float
    offset: float = 0.0


def mass_uses(layout: Layout, axis: str) -> tuple[Use, ...]:
    """Return where the masses of an axis instance act.

    Raises:
        ShapeError: no such axis, or one that is not averaged.
        UsageError: an axis under a LayerNorm, whose mean no scaling of weights can weigh.
    """
    touches = layout.touches(axis)
    if not layout.axes[axis].axis.averaged:
        found = f"axis {axis} of {layout.architecture}, which is {layout.axes[axis].axis.role} and not averaged"
        raise ShapeError(found, "an averaged axis", "choose one of those that --legal names")
    norms = {norm.gain: norm for norm in layout.norms if _runs_over(layout, norm.gain, axis)}
    if any(norm.kind is NormKind.LAYER for norm in norms.values()):
        found = f"axis {axis} of {layout.architecture} under a LayerNorm"
        raise UsageError(found, "an axis without a norm, or under an RMSNorm", "predict another axis")
    uses = []
    for touch in touches:
        norm, tensor = norms.get(touch.tensor), layout.tensors[touch.tensor]
        if norm is not None:
            power, offset = (0.0 if norm.feeds else -0.5), norm.offset
        else:
            power, offset = (1.0 if tensor.sums(touch.dimension) else 0.5 if norms else 0.0), 0.0
        if power:
            uses.append(Use(touch.tensor, touch.dimension, touch.place, power, offset))
    return tuple(uses)


class MassedModel:
    """A model of transformers as a function of the masses of its units.

    Args:
        model: a causal language model; its weights stop asking for gradients.
        layout: of its weights.
        axes: instances whose masses may differ from 1.

    Raises:
        ShapeError: an axis that has no masses, or weights under other names than declared.
        UsageError: an axis under a LayerNorm.
    """

    def __init__(self, model: Any, layout: Layout, axes: Sequence[str]) -> None:
        """Find the weights that the masses act on."""
        model.requires_grad_(requires_grad=False)
        self._model, self._axes = model, {name: layout.axes[name].size for name in axes if layout.touches(name)}
        self._weights = {name: weight.detach() for name, weight in model.named_parameters()}
        self._layout = layout.found_in(self._weights)
        self._places = {name: self._layout.place(name, Naming.TRANSFORMERS) for name in self._layout.tensors}
        self._uses: dict[str, list[tuple[str, Use]]] = {}
        for axis in axes:
            for use in mass_uses(self._layout, axis):
                self._uses.setdefault(use.tensor, []).append((axis, use))
        missing = [n for t in self._uses for n in self._places[t].names if n not in self._weights]
        if missing:
            found = f"weight {missing[0]} is not in the model that transformers makes"
            raise ShapeError(found, "the declared names", "use a version of transformers that keeps them")

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return the number of units of each axis instance that carries masses."""
        return self._axes

    def logits(self, windows: Tensor, masses: Masses) -> Tensor:
        """Return logits (B, T, V) of the next token for windows (B, T), differentiable in the masses."""
        changed = self._changed(masses)
        output = functional_call(self._model, changed, (windows,), {"use_cache": False}, tie_weights=True)
        return output.logits  # type: ignore[no-any-return]  # of an untyped package

    def loss(self, windows: Tensor, masses: Masses) -> Tensor:
        """Return the mean cross-entropy, in nats for each token, of the tokens of windows (B, T) after the first."""
        logits = self.logits(windows, masses)[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())

    def _changed(self, masses: Masses) -> dict[str, Tensor]:
        """Return the stored weights that masses change."""
        for axis, values in masses.items():
            if axis not in self._axes or tuple(values.shape) != (self._axes[axis],):
                found = f"masses of shape {tuple(values.shape)} for axis {axis}"
                want = f"({self._axes[axis]},)" if axis in self._axes else f"one of {', '.join(self._axes)}"
                raise ShapeError(found, want, "give one mass for each unit")
        changed: dict[str, Tensor] = {}
        for name, uses in self._uses.items():
            acting = [(use, masses[axis]) for axis, use in uses if axis in masses]
            if acting:
                self._scale(name, acting, changed)
        return changed

    def _scale(self, name: str, acting: Sequence[tuple[Use, Tensor]], changed: dict[str, Tensor]) -> None:
        """Multiply one declared tensor, and put it into the stored ones that hold it."""
        place, tensor = self._places[name], self._layout.tensors[name]
        whole = _is_whole(place, self._weights, tensor)
        stored = {n: changed.get(n, self._weights[n]) for n in place.names}
        weights = stored[place.names[0]] if whole else gather(stored, place)
        for use, values in acting:
            factor = _factor(tensor, use, values.to(weights))
            weights = (weights + use.offset) * factor - use.offset if use.offset else weights * factor
        if whole:
            changed[place.names[0]] = weights
            return
        copies = {n: stored[n] if n in changed else stored[n].clone() for n in place.names}
        scatter(weights, place, copies)
        changed.update(copies)


def _factor(tensor: TensorLayout, use: Use, masses: Tensor) -> Tensor:
    """Return the powers of the masses in a shape that broadcasts over a tensor; a mass of 0 leaves a gain as it is."""
    powers = masses if use.power == 1 else torch.where(masses > 0, masses, 1.0 if use.power < 0 else 0.0) ** use.power
    sizes = [instance.size for instance in tensor.nests[use.dimension]]
    along = powers.reshape(1, -1, 1).expand(prod(sizes[: use.place]), -1, prod(sizes[use.place + 1 :])).reshape(-1)
    shape = [1] * len(tensor.nests)
    shape[use.dimension] = len(along)
    return along.reshape(shape)


def _is_whole(place: Place, stored: Mapping[str, Tensor], tensor: TensorLayout) -> bool:
    """Return whether a declared tensor is one stored tensor, entry by entry."""
    return len(place.pieces) == 1 and not place.pairs and tuple(stored[place.names[0]].shape) == tensor.shape


def _runs_over(layout: Layout, gain: str, axis: str) -> bool:
    """Return whether a norm runs over an axis instance."""
    return gain in layout.tensors and layout.tensors[gain].nests[0][-1].name == axis
