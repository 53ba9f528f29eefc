"""Which units of an axis to keep, from Gram matrix and cross products alone.

Unit j writes h_j(t) w_j into the stream. Two units are alike when they write alike:

    k(i, j) = sum_t <h_i(t) w_i, h_j(t) w_j> = G_ij <w_i, w_j>,

a kernel of n x n numbers, whatever the length of the text. The designs differ in what they keep of it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rctheory.calibration.elimination import eliminate
from rctheory.errors import UsageError

Selection = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]
"""From G (n g, n g), C (n g, D), trained weights (n g, D), m and g to the kept units (m,), ascending."""


def contributions(gram: Tensor, prior: Tensor, group: int) -> Tensor:
    """Return the kernel k of what units write, (n, n)."""
    kernel = gram * (prior @ prior.T)
    units = len(kernel) // group
    return kernel.reshape(units, group, units, group).sum(dim=(1, 3))


def by_importance(gram: Tensor, _cross: Tensor, prior: Tensor, m: int, group: int) -> Tensor:
    """Keep the m units that write most: sqrt(k_jj), root mean square activation times column norm."""
    return contributions(gram, prior, group).diagonal().topk(m).indices.sort().values


def by_elimination(gram: Tensor, cross: Tensor, _prior: Tensor, m: int, group: int) -> Tensor:
    """Keep what backward elimination leaves: units that the others cannot make good for."""
    return eliminate(gram, cross, m, group=group)


def by_herding(gram: Tensor, _cross: Tensor, prior: Tensor, m: int, group: int) -> Tensor:
    """Keep m units whose span holds most of what all units write: pivoted Cholesky of the kernel k.

    Kernel quadrature with the best weights for the chosen nodes; each step takes the unit that is missed most, the one
    with the largest residual k_jj - k_jS k_SS^-1 k_Sj.
    Source: Bach 2017 (arXiv 1502.06800) for the equivalence of herding, quadrature and random features.
    """
    kernel = contributions(gram, prior, group)
    factor = torch.zeros(len(kernel), m, dtype=kernel.dtype)
    left = kernel.diagonal().clone()
    kept = torch.empty(m, dtype=torch.int64)
    for step in range(m):
        unit = int(left.argmax())
        kept[step] = unit
        column = kernel[:, unit] - factor[:, :step] @ factor[unit, :step]
        factor[:, step] = column / column[unit].clamp(min=1e-300).sqrt()
        left = left - factor[:, step].square()
        left[kept[: step + 1]] = -torch.inf
    return kept.sort().values


SELECTIONS: dict[str, Selection] = {
    "elimination": by_elimination,
    "importance": by_importance,
    "herding": by_herding,
}
"""Every way to choose, by name."""


def selection(name: str) -> Selection:
    """Return a way to choose.

    Raises:
        UsageError: no such name.
    """
    if name not in SELECTIONS:
        raise UsageError(f"selection {name!r}", f"one of {', '.join(SELECTIONS)}", "choose one of these")
    return SELECTIONS[name]
