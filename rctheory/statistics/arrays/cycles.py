"""Sums of four-cycles."""

import torch
from torch import Tensor

from rctheory.statistics.arrays.tails import without_diagonal


def cycle_sum(D: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum_{i != k, j != l} D_ij D_kj D_kl D_il (...), float64, and the Gram D D^T without its diagonal.

    sum_{i != k} [(sum_j D_ij D_kj)^2 - sum_j D_ij^2 D_kj^2]; O(mn min(m, n)) if the rows are the shorter side.
    """
    gram = gram_off_diagonal(D)
    squares = D.square()
    diagonal = squares.sum(dim=-2).double().square().sum(dim=-1) - square_sum(squares)
    return square_sum(gram) - diagonal, gram


def gram_off_diagonal(D: Tensor) -> Tensor:
    """Return D D^T with a zero diagonal, float64."""
    return without_diagonal((D @ D.transpose(-1, -2)).double())


def square_sum(D: Tensor) -> Tensor:
    """Return the sum of squares over the last two dimensions, float64, without a copy of D."""
    norm: Tensor = torch.linalg.vector_norm(D, dim=(-1, -2))
    return norm.double().square()


def short_side_first(D: Tensor) -> Tensor:
    """Transpose so that the rows are the shorter side, which the Gram is over."""
    return D if D.shape[-2] <= D.shape[-1] else D.transpose(-1, -2)
