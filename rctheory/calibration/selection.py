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
from rctheory.measures.quadrature import Herding, Quantisation
from rctheory.measures.rules import FeatureDesign
from rctheory.numerics import generator

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


def by_features(design: FeatureDesign) -> Selection:
    """Return the selection of a feature design, which sees units by features whose inner products are k."""

    def choose(gram: Tensor, _cross: Tensor, prior: Tensor, m: int, group: int) -> Tensor:
        values, vectors = torch.linalg.eigh(contributions(gram, prior, group))
        features = vectors * values.clamp(min=0).sqrt()
        picked = design.choose(features, m, generator(0, "calibration", design.name)).indices.unique()
        if len(picked) < m:  # one unit may stand for several equal ones: the largest of the others fill up
            sizes = features.square().sum(dim=1)
            sizes[picked] = -1
            picked = torch.cat([picked, sizes.topk(m - len(picked)).indices])
        ascending: Tensor = picked.sort().values
        return ascending

    return choose


SELECTIONS: dict[str, Selection] = {
    "elimination": by_elimination,
    "importance": by_importance,
    "herding": by_features(Herding()),
    "quantisation": by_features(Quantisation()),
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
