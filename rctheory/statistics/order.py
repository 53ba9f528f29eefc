"""Statistics of order: what a sequence of units shows that the set of its units does not.

Each statistic is a function of an array x of shape (blocks, copies, n), centred over its units and scaled to a unit sum
of squares, and of an order of the units inside every block. It is computed for a whole batch of orders at once, for
many arrays side by side, in float32: it is some function of the data, the same for every order, so rounding costs a
permutation test none of its exactness.

The permutation laws are near normal by construction, so that the largest |z| over several statistics lets each of them
speak: sums of products and linear forms are, and a variance between blocks becomes so by its cube root.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rctheory.numerics import chunks

PART_BYTES = 1 << 20  # of rows in float64
ROUNDING = 1e-6  # relative spread that float32 makes of a constant


class Columns:
    """Prepared arrays of the same blocks and n, side by side, in their own order.

    Units come first and copies last: one unit is one contiguous row.

    Args:
        arrays: each of shape (blocks, copies, n).
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        """Lay them out as `rows`, (blocks * n, copies of all arrays), float32."""
        self.arrays = len(arrays)
        self.blocks, _, self.units = arrays[0].shape
        copies = [array.shape[1] for array in arrays]
        together = np.concatenate(arrays, axis=1, dtype=np.float32)
        self.rows = np.ascontiguousarray(together.swapaxes(1, 2)).reshape(self.blocks * self.units, sum(copies))
        self._first_copies = np.cumsum([0, *copies[:-1]])
        self._powers: dict[int, Tensor] = {}

    def add_copies(self, values: np.ndarray) -> np.ndarray:
        """Add up the copies of each array along the second axis: (K, copies of all arrays) becomes (K, arrays)."""
        return np.asarray(np.add.reduceat(values, self._first_copies, axis=1))

    def powers(self, power: int) -> Tensor:
        """Return sum_c x_{b,c,i}^power, centred over the units of each block, (blocks * n, arrays).

        What is constant up to rounding becomes zero: an order of rounding errors would be no order of units.
        """
        if power not in self._powers:
            sums = np.empty((self.blocks, self.units, self.arrays))
            flat = sums.reshape(len(self.rows), self.arrays)
            for part in chunks(len(self.rows), 8 * self.rows.shape[1], PART_BYTES):
                rows = slice(part.start, part.stop)
                flat[rows] = self.add_copies(self.rows[rows].astype(np.float64) ** power)
            centred = sums - sums.mean(axis=1, keepdims=True)
            varies = np.abs(centred).max(axis=(0, 1)) > ROUNDING * np.abs(sums).max(axis=(0, 1))
            kept = np.where(varies, centred, 0.0).reshape(len(self.rows), -1).astype(np.float32)
            self._powers[power] = torch.from_numpy(kept)
        return self._powers[power]


class Permuted:
    """One batch of K orders of some columns.

    Args:
        columns: what is permuted.
        orders: which row stands at each place, (K, blocks, n).
        buffer: where the permuted rows go, (K or more, blocks, n, copies of all arrays).
    """

    def __init__(self, columns: Columns, orders: np.ndarray, buffer: np.ndarray) -> None:
        """Keep what is given; nothing is permuted before a statistic asks."""
        self.columns, self._orders, self._buffer = columns, orders, buffer

    @cached_property
    def values(self) -> np.ndarray:
        """The permuted arrays, (K, blocks, n, copies of all arrays)."""
        permuted = self._buffer[: len(self._orders)]
        np.take(
            self.columns.rows, self._orders, axis=0, out=permuted, mode="clip"
        )  # "raise" would copy; all are in range
        return permuted

    def run_sums(self, size: int) -> np.ndarray:
        """Return the sums of consecutive runs of `size` units, (K, blocks, runs, copies).

        A shorter rest is left out, and where there is only one run, it is: the sum of all units never changes.
        """
        runs = self.columns.units // size if self.columns.units >= 2 * size else 0
        orders, blocks, _, copies = self.values.shape
        cut = self.values[:, :, : runs * size].reshape(orders, blocks, runs, size, copies)
        return np.asarray(np.einsum("kbrsc->kbrc", cut))

    def drift(self, power: int) -> np.ndarray:
        """Return sum_{b,c,i} (i - (n - 1)/2) x_{b,c,i}^power, (K, arrays).

        It is linear: permuting the n weights of a block costs as much as permuting one column, whatever the copies.
        """
        return (torch.from_numpy(self._weights) @ self.columns.powers(power)).numpy()

    @cached_property
    def _weights(self) -> np.ndarray:
        """The weight i - (n - 1)/2 of the place i at which each row stands, (K, blocks * n)."""
        orders, blocks, n = self._orders.shape
        places = np.tile(np.arange(n, dtype=np.float32) - (n - 1) / 2, blocks)
        weights = np.empty((orders, blocks * n), dtype=np.float32)
        np.put_along_axis(weights, self._orders.reshape(orders, -1), places[None], axis=1)
        return weights


class OrderStatistic(ABC):
    """A statistic of order."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name it in a table."""

    @abstractmethod
    def __call__(self, batch: Permuted) -> np.ndarray:
        """Return its value for every order of the batch and every array, (K, arrays); zeros where it is not defined."""


@dataclass(frozen=True)
class Lag(OrderStatistic):
    """Autocorrelation at a lag L: sum_{b,c,i} x_{b,c,i} x_{b,c,i+L}; not defined for n <= L."""

    lag: int

    @property
    def name(self) -> str:
        """Return `lag 1`."""
        return f"lag {self.lag}"

    def __call__(self, batch: Permuted) -> np.ndarray:
        """Return the autocorrelation."""
        values = batch.values
        return batch.columns.add_copies(np.einsum("kbic,kbic->kc", values[:, :, : -self.lag], values[:, :, self.lag :]))


@dataclass(frozen=True)
class Drift(OrderStatistic):
    """Drift of the p-th power along the index: sum_{b,c,i} (i - (n - 1)/2) x_{b,c,i}^p.

    p = 1 is a linear trend; p = 2 shows ends that differ in spread.
    """

    power: int

    @property
    def name(self) -> str:
        """Return `drift` or `drift of squares`."""
        return {1: "drift", 2: "drift of squares"}.get(self.power, f"drift of powers {self.power}")

    def __call__(self, batch: Permuted) -> np.ndarray:
        """Return the drift."""
        return batch.drift(self.power)


@dataclass(frozen=True)
class Runs(OrderStatistic):
    """Variance between runs of S consecutive units: (sum_{b,c,r} (sum of run r)^2)^(1/3); not defined for n < 2 S.

    Heads stored one after the other, shards and quantisation blocks make such runs. Independent runs give a multiple of
    chi-square; its cube root is near normal (Wilson and Hilferty 1931), where a raw chi-square of few degrees would set
    the threshold of all other statistics.
    """

    size: int

    @property
    def name(self) -> str:
        """Return `runs of 32`."""
        return f"runs of {self.size}"

    def __call__(self, batch: Permuted) -> np.ndarray:
        """Return the cube root of the variance between runs."""
        sums = batch.run_sums(self.size)
        return np.asarray(np.cbrt(batch.columns.add_copies(np.einsum("kbrc,kbrc->kc", sums, sums))))


LAG_ONE: tuple[OrderStatistic, ...] = (Lag(1),)
ORDER_STATISTICS: tuple[OrderStatistic, ...] = (Lag(1), Lag(2), Lag(32), Drift(1), Drift(2), Runs(32), Runs(64))
