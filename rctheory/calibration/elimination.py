"""Least squares on a sample of units: which to keep, and what reads them afterwards.

Outputs Y (T, D) are to be made from hidden units H (T, n) of which only m may be kept: minimise |Y - H_S W_S|^2 over
the kept set S and the weights W_S. All that is needed is the Gram matrix G = H'H and C = H'Y; no T x T matrix is made.

Units are taken away backwards. With W = G^-1 C, the units kept so far without unit j miss
|w_j|^2 / (G^-1)_jj more, and the others take over its part: w_k -= (G^-1)_kj w_j / (G^-1)_jj.
Source: backward elimination in regression; Hassibi and Stork 1993 (optimal brain surgeon) for weights.
"""

import torch
from torch import Tensor

from rctheory.errors import ShapeError, UsageError

_SILENT = 1e-9  # least mean square of a unit relative to the largest: one that is never active still has weights


def ridge(gram: Tensor, cross: Tensor, prior: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Return G + c diag(G) and C + c diag(G) W0: the same minimum, drawn towards the weights W0.

    Directions that the calibration text does not show keep the weights that training gave them. Each unit is drawn in
    its own scale: mean squares of units differ by orders of magnitude.

    Args:
        gram: (n, n).
        cross: (n, D).
        prior: W0, (n, D).
        strength: c.

    Raises:
        UsageError: no unit is ever active, or a strength that is not positive.
    """
    diagonal = gram.diagonal()
    if not (strength > 0 and float(diagonal.max()) > 0):
        raise UsageError(f"a ridge of {strength:g}", "a positive one, and units that are active", "give more text")
    own = strength * diagonal.clamp(min=float(diagonal.max()) * _SILENT)
    return gram + own.diag(), cross + own[:, None] * prior.to(cross)


def refit(gram: Tensor, cross: Tensor, kept: Tensor) -> Tensor:
    """Return the weights (m, D) of the kept units (m,) that miss the outputs least."""
    part = gram.index_select(0, kept).index_select(1, kept)
    return torch.linalg.solve(part, cross.index_select(0, kept))  # type: ignore[no-any-return]  # of torch


def eliminate(gram: Tensor, cross: Tensor, m: int, *, group: int = 1, block: int = 16) -> Tensor:
    """Return the m units that are left when the others are taken away one by one, each time the one missed least.

    Args:
        gram: G with its ridge, (n g, n g): units of g columns each.
        cross: C, (n g, D).
        m: how many units stay.
        group: columns g of a unit: 1 for a neuron, the width of a head or of a group of heads for attention.
        block: most units that are taken away before the costs are computed again; one of 16 costs nothing that
            can be measured and is ten times as fast.

    Returns:
        (m,) int64, ascending.

    Raises:
        ShapeError: sizes that do not fit.
        UsageError: m is not in 1..n.
    """
    columns = len(gram)
    if gram.ndim != 2 or gram.shape[1] != columns or cross.shape[0] != columns or columns % group:
        found = f"a Gram matrix {tuple(gram.shape)} and cross products {tuple(cross.shape)} in groups of {group}"
        raise ShapeError(found, "one row of each for every column of every unit", "build both from the same units")
    n = columns // group
    if not 1 <= m <= n:
        raise UsageError(f"{m} units of {n}", f"1 to {n}", "choose a smaller width")
    left = torch.arange(n, device=gram.device)
    inverse = torch.linalg.inv(gram)
    weights = inverse @ cross
    while len(left) > m:
        away = _costs(inverse, weights, group).argsort()[: min(block, len(left) - m)]
        stay = torch.ones(len(left), dtype=torch.bool, device=gram.device).index_fill(0, away, value=False).nonzero()
        inverse, weights = _without(inverse, weights, _flat(away, group), _flat(stay.flatten(), group))
        left = left[stay.flatten()]
    return left


def _costs(inverse: Tensor, weights: Tensor, group: int) -> Tensor:
    """Return what is missed more without each unit: tr(W_u' (G^-1)_uu^-1 W_u)."""
    if group == 1:
        return weights.square().sum(dim=1) / inverse.diagonal()
    units = len(inverse) // group
    blocks = inverse.reshape(units, group, units, group).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    parts = weights.reshape(units, group, -1)
    costs: Tensor = (parts * torch.linalg.solve(blocks, parts)).sum(dim=(1, 2))
    return costs


def _without(inverse: Tensor, weights: Tensor, away: Tensor, stay: Tensor) -> tuple[Tensor, Tensor]:
    """Return G^-1 and W of the columns that stay, by the Schur complement."""
    cross = inverse.index_select(0, stay).index_select(1, away)
    block = inverse.index_select(0, away).index_select(1, away)
    taken = torch.linalg.solve(block, torch.cat([cross.T, weights.index_select(0, away)], dim=1))
    rest = inverse.index_select(0, stay).index_select(1, stay)
    kept = weights.index_select(0, stay) - cross @ taken[:, len(stay) :]
    return rest - cross @ taken[:, : len(stay)], kept


def _flat(units: Tensor, group: int) -> Tensor:
    """Return the columns of units."""
    return (units[:, None] * group + torch.arange(group, device=units.device)).flatten()
