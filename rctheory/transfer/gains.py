"""Gains and biases of norms under a plan: by what they are multiplied, and back.

The gain of a copy undoes the factor of what writes it, 1 / s_i; the gain before a tied head carries n / m instead,
because the tied table brings s_i a second time. Gains may be stored with an offset: the sum of both is multiplied.
Source: claims `widening.rmsnorm`, `widening.layernorm`, `widening.tied-head`.
"""

from math import sqrt

import torch
from torch import Tensor

from rctheory.architectures.norms import Norm, NormKind
from rctheory.transfer import copies
from rctheory.transfer.units import AxisPlan


def layer_scale(plan: AxisPlan) -> float:
    """Return the variance of a stream grown by its mean, relative to the source's: k n / m with k copies of a unit."""
    return int(plan.counts[0]) * plan.size / plan.width if plan.means else 1.0


def norm_factors(norm: Norm, plan: AxisPlan, root: float, *, bias: bool) -> Tensor:
    """Return the factors of the gain or the bias of a norm, by source unit: (n,) float64.

    Args:
        norm: which.
        plan: units of its axis.
        root: by what the tied table is multiplied because the software multiplies it too; 1 where it does not.
        bias: of the bias; else of the gain.
    """
    tied = _tied(plan) / root if norm.feeds else torch.ones(plan.size, dtype=torch.float64)
    if bias:
        return tied
    if norm.kind is NormKind.RMS and not norm.feeds:
        return 1 / plan.write_rms()
    return tied * sqrt(layer_scale(plan))


def _tied(plan: AxisPlan) -> Tensor:
    """Return by what a tied head has become too large, inverted: the number of copies of a unit, or its share."""
    if not plan.exact:
        return plan.read()
    copied = 1 / int(plan.counts[0]) if plan.means else plan.size / plan.width
    return torch.full((plan.size,), copied, dtype=torch.float64)


def _shared(plan: AxisPlan, factors: Tensor, offset: float) -> bool:
    """Return whether the copies of each unit add up to it."""
    whole = plan.counts * factors
    return plan.exact and not plan.means and not offset and torch.allclose(whole, torch.ones_like(whole), rtol=1e-12)


def grow(
    parts: Tensor, dimension: int, plan: AxisPlan, factors: Tensor, offset: float, stored: torch.dtype | None = None
) -> Tensor:
    """Return the gain or bias of the target; units that carry the mean have neither.

    Before a tied head the copies of a unit count by their sum alone, and share it like what reads them.
    """
    if _shared(plan, factors, offset):
        return copies.read(parts, dimension, plan, stored)
    scaled = ((parts.double() + offset) * factors - offset).to(parts.dtype)
    if plan.means:
        scaled = torch.cat([scaled, torch.full_like(scaled.narrow(dimension, 0, 1), -offset)], dim=dimension)
    return scaled.index_select(dimension, plan.indices)


def shrink(parts: Tensor, dimension: int, plan: AxisPlan, factors: Tensor, offset: float) -> Tensor:
    """Return the gain or bias of the source from that of the target."""
    if _shared(plan, factors, offset):
        return copies.unread(parts, dimension, plan)
    kept = copies.unwrite(parts, dimension, plan).double()
    return ((kept + offset) / factors - offset).to(parts.dtype)
