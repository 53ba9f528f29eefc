"""Symmetric kernels of quadruplets, two rows by two columns, with closed sums over all quadruplets.

A kernel h(Y_11, Y_12, Y_21, Y_22) does not change when the two rows, or the two columns, change places. What a
statistic and its variance need are means of h over the quadruplets that contain a given cell, and over those with two
given rows.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.numerics import chunks

BLOCK_BYTES = 64 << 20


class Kernel(ABC):
    """A symmetric function of a quadruplet; arrays are (b, m, n) in float64."""

    @abstractmethod
    def cells(self, Y: Tensor) -> Tensor:
        """Return the mean of h over the quadruplets that contain row i and column j, (b, m, n)."""

    @abstractmethod
    def pairs(self, Y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return variance and quadratic form of the part of h that belongs to pairs of rows and to no single one.

        With e_ik the mean of h over the quadruplets with rows i and k, and r_ik what the least-squares fit by g_i + g_k
        leaves: sum_{i<k} r_ik^2 over its m (m - 3) / 2 degrees of freedom, (b,), and sum_{i != k} x_i r_ik x_k, (b,),
        for x (b, m) that adds up to zero.
        """

    @abstractmethod
    def transposed(self) -> "Kernel":
        """Return the kernel that gives on the transposed array what this one gives."""

    @abstractmethod
    def size(self, Y: Tensor) -> Tensor:
        """Return the size of the terms that add up to h, (b,): what rounding is relative to."""


