"""Multiplicative effects: do rows, or columns, differ in scale?"""

import torch
from torch import Tensor

from rctheory.statistics.arrays.components import mean_effects
from rctheory.statistics.arrays.outcome import ArrayTest, require_arrays, require_axis

QUANTISED = 32  # entries of a row that the common quantised formats round together
BLOCK = 1 << 20  # entries
ENOUGH = 16 * QUANTISED  # columns from which whole quantised blocks leave enough of them to flip


def log_sizes(W: Tensor) -> Tensor:
    """Return log |W_ij|, with |W_ij| at least half the smallest nonzero size of its array (..., m, n).

    The floor depends on the set of entries alone, so a permutation of rows or columns commutes with it.
    """
    sizes = require_arrays(W).abs()
    smallest = sizes.new_full((*sizes.shape[:-2], 1, 1), torch.inf)
    # A block of rows at a time: of a large array one copy is enough.
    for block in sizes.split(max(1, BLOCK // max(1, sizes[..., :1, :].numel())), dim=-2):
        least = torch.where(block > 0, block, torch.inf).amin(dim=(-1, -2), keepdim=True)
        torch.minimum(smallest, least, out=smallest)
    floor = torch.where(smallest.isfinite(), smallest / 2, 1.0).clamp(min=torch.finfo(sizes.dtype).tiny)
    return torch.maximum(sizes, floor, out=sizes).log_()


def scale_effects(W: Tensor, axis: str) -> ArrayTest:
    """Test that the scales of the lines along an axis differ, as in W_ij = s_i t_j e_ij: `mean_effects` of log |W_ij|.

    A scale of the other axis is a mean effect on the log scale and is removed. Row means in W itself also move
    log |W|: test the residuals where there are mean effects. From 512 columns on, rows are summed over whole blocks
    of 32 entries: the small entries of a quantised block fall on the same few levels, so their logarithms are
    dependent. With fewer columns that dependence is not guarded against.

    Args:
        W: arrays (..., m, n).
        axis: `rows` or `columns`; whose scales are tested.

    Returns:
        As `mean_effects`; effect: share of the variance of log |W_ij|, the other axis' means removed.

    Raises:
        ShapeError: fewer than two rows or columns.
        UsageError: an unknown axis.
        NumericsError: an entry is NaN or infinite.

    Source: claim `array.calibration`.
    """
    return log_scale_effects(log_sizes(W), axis)


def log_scale_effects(logs: Tensor, axis: str) -> ArrayTest:
    """Return `scale_effects` of the arrays whose `log_sizes` are given."""
    aligned = QUANTISED if require_axis(axis) == "rows" and logs.shape[-1] >= ENOUGH else 1
    return mean_effects(logs, axis, aligned=aligned)
