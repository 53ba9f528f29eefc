"""What a plan does along one dimension of a tensor: select units, share out or scale their weights, and back."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from rctheory.architectures.layout import TensorLayout
from rctheory.transfer.units import AxisPlan, first_copies

CHUNK = 1 << 20  # entries that are held in double precision at a time


def write(weights: Tensor, dimension: int, plan: AxisPlan, factors: Tensor | None = None) -> Tensor:
    """Return the weights of the target units along a dimension that is written: copies, times a factor of their source.

    A unit that carries the mean gets the mean of all source units (without factors: a LayerNorm has none).

    Args:
        weights: source weights, with n units along `dimension`; may be overwritten.
        dimension: which.
        plan: source unit of each target unit.
        factors: one for each source unit, (n,), or None for ones.
    """
    if factors is not None:
        weights = weights.mul_(_along(factors.to(weights.dtype), dimension, weights.ndim))
    if plan.means:
        mean = weights.mean(dim=dimension, keepdim=True, dtype=torch.float64).to(weights.dtype)
        weights = torch.cat([weights, mean], dim=dimension)
    return weights.index_select(dimension, plan.indices)


def read(weights: Tensor, dimension: int, plan: AxisPlan, stored: torch.dtype | None = None) -> Tensor:
    """Return the weights of the target units along a dimension that is read: the copies of a unit share its weight.

    The first c - 1 of c copies carry the rounded share w / c and the last one what is then missing, so that the copies
    add up to w without error, in the dtype in which they are stored. Weights that read the mean are zero. A sample
    weighs n / m each, or its shares.

    Args:
        weights: source weights, with n units along `dimension`; may be overwritten.
        dimension: which.
        plan: source unit of each target unit.
        stored: dtype to which shares are rounded before the last one makes up for the rest; by default the weights'.
    """
    if not plan.exact:
        scaled = weights.mul_(_along(plan.read().to(weights.dtype), dimension, weights.ndim))
        return scaled.index_select(dimension, plan.indices)
    # Halves, quarters and so on have no rounding error that a last copy would have to make up for.
    uneven = torch.nonzero((plan.counts & (plan.counts - 1)) != 0).flatten()
    whole = weights.index_select(dimension, uneven) if len(uneven) else None
    weights = weights.div_(_along(plan.counts.to(weights.dtype), dimension, weights.ndim))
    if plan.means:
        zero = torch.zeros_like(weights.narrow(dimension, 0, 1))
        weights = torch.cat([weights, zero], dim=dimension)
    copied = weights.index_select(dimension, plan.indices)
    if whole is not None:
        others = _along((plan.counts[uneven] - 1).to(weights.dtype), dimension, weights.ndim)
        shares = weights.index_select(dimension, uneven)
        if stored is not None:
            shares = shares.to(stored).to(weights.dtype)
        for part, share in _chunks(whole, shares, dimension):
            part.copy_(part.double() - others * share.double())
        copied.index_copy_(dimension, last_copies(plan)[uneven], whole)
    return copied


def add_noise(weights: Tensor, dimension: int, plan: AxisPlan, size: float, random: torch.Generator) -> Tensor:
    """Add normal noise that no output sees, in place: along a read dimension it adds up to zero over copies.

    Equal copies read by different weights drift apart when training goes on (symmetry breaking). Units that are not
    copied get none, those that carry the mean are free: what reads them sees a normalised zero.

    Args:
        weights: target weights, with m units along `dimension`.
        dimension: the dimension that is read.
        plan: source unit of each target unit.
        size: standard deviation of the noise of a weight before it is centred over the copies.
        random: its generator.
    """
    noise = torch.empty_like(weights).normal_(generator=random).mul_(size)
    groups = plan.size + int(plan.means)
    shape = [*weights.shape[:dimension], groups, *weights.shape[dimension + 1 :]]
    counts = torch.bincount(plan.indices, minlength=groups).clamp_(min=1).to(weights.dtype)
    means = torch.zeros(shape, dtype=weights.dtype).index_add_(dimension, plan.indices, noise)
    means.div_(_along(counts, dimension, weights.ndim))
    if plan.means:
        means.narrow(dimension, plan.size, 1).zero_()
    return weights.add_(noise).sub_(means.index_select(dimension, plan.indices))


def unwrite(weights: Tensor, dimension: int, plan: AxisPlan, factors: Tensor | None = None) -> Tensor:
    """Return the source weights along a written dimension: the first copy of each unit, without its factor."""
    kept = weights.index_select(dimension, first_copies(plan))
    return kept if factors is None else kept.div_(_along(factors.to(kept.dtype), dimension, kept.ndim))


def unread(weights: Tensor, dimension: int, plan: AxisPlan) -> Tensor:
    """Return the source weights along a read dimension: the sum over the copies of each unit, rounded once."""
    shape = [*weights.shape[:dimension], plan.size + 1, *weights.shape[dimension + 1 :]]
    summed = torch.empty(shape, dtype=weights.dtype)
    for part, copies in _chunks(summed, weights, dimension):
        total = torch.zeros(part.shape, dtype=torch.float64)
        part.copy_(total.index_add_(dimension, plan.indices, copies.double()))
    return summed.narrow(dimension, 0, plan.size).contiguous()


def last_copies(plan: AxisPlan) -> Tensor:
    """Return the last copy of each source unit of an exact plan, (n,) int64."""
    places = torch.arange(plan.width)
    last = torch.zeros(plan.size + 1, dtype=torch.int64).scatter_reduce(0, plan.indices, places, reduce="amax")
    return last[: plan.size]


def unfold(
    weights: Tensor,
    tensor: TensorLayout,
    dimension: int,
    plans: Mapping[str, AxisPlan],
    place: int,
    *,
    undone: bool = False,
) -> tuple[Tensor, int]:
    """Return the weights with the nest of one dimension unfolded, and the dimension of one axis of it.

    Places before this one have their new sizes already, or, when undoing, still.
    """
    sizes = []
    for at, instance in enumerate(tensor.nests[dimension]):
        changed = instance.name in plans and (at <= place if undone else at < place)
        sizes.append(plans[instance.name].width if changed else instance.size)
    return weights.unflatten(dimension, sizes), dimension + place


def _along(values: Tensor, dimension: int, dimensions: int) -> Tensor:
    """Return a vector in a shape that broadcasts along one of several dimensions."""
    shape = [1] * dimensions
    shape[dimension] = len(values)
    return values.reshape(shape)


def _chunks(first: Tensor, second: Tensor, dimension: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views of two tensors that differ in one dimension only, cut along another one to spare memory."""
    cut = next((d for d in range(first.ndim) if d != dimension), None)
    if cut is None:
        yield first, second
        return
    rows = max(1, CHUNK * first.shape[cut] // max(1, second.numel()))
    yield from zip(first.split(rows, dim=cut), second.split(rows, dim=cut), strict=True)
