"""Row-column kernels: the mean of an entry given the latents of its row and column, and the residual around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rctheory.errors import LawError
from rctheory.measures.laws import Units

Features = Callable[[Tensor], Tensor]
"""Features of latents: (..., n, k) -> (..., n, r)."""


class MeanKernel(Protocol):
    """m(z, z') = E[w | z, z']."""

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Evaluate on row latents (..., n, k) and column latents (..., n', k'): (..., n, n')."""


@dataclass(frozen=True)
class SeparableKernel:
    """m(z, z') = phi(z)^T B psi(z'), a mean kernel of finite rank.

    Args:
        row_features: phi, to r features.
        core: B, (r, s).
        column_features: psi, to s features.
    """

    row_features: Features
    core: Tensor
    column_features: Features

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Evaluate on row latents (..., n, k) and column latents (..., n', k'): (..., n, n')."""
        left = self.row_features(rows) @ self.core.to(rows)
        return left @ self.column_features(columns).transpose(-1, -2)


@dataclass(frozen=True)
class RCKernel:
    """W_ij = m(z_i, z'_j) + s xi_ij, xi iid standard normal: a row-column exchangeable (Aldous-Hoover) array.

    Args:
        mean: the mean kernel m.
        residual: the standard deviation s of the residual; it is of order one in the width.
    """

    mean: MeanKernel
    residual: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a standard deviation that is negative or NaN."""
        if not 0 <= self.residual < float("inf"):
            raise LawError(f"residual standard deviation {self.residual}", "a finite number >= 0", "change it")

    def expected(self, rows: Units, columns: Units) -> Tensor:
        """Return E[W | latents]: (..., n, n'). This is all that the infinite-width limit sees of the array."""
        return self.mean(rows.latents, columns.latents)

    def add_residual(self, mean: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Add the residual in place to `mean` (seeds, n, n'), seed by seed from its own generator."""
        if self.residual:
            noise = torch.empty(mean.shape[1:], dtype=mean.dtype)
            for matrix, generator in zip(mean, generators, strict=True):
                matrix.add_(noise.normal_(generator=generator).to(matrix), alpha=self.residual)
        return mean


def trigonometric(order: int, frequency: float = 1.0) -> Features:
    """Return the features 1, cos(j w z), sin(j w z), j = 1..order, of the first latent coordinate: 2 order + 1."""

    def features(latents: Tensor) -> Tensor:
        angles = latents[..., :1] * (frequency * torch.arange(1, order + 1).to(latents))
        return torch.cat([torch.ones_like(latents[..., :1]), torch.cos(angles), torch.sin(angles)], dim=-1)

    return features


def coordinates(size: int) -> Features:
    """Return the indicator features of a fixed axis of `size` coordinates, whose latents are indices."""

    def features(latents: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(latents[..., 0].long(), size).to(latents)

    return features


def leading(size: int) -> Features:
    """Return the first `size` coordinates of the latent as features: a kernel bilinear in the latents."""
    return lambda latents: latents[..., :size]
