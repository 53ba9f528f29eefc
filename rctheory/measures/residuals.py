"""The law of a standardised residual: its quantiles, from which it can be drawn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.errors import ShapeError

_REACH = 5.0
_NODES = 501


@dataclass(frozen=True)
class ResidualLaw:
    """A law on the line of mean 0 and variance 1, piecewise uniform between quantiles.

    Args:
        levels: 0 = p_0 < .. < p_K = 1, (K + 1,).
        quantiles: values at these levels, (K + 1,), scaled to mean 0 and variance 1.
    """

    levels: Tensor
    quantiles: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "ResidualLaw":
        """Return the law of a sample, by its quantiles at the levels Phi(x), x equally spaced: dense in both tails.

        A constant sample gives the law that is concentrated at 0.

        Raises:
            ShapeError: fewer than two values.
        """
        if values.numel() < 2:
            raise ShapeError(f"{values.numel()} residuals", "at least 2", "give it a matrix of residuals")
        ordered = values.detach().flatten().sort().values.double()
        inner = torch.special.ndtr(torch.linspace(-_REACH, _REACH, _NODES, dtype=torch.float64))
        levels = torch.cat([torch.zeros(1).double(), inner, torch.ones(1).double()])
        places = levels * (len(ordered) - 1)
        below = places.floor().long().clamp(max=len(ordered) - 2)
        quantiles = torch.lerp(ordered[below], ordered[below + 1], places - below)
        mean, variance = _moments(levels, quantiles)
        centred = quantiles - mean
        return cls(levels, centred / variance.sqrt() if variance > 0 else torch.zeros_like(centred))

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw iid values, float64, by linear interpolation of the quantiles at uniform levels."""
        shares = torch.rand(shape, generator=generator, dtype=torch.float64)
        piece = (torch.searchsorted(self.levels, shares, right=True) - 1).clamp(0, len(self.levels) - 2)
        low, high = self.levels[piece], self.levels[piece + 1]
        return torch.lerp(self.quantiles[piece], self.quantiles[piece + 1], (shares - low) / (high - low))


def _moments(levels: Tensor, quantiles: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the piecewise uniform law."""
    masses, low, high = levels.diff(), quantiles[:-1], quantiles[1:]
    mean = (masses * (low + high)).sum() / 2
    low, high = low - mean, high - mean
    return mean, (masses * (low.square() + low * high + high.square())).sum() / 3
