"""The spectrum of a matrix, against the bulk that its noise alone would make.

A spectrum does not change when rows or columns are permuted: it shows structure (how many directions stand out of the
noise, how much of the variance they hold), never exchangeability.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.numerics import chunks
from rctheory.statistics.arrays.cycles import times_transpose
from rctheory.statistics.arrays.outcome import require_arrays
from rctheory.statistics.variance_profile import Edge, estimated_variances, separable_edge

FALSE_OUTLIER = 1e-3
"""Probability that a matrix of pure noise shows an outlier."""
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Spectrum:
    """The singular values of matrices m x n, and what of them is not noise. Fields have the leading dimensions (...).

    Args:
        singular_values: s_1 >= s_2 >= .., (..., min(m, n)), float64.
        noise: standard deviation of an entry of the noise: as given, or the median singular value over that of white
            noise of variance 1.
        rank: the singular values above the threshold of Gavish and Donoho, below which a direction is better dropped
            than kept in a least-squares sense.
        white_edge: end of the bulk for white noise of that standard deviation (Marchenko-Pastur).
        edge: end of the bulk for noise whose variance is a product of row and column variances, both estimated.
        threshold: the singular value that such noise exceeds with probability `FALSE_OUTLIER`.
        outliers: the singular values above `threshold`.
        share: sum of s_k^2 over the outliers over that of all; 0 for a matrix of zeros.
        stable_rank: sum of s_k^2 over s_1^2; 0 for a matrix of zeros.
    """

    singular_values: Tensor
    noise: Tensor
    rank: Tensor
    white_edge: Tensor
    edge: Tensor
    threshold: Tensor
    outliers: Tensor
    share: Tensor
    stable_rank: Tensor


def spectrum(W: Tensor, *, noise: float | None = None) -> Spectrum:
    """Summarise the spectra of matrices W (..., m, n).

    Singular values are the roots of the eigenvalues of the smaller Gram matrix, in float64: relative error 1e-15 at the
    top and (1e-16)^(1/2) s_1 at worst at the bottom, far below any bulk. With p = min(m, n) and q = max(m, n) the floor
    is p^2 q operations for the Gram matrix (one triangle) and 4/3 p^3 for its reduction to tridiagonal form: 5.1e8 and
    2.5e8 for 576 x 1536.

    The bulk edge of white noise is noise (m^(1/2) + n^(1/2)). For the edge with a variance profile, row and column
    variances are mean squares, shrunk towards each other by what sampling alone scatters them, and the level is the
    mean square of what the r outliers leave, sum_{k > r} s_k^2 / ((m - r)(n - r)). Scales that differ *because* of
    low-rank structure enter the profile as well: the count errs towards too few. Both edges suppose a finite fourth
    moment: heavier tails make outliers without structure.

    Args:
        W: (..., m, n), m and n at least 2.
        noise: standard deviation of an entry of the noise, where it is known.

    Raises:
        ShapeError: fewer than two rows or columns.
        UsageError: a noise that is not positive and finite.
        NumericsError: an entry is not finite.

    Source: Gavish and Donoho, arXiv 1305.5870; for the profile see `separable_edge`.
    """
    if noise is not None and not 0 < noise < math.inf:
        raise UsageError(f"noise {noise}", "a positive finite standard deviation", "leave it out to have it estimated")
    W = require_arrays(W)
    m, n = W.shape[-2:]
    p, q = min(m, n), max(m, n)
    values = singular_values(W)
    sd = values.median(dim=-1).values / math.sqrt(q * marchenko_pastur_median(p / q))
    sd = sd if noise is None else torch.full_like(sd, noise)
    rank = _above(values, gavish_donoho(p / q) * math.sqrt(q) * sd)
    unit = separable_edge(*estimated_variances(W))
    outliers, rest = _outliers(values, unit, m, n)
    level = rest / ((m - outliers) * (n - outliers))
    total, top = values.square().sum(dim=-1), values[..., 0].square()
    return Spectrum(
        singular_values=values,
        noise=sd,
        rank=rank,
        white_edge=sd * (math.sqrt(m) + math.sqrt(n)),
        edge=(unit.location * level).sqrt(),
        threshold=(unit.quantile(FALSE_OUTLIER) * level).sqrt(),
        outliers=outliers,
        share=torch.where(total > 0, 1 - rest / total, 0.0),
        stable_rank=torch.where(top > 0, total / top, 0.0),
    )


def singular_values(W: Tensor) -> Tensor:
    """Return the singular values of W (..., m, n), largest first, through the smaller Gram matrix: float64."""
    gram = smaller_gram(W)
    # NumPy's eigenvalues take two thirds of the time of torch's on a CPU.
    on_cpu = gram.device.type == "cpu"
    eigenvalues = torch.from_numpy(np.linalg.eigvalsh(gram.numpy())) if on_cpu else torch.linalg.eigvalsh(gram)
    return eigenvalues.flip(-1).clamp_min(0).sqrt()


def smaller_gram(W: Tensor) -> Tensor:
    """Return W^T W or W W^T, whichever is smaller, of W (..., m, n): (..., p, p), float64.

    Blocks of the longer side are widened to float64 one at a time: memory for a block and one p x p matrix a replicate.
    """
    tall = W if W.shape[-2] >= W.shape[-1] else W.transpose(-1, -2)
    size, p = tall.shape[-2:]
    parts = chunks(size, 8 * p * math.prod(tall.shape[:-2]), _BLOCK_BYTES)
    blocks = (tall[..., part.start : part.stop, :].detach().double() for part in parts)
    gram = torch.zeros(*tall.shape[:-2], p, p, dtype=torch.float64, device=W.device)
    for block in blocks:
        gram += times_transpose(block.transpose(-1, -2))
    return gram


def gavish_donoho(ratio: float) -> float:
    """Return lambda* = (2 (beta + 1) + 8 beta / (beta + 1 + (beta^2 + 14 beta + 1)^(1/2)))^(1/2), beta = `ratio`.

    A singular value of a p x q matrix, beta = p / q <= 1, is worth keeping above lambda* q^(1/2) noise (4 / 3^(1/2) for
    a square); for an unknown noise above omega times the median, omega = lambda* / mu^(1/2) with mu of
    `marchenko_pastur_median` (2.858 for a square).

    Raises:
        UsageError: beta is not in (0, 1].
    """
    _check_ratio(ratio)
    root = math.sqrt(ratio**2 + 14 * ratio + 1)
    return math.sqrt(2 * (ratio + 1) + 8 * ratio / (ratio + 1 + root))


@lru_cache(maxsize=4096)
def marchenko_pastur_median(ratio: float) -> float:
    """Return the median of the Marchenko-Pastur law of aspect ratio beta = p / q <= 1 and variance 1.

    Its density ((high - x)(x - low))^(1/2) / (2 pi beta x) on [low, high] = [(1 - beta^(1/2))^2, (1 + beta^(1/2))^2] is
    integrated in the angle of x = (high + low) / 2 - (high - low) / 2 cos(angle), in which it is smooth.

    Raises:
        UsageError: beta is not in (0, 1].
    """
    _check_ratio(ratio)
    centre, half = 1 + ratio, 2 * math.sqrt(ratio)
    edges = np.linspace(0, math.pi, 20001)
    angles = (edges[1:] + edges[:-1]) / 2
    x = centre - half * np.cos(angles)
    heights = np.cumsum((half * np.sin(angles)) ** 2 / x)
    return float(centre - half * np.cos(np.interp(0.5, np.concatenate([[0.0], heights / heights[-1]]), edges)))


def _check_ratio(ratio: float) -> None:
    if not 0 < ratio <= 1:
        raise UsageError(f"aspect ratio {ratio}", "the shorter side over the longer, in (0, 1]", "swap the sides")


def _above(values: Tensor, threshold: Tensor) -> Tensor:
    return (values > threshold[..., None]).sum(dim=-1)


def _outliers(values: Tensor, unit: Edge, m: int, n: int) -> tuple[Tensor, Tensor]:
    """Return how many singular values (..., p) are outliers, and the sum of squares of the others.

    The count is the largest r for which s_r stands above the threshold at the level of what the first r leave, so that
    strong directions do not hide one another. In pure noise the first r hold no more than r lambda+ of m n: the level
    divides by what remains, m n - r lambda+, and as many are looked for as leave something.
    """
    squares = values.square()
    rest = (squares.sum(dim=-1, keepdim=True) - squares.cumsum(dim=-1)).clamp_min(0)
    r = torch.arange(1, values.shape[-1] + 1, dtype=values.dtype, device=values.device)
    room = m * n - r * unit.location[..., None]
    found = (room > 0) & (squares > unit.quantile(FALSE_OUTLIER)[..., None] * rest / room)
    count = (found * r).amax(dim=-1).long()
    kept = torch.cat([squares.sum(dim=-1, keepdim=True), rest], dim=-1).gather(-1, count[..., None])[..., 0]
    return count, kept
