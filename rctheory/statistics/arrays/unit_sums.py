"""One axis of an array against the other: what correlations of pairs inside a unit need, from O(mn) sums.

The *units* are the rows. Every column is centred, so that nothing which a column has in common counts as a correlation.
Large arrays are read a block of rows at a time, in the caches, and never copied as a whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.numerics import chunks, tolerance

BLOCK_BYTES = 2 << 20  # one block of rows of one chunk of replicates: small enough for the caches


@dataclass(frozen=True)
class UnitSums:
    """Sums over the centred entries y of arrays (..., m, n), in float64.

    Args:
        totals: S_i = sum_j y_ij, (..., m).
        squares: Q_i = sum_j y_ij^2, (..., m).
        fourths: F_i = sum_j y_ij^4, (..., m).
        column_squares: q_j = sum_i y_ij^2, (..., n).
        size: Q = sum_ij y_ij^2, (...); NaN where it is no more than rounding, so that no ratio to it means anything.
    """

    totals: Tensor
    squares: Tensor
    fourths: Tensor
    column_squares: Tensor
    size: Tensor


@dataclass(frozen=True)
class RowSums(UnitSums):
    """Sums with the rows as units, and what neighbouring rows have in common.

    Args:
        next_products: D_i = sum_j y_ij y_{i+1,j+1}, indices cyclic, (..., m).
        own_products: sum_ij y_ij y_{i,j+1}, (...).
    """

    next_products: Tensor
    own_products: Tensor


def replicates(*arrays: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield arrays of the same leading axes a chunk of replicates at a time, each as (b, m, n)."""
    flat = [array.reshape(-1, *array.shape[-2:]) for array in arrays]
    bytes_each = max(array[0].numel() * array.element_size() for array in flat)
    for chunk in chunks(flat[0].shape[0], bytes_each, BLOCK_BYTES):
        yield tuple(array[chunk.start : chunk.stop] for array in flat)


def row_blocks(array: Tensor) -> list[range]:
    """Split the rows of arrays (b, m, n) into blocks that fit the caches."""
    b, m, n = array.shape
    return chunks(m, b * n * array.element_size(), BLOCK_BYTES)


def column_means(array: Tensor) -> Tensor:
    """Return the mean of every column of arrays (b, m, n), (b, n), in float64."""
    b, m, n = array.shape
    sums = torch.zeros(b, n, dtype=torch.float64)
    # Means of blocks: in float32 a long sum of entries of one sign would round.
    for rows in row_blocks(array):
        sums += array[:, rows.start : rows.stop].mean(dim=1).double() * len(rows)
    return sums / m


def sums_of_rows(array: Tensor) -> RowSums:
    """Sum over arrays (b, m, n) with the rows as units."""
    b, m, n = array.shape
    means = column_means(array).to(array.dtype).unsqueeze(1)
    # Filled in place: small results kept between blocks would stop the allocator from using the memory of one again.
    totals, squares, fourths, products = torch.empty(4, b, m, dtype=torch.float64)
    columns, own = torch.zeros(b, n, dtype=torch.float64), torch.zeros(b, dtype=torch.float64)
    for rows in row_blocks(array):
        y = array[:, rows.start : rows.stop] - means
        following = array[:, rows.stop % m].unsqueeze(1) - means  # the row after the block
        square = y * y
        columns += square.sum(dim=1).double()
        own += _shifted(y, y).sum(dim=1)
        here = slice(rows.start, rows.stop)
        totals[:, here], squares[:, here] = y.sum(dim=2), square.sum(dim=2)
        fourths[:, here] = square.square_().sum(dim=2)
        products[:, rows.start : rows.stop - 1] = _shifted(y[:, :-1], y[:, 1:])
        products[:, rows.stop - 1 : rows.stop] = _shifted(y[:, -1:], following)
    size = known_size(columns, m * means.squeeze(1).double().square().sum(dim=1), array.dtype)
    return RowSums(totals, squares, fourths, columns, size, products, own)


def sums_of_columns(array: Tensor) -> UnitSums:
    """Sum over arrays (b, m, n) with the columns as units: every row is centred."""
    b, m, n = array.shape
    sums, removed = torch.zeros(3, b, n, dtype=torch.float64), torch.zeros(b, dtype=torch.float64)
    squares = torch.empty(b, m, dtype=torch.float64)
    for rows in row_blocks(array):
        x = array[:, rows.start : rows.stop]
        means = x.mean(dim=2, keepdim=True)
        y = x - means
        removed += n * means.double().square().sum(dim=(1, 2))
        square = y * y
        squares[:, rows.start : rows.stop] = square.sum(dim=2)
        sums += torch.stack([y.sum(dim=1), square.sum(dim=1), square.square_().sum(dim=1)]).double()
    return UnitSums(sums[0], sums[1], sums[2], squares, known_size(squares, removed, array.dtype))


def known_size(squares: Tensor, removed: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the sum of squares (b, k) over k, or NaN where centring in `dtype` left nothing but rounding.

    Args:
        squares: sums of squares of centred entries.
        removed: sum of squares of the means that were taken away, (b,).
        dtype: in which they were taken away.
    """
    size = squares.sum(dim=1)
    known = size > tolerance(dtype, terms=8) ** 2 * (size + removed)
    return torch.where(known, size, torch.nan)


def _shifted(first: Tensor, second: Tensor) -> Tensor:
    """Return sum_j first_ij second_{i,j+1}, the index cyclic, for (b, k, n): (b, k), in float64."""
    inside = (first[..., :-1] * second[..., 1:]).sum(dim=-1)
    return (inside + first[..., -1] * second[..., 0]).double()
