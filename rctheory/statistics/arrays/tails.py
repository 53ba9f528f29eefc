"""Upper tails from the first three moments, and sums over pairs and triples of distinct indices."""

import numpy as np
import torch
from scipy import special
from torch import Tensor

SMALLEST_SKEWNESS = (
    1e-3  # below it the gamma law and the normal law agree to 1e-4 of the tail, and the gamma loses digits
)


def upper_tail(z: Tensor, skewness: Tensor) -> Tensor:
    """Return P(Z >= z) for a gamma law shifted to mean 0, variance 1 and the given skewness (Pearson type III).

    Z = (G - a) / sqrt(a) with G gamma of shape a = 4 / skewness^2; mirrored where the skewness is negative, normal
    where it vanishes. Exact for a centred chi-square, hence for Box's approximation of weighted sums of them.

    Args:
        z: standardised statistics (...).
        skewness: of the null law (...).

    Source: G. E. P. Box, 1954 (sums of chi-squares by moments).
    """
    value = z.detach().to("cpu", torch.float64).numpy()
    skew = skewness.detach().to("cpu", torch.float64).numpy()
    size = np.maximum(np.abs(skew), SMALLEST_SKEWNESS)
    shape = 4 / size**2
    point = np.maximum(shape + np.sign(skew) * value * np.sqrt(shape), 0)
    gamma = np.where(skew > 0, special.gammaincc(shape, point), special.gammainc(shape, point))
    tail = np.where(np.abs(skew) < SMALLEST_SKEWNESS, special.ndtr(-value), gamma)
    return torch.from_numpy(np.asarray(tail)).to(z.device)


def power_sums(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sum x, sum x^2 and sum x^3 over the last dimension."""
    return x.sum(dim=-1), x.square().sum(dim=-1), (x**3).sum(dim=-1)


def distinct_pairs(x: Tensor) -> Tensor:
    """Return sum over i < j of x_i x_j over the last dimension."""
    return (x.sum(dim=-1).square() - x.square().sum(dim=-1)) / 2


def distinct_triples(p1: Tensor, p2: Tensor, p3: Tensor) -> Tensor:
    """Return sum over i < j < k of x_i x_j x_k from the power sums p1, p2, p3."""
    return (p1**3 - 3 * p1 * p2 + 2 * p3) / 6


def without_diagonal(gram: Tensor) -> Tensor:
    """Set the diagonals of square matrices (..., k, k) to zero, in place."""
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    return gram
