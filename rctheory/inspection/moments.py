"""Moments of a tensor and of its units, gathered block by block while it is read."""

from dataclasses import dataclass
from math import inf, prod, sqrt

import torch
from torch import Tensor

TINY = 1e-24  # a sum of fourth powers: below, those of most entries may be lost in float32, which ends at 1e-45


@dataclass
class Moments:
    """Sums over the entries of one tensor, and over those of each unit of its dimensions.

    Args:
        shape: of the tensor.
        powers: sums of w, w^2, w^3, w^4 over all entries, float64.
        nonzero: entries that are not exactly zero.
        sums: for each dimension the sum of each unit, float64.
        squares: for each dimension the sum of squares of each unit, float64.
    """

    shape: tuple[int, ...]
    powers: Tensor
    nonzero: int
    sums: tuple[Tensor, ...]
    squares: tuple[Tensor, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Moments":
        """Return the moments of a tensor of which nothing has been read."""
        sums, squares = (tuple(torch.zeros(size, dtype=torch.float64) for size in shape) for _ in range(2))
        return cls(shape, torch.zeros(4, dtype=torch.float64), 0, sums, squares)

    def add(self, block: Tensor, start: int) -> None:
        """Add a block of rows that starts at row `start`.

        Powers are summed in float32 inside a block (pairwise, so the error grows with the logarithm of its length) and
        in float64 over blocks; a block whose fourth powers leave the range of float32 is summed in float64.
        """
        sums, squares, powers = _sums_of_powers(block)
        if not TINY <= float(powers[-1]) < inf and block.any():
            sums, squares, powers = _sums_of_powers(block.double())
        self.powers += powers
        self.nonzero += int(torch.count_nonzero(block))
        rows = slice(start, start + len(block))
        for totals, parts in ((self.sums, sums), (self.squares, squares)):
            for dimension, part in enumerate(parts):
                place = rows if dimension == 0 else slice(None)
                totals[dimension][place] += part

    @property
    def count(self) -> int:
        """Return the number of entries."""
        return prod(self.shape)

    @property
    def rms(self) -> float:
        """Return the root mean square of the entries."""
        return sqrt(float(self.powers[1]) / self.count)

    @property
    def kurtosis(self) -> float:
        """Return E (w - mean)^4 / Var(w)^2: 3 for a Gaussian; NaN where all entries are equal."""
        mean, two, three, four = (float(power) / self.count for power in self.powers)
        variance = two - mean**2
        if not variance > 0:
            return float("nan")
        return (four - 4 * mean * three + 6 * mean**2 * two - 3 * mean**4) / variance**2

    def log_norms(self, dimension: int) -> Tensor:
        """Return the log norm of every unit of a dimension."""
        return log_norms(self.squares[dimension])

    def means(self, dimension: int) -> Tensor:
        """Return the mean entry of every unit of a dimension."""
        return self.sums[dimension] * (self.shape[dimension] / self.count)

    def mean_squares(self, dimension: int) -> Tensor:
        """Return the mean square of every unit of a dimension: free of the size of the other dimensions."""
        return self.squares[dimension] * (self.shape[dimension] / self.count)


def _sums_of_powers(block: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    """Return the sums of each unit, of its squares, and of the first four powers of all entries."""
    squared = block * block
    flat, flat_squared = block.reshape(-1), squared.reshape(-1)
    sums, squares = unit_sums(block), unit_sums(squared)
    powers = (sums[0].sum(), squares[0].sum(), flat.dot(flat_squared), flat_squared.dot(flat_squared))
    return sums, squares, torch.stack(powers)


def log_norms(squares: Tensor) -> Tensor:
    """Return log sqrt(s) of sums of squares, with s at least 1e-32 of the largest.

    A unit that is exactly zero (padding, a pruned unit) has no logarithm. The floor depends on the set of values alone,
    not on their order, so the permutation tests stay exact.
    """
    largest = squares.max()
    return 0.5 * squares.clamp(min=float(largest) * 1e-32).log() if largest > 0 else torch.zeros_like(squares)


def unit_sums(block: Tensor) -> tuple[Tensor, ...]:
    """Return the sums over the units of each dimension."""
    if block.dim() == 1:
        return (block,)
    return tuple(block.sum(dim=[k for k in range(block.dim()) if k != dimension]) for dimension in range(block.dim()))