@dataclass(frozen=True)
class Moments(Kernel):
    """A linear combination of the moments of first and second order.

    E h = mean E[Y_11] + square E[Y_11^2] + row E[Y_11 Y_12] + column E[Y_11 Y_21] + apart E[Y_11 Y_22]; coefficients
    are numbers, or tensors (b,) with one for each array.
    """

    mean: float | Tensor = 0.0
    square: float | Tensor = 0.0
    row: float | Tensor = 0.0
    column: float | Tensor = 0.0
    apart: float | Tensor = 0.0

    def cells(self, Y: Tensor) -> Tensor:
        """Return the mean of h over the quadruplets that contain row i and column j, in O(mn)."""
        m, n = Y.shape[-2:]
        others_in_row = (Y.sum(dim=-1, keepdim=True) - Y) / (n - 1)
        others_in_column = (Y.sum(dim=-2, keepdim=True) - Y) / (m - 1)
        total = torch.zeros_like(Y)
        if _counts(self.mean):
            total += _wide(self.mean) * _four(Y)
        if _counts(self.square):
            total += _wide(self.square) * _four(Y.square())
        if _counts(self.row):
            total += _wide(self.row) * _two(Y * others_in_row, -2)
        if _counts(self.column):
            total += _wide(self.column) * _two(Y * others_in_column, -1)
        if _counts(self.apart):
            total += _wide(self.apart) * (Y * _opposite(Y) + others_in_row * others_in_column) / 2
        return total

    def pairs(self, Y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return variance and quadratic form of the pair part, in O(mn min(m, n)).

        Only Y_11 Y_21 and Y_11 Y_22 tie two rows: e_ik = alpha R_i R_k + beta Y_i . Y_k besides single rows.
        """
        if not _counts(self.column) and not _counts(self.apart):
            return torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0])
        m, n = Y.shape[-2:]
        alpha = torch.as_tensor(self.apart, dtype=torch.float64) / (n * (n - 1))
        beta = torch.as_tensor(self.column, dtype=torch.float64) / n - alpha
        R, C, Q = Y.sum(dim=-1), Y.sum(dim=-2, keepdim=True), Y.square().sum(dim=-1)
        gram = Y @ Y.mT if m <= n else Y.mT @ Y
        squares = alpha**2 * R.square().sum(dim=-1).square() + 2 * alpha * beta * _length(Y, R)
        squares = squares + beta**2 * gram.square().sum(dim=(-1, -2))
        form = alpha * (R * x).sum(dim=-1).square() + beta * _length(Y, x)
        alpha, beta = alpha.unsqueeze(-1), beta.unsqueeze(-1)
        own = alpha * R.square() + beta * Q
        lines = alpha * R * R.sum(dim=-1, keepdim=True) + beta * (Y * C).sum(dim=-1) - own
        squares, form = squares - own.square().sum(dim=-1), form - (own * x.square()).sum(dim=-1)
        return _left_by_lines(squares, form, lines / (m - 1), x)

    def transposed(self) -> "Moments":
        """Exchange rows and columns."""
        return Moments(self.mean, self.square, self.column, self.row, self.apart)

    def size(self, Y: Tensor) -> Tensor:
        """Return |mean| rms + (|square| + |row| + |column| + |apart|) rms^2."""
        square = Y.square().mean(dim=(-1, -2))
        second = [torch.as_tensor(c).abs() for c in (self.square, self.row, self.column, self.apart)]
        return torch.as_tensor(self.mean).abs() * square.sqrt() + sum(second, torch.tensor(0.0)) * square

    def combined(self, other: "Moments", weight: Tensor, scale: Tensor) -> "Moments":
        """Return (this + weight other) / scale, with one weight and scale for each array."""
        names = ("mean", "square", "row", "column", "apart")
        return Moments(*((getattr(self, name) + weight * getattr(other, name)) / scale for name in names))


@dataclass(frozen=True)
class FourCycle(Kernel):
    """h = Y_11 Y_12 Y_22 Y_21: the interaction of rows and columns where there are no mean effects."""

    def cells(self, Y: Tensor) -> Tensor:
        """Return the mean of h over the quadruplets that contain row i and column j, in O(mn min(m, n))."""
        m, n = Y.shape[-2:]
        square = Y.square()
        around = (Y @ Y.mT) @ Y if m <= n else Y @ (Y.mT @ Y)
        own = square.sum(dim=-1, keepdim=True) + square.sum(dim=-2, keepdim=True) - square
        return Y * (around - Y * own) / ((m - 1) * (n - 1))

    def pairs(self, Y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of the pair part, in O(m^2 n): e_ik = [(Y_i . Y_k)^2 - Y_i^2 . Y_k^2] / (n (n - 1))."""
        b, m, n = Y.shape
        square = Y.square()
        lines, weighted, squares = torch.empty_like(x), torch.empty_like(x), torch.zeros_like(x[:, 0])
        for rows in chunks(m, 8 * b * m, BLOCK_BYTES):
            block = slice(rows.start, rows.stop)
            pairs = ((Y[:, block] @ Y.mT).square() - square[:, block] @ square.mT) / (n * (n - 1))
            pairs[:, range(len(rows)), rows] = 0
            lines[:, block] = pairs.sum(dim=-1) / (m - 1)
            weighted[:, block] = (pairs @ x.unsqueeze(-1)).squeeze(-1)
            squares += pairs.square().sum(dim=(-1, -2))
        return _left_by_lines(squares, (weighted * x).sum(dim=-1), lines, x)

    def transposed(self) -> "FourCycle":
        """Return the kernel itself: a cycle reads the same."""
        return self

    def size(self, Y: Tensor) -> Tensor:
        """Return rms^4."""
        return Y.square().mean(dim=(-1, -2)).square()


@dataclass(frozen=True)
class Ratio:
    """E[numerator] / E[denominator], by the delta method."""

    numerator: Moments
    denominator: Moments

    def linearised(self, Y: Tensor) -> tuple[Tensor, Moments, Tensor]:
        """Return the ratio on each array, its linear part, and what it is divided by.

        Returns:
            The ratio, (b,); the kernel (numerator - ratio denominator) / U, U the mean of the denominator; and the
            cells of denominator / U, (b, m, n).
        """
        cells = self.denominator.cells(Y)
        below = cells.mean(dim=(-1, -2))
        ratio = self.numerator.cells(Y).mean(dim=(-1, -2)) / below
        return ratio, self.numerator.combined(self.denominator, -ratio, below), cells / _wide(below)


GRAND_MEAN = Moments(mean=1.0)
SECOND_MOMENT = Moments(square=1.0)
ROW_PRODUCT = Moments(row=1.0)
COLUMN_PRODUCT = Moments(column=1.0)
SQUARED_MEAN = Moments(apart=1.0)
ROW_VARIANCE = Moments(row=1.0, apart=-1.0)
COLUMN_VARIANCE = Moments(column=1.0, apart=-1.0)
RESIDUAL_VARIANCE = Moments(square=1.0, row=-1.0, column=-1.0, apart=1.0)
TOTAL_VARIANCE = Moments(square=1.0, apart=-1.0)
FOUR_CYCLE = FourCycle()
ROW_SHARE = Ratio(ROW_VARIANCE, TOTAL_VARIANCE)
COLUMN_SHARE = Ratio(COLUMN_VARIANCE, TOTAL_VARIANCE)


def _counts(coefficient: float | Tensor) -> bool:
    """Return whether a coefficient is not identically zero."""
    return isinstance(coefficient, Tensor) or coefficient != 0


def _wide(coefficient: float | Tensor) -> Tensor:
    """Return a coefficient ready to multiply arrays (b, m, n)."""
    return torch.as_tensor(coefficient, dtype=torch.float64).unsqueeze(-1).unsqueeze(-1)


def _two(x: Tensor, dim: int) -> Tensor:
    """Return the mean of an entry and the mean of the others along `dim`."""
    return (x + (x.sum(dim=dim, keepdim=True) - x) / (x.shape[dim] - 1)) / 2


def _four(x: Tensor) -> Tensor:
    """Return the mean of the four entries of a quadruplet, averaged over those that contain a cell."""
    return _two(_two(x, -1), -2)


def _opposite(Y: Tensor) -> Tensor:
    """Return the mean of the entries outside row i and column j."""
    m, n = Y.shape[-2:]
    rows, columns = Y.sum(dim=-1, keepdim=True), Y.sum(dim=-2, keepdim=True)
    return (rows.sum(dim=-2, keepdim=True) - rows - columns + Y) / ((m - 1) * (n - 1))


def _length(Y: Tensor, x: Tensor) -> Tensor:
    """Return |sum_i x_i Y_i|^2, (b,)."""
    return (Y * x.unsqueeze(-1)).sum(dim=-2).square().sum(dim=-1)


def _left_by_lines(squares: Tensor, form: Tensor, lines: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `Kernel.pairs` returns.

    Args:
        squares: sum of e_ik^2 over i != k, (b,).
        form: sum of x_i e_ik x_k over i != k, (b,).
        lines: mean of e_ik over k != i, (b, m).
        x: (b, m), adding up to zero.
    """
    m = lines.shape[-1]
    mean = lines.mean(dim=-1, keepdim=True)
    own = (m - 1) / (m - 2) * (lines - mean)
    total = squares / 2 - m * (m - 1) / 2 * mean.squeeze(-1).square()
    variance = (total - (m - 2) * own.square().sum(dim=-1)).clamp(min=0) / (m * (m - 3) / 2)
    return variance, form + ((mean + 2 * own) * x.square()).sum(dim=-1)
