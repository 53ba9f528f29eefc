"""Units whose absence no derivative describes: found by what they write, and removed one by one from the source.

A unit may write most of the stream of a few tokens (an attention sink, a delimiter). The norm behind it divides by its
size, so that a little more or less of it changes nothing: derivatives in its mass are small at 1, and its removal is
not. Such units are rare, and one forward pass finds them, by the largest share of a token's stream that a unit writes.
Source: massive activations, arXiv 2402.17762.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from rctheory.architectures.readers import Reader, reader_of
from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.prediction.influence import Influence
from rctheory.prediction.masses import MassedModel
from rctheory.transfer.layers import LayeredModel, watching

Report = Callable[[int, int], None]

SHARE = 0.25  # of a token's stream: units that write more are removed
EACH = 2  # units of one axis: after the embedding, where the stream is small, many units write much of it
MOST = 12  # units in all, the largest shares first: each costs a forward pass of the text


@torch.no_grad()
def write_shares(model: LayeredModel, windows: Tensor, axes: Sequence[str]) -> dict[str, Tensor]:
    """Return the largest share |h_j(t) w_j| / |stream after the layer| over tokens t, of every unit j, (n,) by axis.

    Axes that no single matrix reads, or whose matrix is stored with others, are left out.

    Args:
        model: the source.
        windows: tokens (B, T).
        axes: axis instances.
    """
    places: dict[int, dict[str, Reader]] = {}
    for axis in axes:
        with suppress(UsageError, ShapeError):
            reader = reader_of(model.layout, axis)
            model.weight(reader.tensor)
            layer = model.layout.tensors[reader.tensor].layer
            if layer is not None:
                places.setdefault(layer, {})[axis] = reader
    largest: dict[str, Tensor] = {}
    for chunk in model.start(windows) if places else []:
        for number in range(max(places) + 1):
            for axis, reader in places.get(number, {}).items():
                with watching(model.module_of(reader.tensor)) as seen:
                    after = model.run(number, chunk)
                found = _shares(seen[0], model.weight(reader.tensor), reader, after)
                largest[axis] = torch.maximum(found, largest.get(axis, found))
            chunk.stream = model.run(number, chunk)
    return largest


def _shares(hidden: Tensor, weight: Tensor, reader: Reader, stream: Tensor) -> Tensor:
    """Return the largest share of every unit over the tokens of a chunk."""
    parts = weight.reshape(-1, reader.group, weight.shape[1])
    h = hidden.flatten(0, -2).unflatten(1, (-1, reader.group))
    squares = torch.einsum("tng,ngk,tnk->tn", h, parts @ parts.mT, h)
    written: Tensor = squares.clamp(min=0).sqrt() / stream.flatten(0, -2).norm(dim=-1, keepdim=True)
    return written.max(dim=0).values.double()


def candidates(
    shares: Mapping[str, Tensor], share: float = SHARE, each: int = EACH, most: int = MOST
) -> list[tuple[str, int]]:
    """Return the units, as axis and number, that write more than a share of some token's stream; the largest first.

    Args:
        shares: of every unit, by axis instance.
        share: least of them.
        each: most units of one axis.
        most: most units in all.
    """
    found = []
    for axis, values in shares.items():
        large = [(float(values[j]), axis, j) for j in (values > share).nonzero().flatten().tolist()]
        found += sorted(large, reverse=True)[:each]
    return [(axis, unit) for _, axis, unit in sorted(found, key=lambda one: -one[0])[:most]]


@torch.no_grad()
def with_removals(
    influence: Influence,
    model: MassedModel,
    windows: Tensor,
    units: Sequence[tuple[str, int]],
    report_progress: Report = lambda _done, _all: None,
) -> Influence:
    """Return an influence that knows the loss without each of some units. Cost: a forward pass of the text for each.

    Args:
        influence: measured on the same model and windows.
        model: the source as a function of masses.
        windows: tokens (B, T + 1).
        units: axis instance and number of each.
        report_progress: takes units done and all units.

    Raises:
        NumericsError: a loss that is not finite.
    """
    removals: dict[str, dict[int, float]] = {}
    for number, (axis, unit) in enumerate(units):
        masses = torch.ones(model.sizes[axis], dtype=torch.float64)
        masses[unit] = 0
        losses = [float(model.loss(window[None], {axis: masses})) for window in windows]
        change = float(torch.tensor(losses, dtype=torch.float64).mean()) - influence.loss
        if not abs(change) < float("inf"):
            raise NumericsError(f"a loss without unit {unit} of {axis} that is not finite", "a finite one", "check it")
        removals.setdefault(axis, {})[unit] = change
        report_progress(number + 1, len(units))
    return replace(influence, removals=removals)
