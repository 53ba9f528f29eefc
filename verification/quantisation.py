"""Q4_1 rounding, and what it does to Gaussian weights: exact moments of the noise.

A block of 32 neighbours of a row is stored as its minimum, a step (maximum - minimum) / 15 and a level 0..15 for each
weight: the nearest. So minimum and maximum are kept, and what lies between them is rounded to a grid whose phase and
step are the block's own.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from rctheory.errors import ShapeError

BLOCK = 32
LEVELS = 15  # the largest level
KEPT = 2  # of a block: its minimum and its maximum


def blocks(W: Tensor) -> Tensor:
    """Cut the rows of W (..., n) into blocks (..., n / 32, 32).

    Raises:
        ShapeError: n is no multiple of 32.
    """
    if W.shape[-1] % BLOCK:
        raise ShapeError(f"rows of {W.shape[-1]} entries", f"a multiple of {BLOCK}", "leave this tensor as it is")
    return W.reshape(*W.shape[:-1], -1, BLOCK)


def steps(W: Tensor) -> Tensor:
    """Return the step (..., n / 32) of every block; of a quantised array the step that it was quantised with."""
    cut = blocks(W)
    return (cut.amax(dim=-1) - cut.amin(dim=-1)) / LEVELS


def quantise(W: Tensor) -> Tensor:
    """Return W (..., n) as float32 after rounding to Q4_1 and back: minimum and step of every block in half precision.

    Levels are chosen with the step before it is rounded, as llama.cpp does. A block of equal entries stays as it is, up
    to half precision.

    Raises:
        ShapeError: n is no multiple of 32.
    """
    cut = blocks(W.to(torch.float32))
    low = cut.amin(dim=-1, keepdim=True)
    step = (cut.amax(dim=-1, keepdim=True) - low) / LEVELS
    inverse = torch.where(step > 0, 1 / step, 0.0)
    level = ((cut - low) * inverse + 0.5).trunc().clamp(0, LEVELS)
    return (level * step.to(torch.float16).float() + low.to(torch.float16).float()).flatten(-2)


def round_symmetric(W: Tensor) -> Tensor:
    """Round without an offset: sixteen levels from -8 to 7 of the step max |x| / 8, as Q4_0 does."""
    cut = blocks(W)
    step = cut.abs().amax(dim=-1, keepdim=True) / 8
    return ((cut / step).round().clamp(-8, 7) * step).flatten(-2)


def noise_variance(W: Tensor) -> Tensor:
    """Return the variance (..., n / 32) of the rounding noise in every block: (1 - 2/32) step^2 / 12.

    Between minimum and maximum the error is uniform on a step; these two have none.
    """
    return (1 - KEPT / BLOCK) / 12 * steps(W.to(torch.float64)).square()


@dataclass(frozen=True)
class Moments:
    """Moments of the rounding noise e of a weight x ~ N(0, 1) in a block of its like.

    Args:
        variance: E e^2.
        covariance: E e x: the outermost half-steps are rounded outward alone.
        neighbours: correlation of e at two places of a block.
        sizes: correlation of e^2 at two places of a block, which share one step.
        mass: what the integrals give for 1.
    """

    variance: float
    covariance: float
    neighbours: float
    sizes: float
    mass: float

    @property
    def growth(self) -> float:
        """Return Var(x + e) - 1."""
        return self.variance + 2 * self.covariance


@cache
def gaussian_moments(size: int = BLOCK, levels: int = LEVELS) -> Moments:
    """Integrate the moments for independent N(0, 1) weights in blocks of `size`, by Gauss's rule.

    Given minimum a and maximum b the others are independent, with the density of N(0, 1) cut to [a, b]; a and b have
    the joint density size (size - 1) phi(a) phi(b) (Phi(b) - Phi(a))^(size - 2). Inside [a, b] the error e(x) is linear
    between the places half way from level to level.
    """
    nodes, weights = np.polynomial.legendre.leggauss(96)
    # A block of 32 whose minimum lies above -0.2 has probability 3e-8.
    ends = 0.2 + 6.3 * (nodes + 1) / 2
    low, high = np.meshgrid(-ends, ends, indexing="ij")
    inside = norm.cdf(high) - norm.cdf(low)
    density = size * (size - 1) * norm.pdf(low) * norm.pdf(high) * inside ** (size - 2)
    density = density * np.outer(weights, weights) * 3.15**2
    step = (high - low) / levels
    first, second, fourth, product = (np.zeros_like(low) for _ in range(4))
    for level in range(levels + 1):
        start, stop = (low + step * edge for edge in (max(level - 0.5, 0.0), min(level + 0.5, float(levels))))
        for node, weight in zip(*np.polynomial.legendre.leggauss(8), strict=True):
            x = (start + stop) / 2 + node * (stop - start) / 2
            share = weight * (stop - start) / 2 * norm.pdf(x) / inside
            e = low + level * step - x
            first, second, fourth = first + share * e, second + share * e**2, fourth + share * e**4
            product = product + share * e * x
    one = (size - KEPT) / size
    two = one * (size - KEPT - 1) / (size - 1)
    variance = one * float((density * second).sum())
    squares = two * float((density * second**2).sum()) - variance**2
    return Moments(
        variance=variance,
        covariance=one * float((density * product).sum()),
        neighbours=two * float((density * first**2).sum()) / variance,
        sizes=squares / (one * float((density * fourth).sum()) - variance**2),
        mass=float(density.sum()),
    )
