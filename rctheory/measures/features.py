"""Features of units, and the kernels on them that feature designs compare units by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.errors import LawError, ShapeError
from rctheory.numerics import require_finite

BLOCK = 1 << 24  # entries of a kernel matrix at a time


def centred_features(features: Tensor, size: int | None = None) -> Tensor:
    """Return features less their mean over the units, (n, K) float64.

    Raises:
        ShapeError: features that are no (n, K) with n, K >= 1, or not of so many units.
        NumericsError: a feature that is not finite.
    """
    if features.ndim != 2 or not features.numel() or (size is not None and len(features) != size):
        expected = "(n, K) with n, K >= 1" if size is None else f"({size}, K)"
        raise ShapeError(f"features of shape {tuple(features.shape)}", expected, "one row for each unit")
    values = require_finite("a feature", features.detach().to("cpu", torch.float64))
    return values - values.mean(dim=0)


@dataclass(frozen=True)
class UnitKernel:
    """A kernel on centred features phi (n, K), scaled so that units have the mean square 1.

    Args:
        points: phi, divided by their root mean square length, and by the bandwidth b where there is one.
        linear: k(i, j) = <phi_i, phi_j>; else k(i, j) = exp(-|phi_i - phi_j|^2 / (2 b^2)).
    """

    points: Tensor
    linear: bool

    @classmethod
    def of(cls, centred: Tensor, bandwidth: float | None) -> "UnitKernel":
        """Return the Gaussian kernel of a bandwidth, in root mean square lengths; the linear one when None.

        Raises:
            LawError: a bandwidth that is not positive and finite.
        """
        if bandwidth is not None and not 0 < bandwidth < float("inf"):
            raise LawError(f"bandwidth {bandwidth}", "a positive finite number", "use 1, or None")
        scale = float(centred.square().sum(dim=1).mean().sqrt())
        return cls(centred / ((scale or 1.0) * (bandwidth or 1.0)), bandwidth is None)

    def between(self, left: Tensor, right: Tensor) -> Tensor:
        """Return k(i, j) for units i of `left` and j of `right`, by index: one row for each of `left`."""
        x, y = self.points[left], self.points[right]
        return x @ y.T if self.linear else torch.exp(torch.cdist(x, y).square() / -2)

    def column(self, unit: int) -> Tensor:
        """Return k(i, unit) for every i, (n,)."""
        products = self.points @ self.points[unit]
        if self.linear:
            return products
        squares = self.points.square().sum(dim=1)
        return torch.exp(products - (squares + squares[unit]) / 2)

    def own(self) -> Tensor:
        """Return k(i, i), (n,)."""
        return self.points.square().sum(dim=1) if self.linear else torch.ones(len(self.points), dtype=torch.float64)

    def means(self) -> Tensor:
        """Return mean_j k(i, j), (n,), block by block."""
        if self.linear:
            return torch.zeros(len(self.points), dtype=torch.float64)  # the features are centred
        every = torch.arange(len(self.points))
        blocks = every.split(max(1, BLOCK // len(every)))
        return torch.cat([self.between(block, every).mean(dim=1) for block in blocks])
