"""Statistics of order under random permutations of the units: the observed order and B random ones, in batches."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rctheory.numerics import chunks, numpy_generator, require_finite, tolerance
from rctheory.statistics.order import ROUNDING, Columns, OrderStatistic, Permuted

BATCH_BYTES = 4 << 20  # one batch of permuted arrays: small enough for the caches


def prepare(name: str, array: Tensor) -> Tensor:
    """Centre over the units and scale to a unit sum of squares, in float64; equal units become zero.

    Raises:
        NumericsError: an entry is NaN or infinite.
    """
    x = require_finite(name, array.to(torch.float64))
    centred = x - x.mean(dim=-1, keepdim=True)
    total, square = (values.reshape(-1).dot(values.reshape(-1)) for values in (centred, x))
    rounding = tolerance(torch.float64, terms=8 * x.shape[-1]) ** 2 * square
    return torch.zeros_like(x) if total <= rounding else centred.div_(total.sqrt())


def replicate(columns: Columns, statistics: Sequence[OrderStatistic], *, permutations: int, seed: int) -> np.ndarray:
    """Return z-scores of every statistic of every array, (B + 1, arrays, statistics), the observed order first.

    With t^0 the observed value of a statistic of an array and t^1 .. t^B those under random permutations,
    z^k = (t^k - mean) / sd, with mean and sd over all B + 1 of them; a statistic that never changes scores zero.

    The stream of permutations is named by blocks and units: what has the same structure shares its permutations.

    Args:
        columns: prepared arrays of shape (blocks, copies, n) with the same blocks and n.
        statistics: at least one.
        permutations: B.
        seed: root seed.
    """
    blocks, n = columns.blocks, columns.units
    random = numpy_generator(seed, "permutations", blocks, n)
    order = np.arange(blocks * n, dtype=np.int64).reshape(blocks, n)
    result = np.empty((permutations + 1, columns.arrays, len(statistics)))
    batches = chunks(permutations + 1, columns.rows.nbytes, BATCH_BYTES)
    # One buffer for all batches: fresh memory would cost more time than the arithmetic.
    buffer = np.empty((len(batches[0]), blocks, n, columns.rows.shape[1]), dtype=np.float32)
    for batch in batches:
        orders = np.repeat(order[None], len(batch), axis=0)
        drawn = orders[1:] if batch.start == 0 else orders  # the first order of all is the observed one
        random.permuted(drawn, axis=2, out=drawn)
        permuted = Permuted(columns, orders, buffer)
        for place, statistic in enumerate(statistics):
            result[batch.start : batch.stop, :, place] = statistic(permuted)
    return _standardise(result)


def _standardise(values: np.ndarray) -> np.ndarray:
    """Turn values into z-scores along the first axis, in place; what varies by rounding alone scores zero."""
    mean = values.mean(axis=0)
    values -= mean
    spread = np.sqrt(np.einsum("k...,k...->...", values, values) / len(values))
    varies = spread > ROUNDING * np.abs(mean)
    np.divide(values, spread, out=values, where=varies)
    np.copyto(values, 0.0, where=~varies)
    return values
