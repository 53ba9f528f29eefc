"""Units of one axis through a transfer: where each target unit comes from, and how the weights that touch it scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rctheory.architectures.axes import AxisInstance
from rctheory.errors import ShapeError


@dataclass(frozen=True)
class AxisPlan:
    """Which source unit each of m target units is taken from.

    Args:
        size: number n of source units.
        indices: source unit of each target unit, (m,) int64. The index n stands for the mean of all source units: a
            unit that changes no mean, which is how a LayerNorm grows by a part of its width.
        exact: every unit is kept and its copies share what reads it; else the units are a sample, and what reads them
            is scaled by n / m.
        shares: of a sample drawn with unequal probabilities p_j, what reads a copy of unit j is scaled by instead,
            1 / (m p_j): (n,) float64.

    Raises:
        ShapeError: an index out of range; a unit without a copy, where every unit is to be kept; or shares of an exact
            plan, of another size, or not positive and finite.
    """

    size: int
    indices: Tensor
    exact: bool
    shares: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the indices."""
        if not self.indices.numel() or int(self.indices.min()) < 0 or int(self.indices.max()) > self.size:
            found = f"indices of {self.size} source units"
            raise ShapeError(found, f"at least one index, all in 0..{self.size}", "draw the plan again")
        lost = int((self.counts == 0).sum())
        if self.exact and lost:
            raise ShapeError(f"{lost} of {self.size} units without a copy", "every unit copied", "draw the plan again")
        if self.shares is not None:
            valid = bool((torch.isfinite(self.shares) & (self.shares > 0)).all())
            if self.exact or self.shares.shape != (self.size,) or not valid:
                found = f"{self.shares.numel()} shares for {self.size} units"
                raise ShapeError(found, "one positive share for each unit of a sample", "draw the plan again")

    @property
    def width(self) -> int:
        """Return the number m of target units."""
        return self.indices.numel()

    @cached_property
    def counts(self) -> Tensor:
        """How often each source unit is taken: (n,) int64."""
        return torch.bincount(self.indices, minlength=self.size)[: self.size]

    @property
    def means(self) -> bool:
        """Return whether some target units carry the mean of all source units."""
        return bool((self.indices == self.size).any())

    @property
    def extends(self) -> bool:
        """Return whether every unit has as many copies: tiles, with or without units that carry the mean."""
        return bool((self.counts == self.counts[0]).all())

    def read(self) -> Tensor:
        """Return by what each source unit's reading weights are multiplied: (n,) float64.

        Copies share their source's, 1 / c_i; units of a sample weigh n / m each, or 1 / (m p_i).
        """
        if self.exact:
            return 1.0 / self.counts.to(torch.float64)
        if self.shares is not None:
            return self.shares
        return torch.full((self.size,), self.size / self.width, dtype=torch.float64)

    def write_rms(self) -> Tensor:
        """Return by what each source unit's written value is multiplied so that root mean squares stay: (n,) float64.

        s_i = sqrt((m / n) / c_i): then sum_c s_c^2 x_c^2 / m = sum_i x_i^2 / n (claim `widening.rmsnorm`); 1 where all
        units have as many copies, and for a sample, which keeps the mean square only on average.
        """
        if not self.exact:
            return torch.ones(self.size, dtype=torch.float64)
        return (self.width / self.size / self.counts.to(torch.float64)).sqrt()


def first_copies(plan: AxisPlan) -> Tensor:
    """Return the first copy of each source unit, (n,) int64: what undoing an exact plan keeps.

    Raises:
        ShapeError: the plan is a sample, which forgets units.
    """
    if not plan.exact:
        raise ShapeError("a plan that samples its units", "one that keeps every unit", "transfer the source again")
    kept = plan.indices < plan.size
    first = torch.full((plan.size,), plan.width, dtype=torch.int64)
    places = torch.arange(plan.width)[kept]
    return first.scatter_reduce(0, plan.indices[kept], places, reduce="amin")


def flat_sources(nest: Sequence[AxisInstance], plans: Mapping[str, AxisPlan]) -> Tensor:
    """Return, for each entry of the target along a nest of axes, from which entry of the source it is taken."""
    flat = torch.zeros(1, dtype=torch.int64)
    for instance in nest:
        plan = plans.get(instance.name)
        inner = torch.arange(instance.size) if plan is None else plan.indices
        flat = (flat[:, None] * instance.size + inner).flatten()
    return flat
