"""Low-rank means in noise with row and column scales: optimal shrinkage of singular values after whitening.

Source: Gavish and Donoho, arXiv 1405.7511 (shrinkage), arXiv 1305.5870 (noise from the median).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rctheory.statistics.spectrum import FALSE_OUTLIER, marchenko_pastur_median, smaller_gram
from rctheory.statistics.variance_profile import estimated_variances, white_edge

_MOST_ROUNDS = 6
_PASSES = 3
_ROUNDING = 1e-7
"""Singular values below this share of the largest are rounding: the root of what a Gram matrix in float64 keeps."""
_TINY = 1e-30
"""In place of the scale of a matrix of zeros; its root is still a float32."""


@dataclass(frozen=True)
class Decomposition:
    """A matrix as a mean of low rank and a residual with scales.

    Args:
        left: factors of the rows, (m, r), float64 like the others.
        right: factors of the columns, (n, r).
        row_scale: scales of the residual, (m,).
        column_scale: (n,).
    """

    left: Tensor
    right: Tensor
    row_scale: Tensor
    column_scale: Tensor

    def mean(self) -> Tensor:
        """Return the mean, (m, n)."""
        return self.left @ self.right.T

    def residual(self, W: Tensor) -> Tensor:
        """Return W - mean, in the dtype of W, with one allocation."""
        return torch.addmm(W, self.left.to(W), self.right.to(W).T, alpha=-1)

    def standardised(self, W: Tensor) -> Tensor:
        """Return (W - mean) / (s t), in the dtype of W."""
        return self.residual(W).div_(self.row_scale.to(W)[:, None]).div_(self.column_scale.to(W))


def decompose(W: Tensor, most: int) -> Decomposition:
    """Split W (m, n) into a mean of rank at most `most` and a residual whose scales differ by row and column.

    The scales of the residual and the mean that stands out of it take turns, until the rank stands still.
    """
    m, n = W.shape
    floor = max(_ROUNDING * float(W.double().square().mean().sqrt()), _TINY)
    empty = [torch.zeros(size, 0, dtype=torch.float64, device=W.device) for size in (m, n)]
    parts = Decomposition(
        empty[0], empty[1], *(torch.ones(size, dtype=torch.float64, device=W.device) for size in (m, n))
    )
    for _ in range(_MOST_ROUNDS):
        before = parts.left.shape[1]
        s, t = _scales(parts.residual(W))
        left, values, right = shrink((W / s.to(W)[:, None]).div_(t.to(W)), most)
        roots = values.sqrt()
        parts = Decomposition(s[:, None] * left * roots, t[:, None] * right * roots, s, t)
        if left.shape[1] == before:
            break
    # The level is split evenly between the two scales; the residual that it leaves has mean square 1.
    level = max(float(parts.standardised(W).double().square().mean().sqrt()), floor)
    return Decomposition(parts.left, parts.right, math.sqrt(level) * s, math.sqrt(level) * t)


def _scales(R: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column scales of a residual; later passes weight entries by what earlier ones found.

    R is overwritten.
    """
    scales = [torch.ones(size, dtype=torch.float64, device=R.device) for size in R.shape]
    for _ in range(_PASSES):
        s, t = (variances.sqrt().clamp_min(_ROUNDING) for variances in estimated_variances(R))
        R.div_(s.to(R)[:, None]).div_(t.to(R))
        scales = [scales[0] * s, scales[1] * t]
    return scales[0], scales[1]


def shrink(X: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular triples of X (m, n) that stand out of white noise, shrunk: (m, r), (r,) and (n, r).

    With beta = p / q <= 1, a value y in units of noise q^(1/2) becomes ((y^2 - beta - 1)^2 - 4 beta)^(1/2) / y.
    """
    m, n = X.shape
    p, q = min(m, n), max(m, n)
    eigenvalues, vectors = np.linalg.eigh(smaller_gram(X).cpu().numpy())
    s = np.sqrt(eigenvalues[::-1].clip(0))
    unit = math.sqrt(float(white_edge(m, n).quantile(FALSE_OUTLIER)))
    rank = 0
    while True:
        median = float(np.median(s[rank:])) / math.sqrt((q - rank) * marchenko_pastur_median((p - rank) / (q - rank)))
        noise = max(median, _ROUNDING * s[0])
        grown = min(max(rank, int((s > unit * noise).sum())), most)
        if grown == rank:
            break
        rank = grown
    y = s[:rank] / max(noise * math.sqrt(q), _TINY)
    values = s[:rank] * np.sqrt((y**2 - p / q - 1) ** 2 - 4 * p / q) / y**2
    short = torch.from_numpy(vectors[:, ::-1][:, :rank].copy()).to(X.device)
    tall = X if m >= n else X.T
    long = (tall @ short.to(X)).double() / torch.from_numpy(s[:rank].copy()).to(X.device)
    left, right = (long, short) if m >= n else (short, long)
    return left, torch.from_numpy(values).to(X.device), right
