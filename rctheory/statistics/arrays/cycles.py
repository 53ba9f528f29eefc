"""Sums of four-cycles."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from rctheory.numerics import chunks
from rctheory.statistics.arrays.tails import without_diagonal

BLOCK_BYTES = 4 << 20


def cycle_sum(D: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum_{i != k, j != l} D_ij D_kj D_kl D_il (...), float64, and the Gram D D^T without its diagonal.

    sum_{i != k} [(sum_j D_ij D_kj)^2 - sum_j D_ij^2 D_kj^2]; O(mn min(m, n)) if the rows are the shorter side.
    """
    gram = gram_off_diagonal(D)
    _, columns, fourth = sums_of_squares(D)
    return square_sum(gram) - (columns.square().sum(dim=-1) - fourth), gram


def gram_off_diagonal(D: Tensor) -> Tensor:
    """Return D D^T with a zero diagonal, float64, from blocks of columns: a product at once would pack a copy of D."""
    M, N = D.shape[-2:]
    total = torch.zeros(*D.shape[:-2], M, M, dtype=torch.float64, device=D.device)
    for part in chunks(N, D.element_size() * (D.numel() // max(1, N)), BLOCK_BYTES):
        block = D[..., part.start : part.stop]
        total += times_transpose(block).double()
    return without_diagonal(total)


def power_grams(V: Tensor, rows: Tensor, powers: Sequence[int]) -> list[Tensor]:
    """Return X X^T with a zero diagonal, float64, for each entrywise power X of some rows of V, block by block."""
    M, N = len(rows), V.shape[-1]
    totals = [torch.zeros(*V.shape[:-2], M, M, dtype=torch.float64, device=V.device) for _ in powers]
    # Blocks of all rows: choosing rows of a transposed array copies the others as well.
    for part in chunks(N, V.element_size() * (V.numel() // N), BLOCK_BYTES):
        block = V[..., part.start : part.stop].index_select(-2, rows)
        for total, power in zip(totals, powers, strict=True):
            X = block if power == 1 else block**power
            total += times_transpose(X).double()
    return [without_diagonal(total) for total in totals]


def times_transpose(D: Tensor) -> Tensor:
    """Return D D^T (..., M, M); on a CPU through NumPy, which sees the symmetry and computes one triangle."""
    if D.device.type != "cpu":
        return D @ D.transpose(-1, -2)
    array = D.numpy()
    return torch.from_numpy(array @ array.swapaxes(-1, -2))


def square_sum(D: Tensor) -> Tensor:
    """Return the sum of squares over the last two dimensions, float64, without a copy of a large D.

    Pairwise inside a block: a norm in float32 loses half a percent of a sum over 3e7 entries.
    """
    total = torch.zeros(D.shape[:-2], dtype=torch.float64, device=D.device)
    for block in blocks(D):
        total += block.square().sum(dim=(-1, -2)).double()
    return total


def short_side_first(D: Tensor) -> Tensor:
    """Transpose so that the rows are the shorter side, which the Gram is over."""
    return D if D.shape[-2] <= D.shape[-1] else D.transpose(-1, -2)


def sums_of_squares(D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums of squares of rows (..., m) and columns (..., n) and of fourth powers (...), float64.

    A block of the longer side at a time: of a large array no copy is made.
    """
    side = -2 if D.shape[-2] >= D.shape[-1] else -1
    zeros = partial(torch.zeros, dtype=torch.float64, device=D.device)
    # Filled in place: small results kept between blocks would stop the allocator from using the memory of one again.
    long, short = (zeros(*D.shape[:-2], D.shape[k]) for k in (side, -3 - side))
    fourth, start = zeros(D.shape[:-2]), 0
    for block in blocks(D):
        squares = block.square()
        long[..., start : start + block.shape[side]] = squares.sum(dim=-3 - side)
        short += squares.sum(dim=side)
        fourth += squares.square_().sum(dim=(-1, -2))
        start += block.shape[side]
    return (long, short, fourth) if side == -2 else (short, long, fourth)


def blocks(D: Tensor) -> list[Tensor]:
    """Split the longer of the last two dimensions so that a block fits the caches."""
    side = -2 if D.shape[-2] >= D.shape[-1] else -1
    lines = D.shape[side]
    each = D.element_size() * (D.numel() // max(1, lines))
    return [D.narrow(side, part.start, len(part)) for part in chunks(lines, each, BLOCK_BYTES)]


def largest(D: Tensor) -> Tensor:
    """Return the largest size of an entry, (..., 1, 1), without a copy of D."""
    return torch.maximum(D.amax(dim=(-1, -2), keepdim=True), -D.amin(dim=(-1, -2), keepdim=True))


def mean_size(D: Tensor) -> Tensor:
    """Return the mean size of an entry, (..., 1, 1), without a copy of a large D."""
    total = torch.zeros(*D.shape[:-2], 1, 1, dtype=torch.float64, device=D.device)
    for block in blocks(D):
        total += block.abs().sum(dim=(-1, -2), keepdim=True)
    return total / (D.shape[-2] * D.shape[-1])
