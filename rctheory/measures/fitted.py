"""A row-column law fitted to one matrix: a low-rank mean kernel, row and column scales, a residual law.

    W_ij = <u_i, v_j> + s_i t_j xi_ij,   xi iid, mean 0 and variance 1

The latent of row i is (u_i, log s_i), of column j (v_j, log t_j). All are of order one in the width: the law of latents
can be drawn from at any size, and entries keep their scale.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rctheory.errors import LawError, ShapeError, UsageError
from rctheory.measures.kernels import SeparableKernel, leading
from rctheory.measures.laws import Units
from rctheory.measures.residuals import ResidualLaw
from rctheory.measures.shrinkage import decompose
from rctheory.numerics import generator, require_finite
from rctheory.statistics.arrays.residuals import distance_to_normal, excess_kurtosis

_REFITS = 2
_MOST_SORTED = 1 << 20
_MOST_WEIGHTS = 1 << 24


@dataclass(frozen=True)
class Goodness:
    """How well a fitted law describes its matrix.

    Args:
        explained: share of the sum of squares that the mean kernel takes away, 1 - |W - M|^2 / |W|^2, in sample.
        held_out: the same on entries that were left out of a second fit: what the kernel predicts. Not positive where
            there is no structure.
        kolmogorov: distance of the standardised residual to the normal law.
        excess_kurtosis: of the standardised residual; 0 for a normal one.
    """

    explained: float
    held_out: float
    kolmogorov: float
    excess_kurtosis: float


@dataclass(frozen=True)
class RCFit:
    """A row-column law, fitted.

    Args:
        rows: the latents (u_i, log s_i), (m, r + 1), of equal mass.
        columns: the latents (v_j, log t_j), (n, r + 1).
        residual: the law of xi.
        goodness: how well it fits.
    """

    rows: Units
    columns: Units
    residual: ResidualLaw
    goodness: Goodness

    @property
    def rank(self) -> int:
        """Return r, the rank of the mean kernel."""
        return self.rows.latents.shape[-1] - 1

    @property
    def kernel(self) -> SeparableKernel:
        """Return the mean kernel on these latents: bilinear in their first r coordinates."""
        return SeparableKernel(leading(self.rank), torch.eye(self.rank, dtype=torch.float64), leading(self.rank))

    def expected(self) -> Tensor:
        """Return the mean kernel at the units of the fitted matrix: (m, n), float64."""
        return self.kernel(self.rows.latents, self.columns.latents)

    def standardised(self, W: Tensor) -> Tensor:
        """Return (W - mean) / (s t), (..., m, n): iid, mean 0 and variance 1, if W has the fitted law at these units.

        Raises:
            ShapeError: W is not of the fitted size.
        """
        size = (self.rows.masses.numel(), self.columns.masses.numel())
        if tuple(W.shape[-2:]) != size:
            raise ShapeError(f"a matrix of shape {tuple(W.shape)}", f"(..., {size[0]}, {size[1]})", "fit it first")
        s, t = (units.latents[:, -1].exp().to(W) for units in (self.rows, self.columns))
        return (W - self.expected().to(W)).div_(s[:, None]).div_(t)

    def directions(self) -> tuple[Tensor, Tensor]:
        """Return what spans the rows and the columns of mean / (s t): (m, r) and (n, r)."""
        first, second = (units.latents[:, :-1] / units.latents[:, -1:].exp() for units in (self.rows, self.columns))
        return first, second

    def sample(
        self,
        m: int,
        n: int,
        seed: int,
        *,
        row_axis: str = "rows",
        column_axis: str = "columns",
        smoothing: float = 0.0,
    ) -> Tensor:
        """Draw an m x n array of the fitted law, float64.

        Units are drawn with replacement from the fitted ones. With `smoothing` h in (0, 1] a drawn latent z becomes
        mean + (1 - h^2)^(1/2) (z - mean) + h g, g normal with the covariance of the fitted latents: the first two
        moments stay, and no two units are alike. The residual is drawn anew from its quantiles.

        Args:
            m: rows.
            n: columns.
            seed: root of the streams.
            row_axis: name of the stream that draws the row units. Fits of matrices that share an axis, given one name
                for it, draw the same units: neuron i of gate and up is row i, and column i of down.
            column_axis: name of the stream that draws the column units.
            smoothing: h.

        Raises:
            LawError: m or n is not positive, or h is not in [0, 1].
        """
        rows = draw_latents(self.rows.latents, m, seed, row_axis, smoothing)
        columns = draw_latents(self.columns.latents, n, seed, column_axis, smoothing)
        mean = self.kernel(rows, columns)
        noise = self.residual.sample((m, n), generator(seed, "fitted law", "residual", row_axis, column_axis))
        return mean + rows[:, -1:].exp() * columns[:, -1].exp() * noise


def draw_latents(latents: Tensor, count: int, seed: int, axis: str, smoothing: float = 0.0) -> Tensor:
    """Draw units from fitted ones with replacement, (count, r) float64; see `RCFit.sample`.

    Which units are drawn and how they are smoothed depends on the number of fitted units, the seed and the name of the
    axis alone: latents of the same units in several matrices, drawn one after the other, are drawn jointly.

    Args:
        latents: of the fitted units, (n, r), float64.
        count: how many to draw.
        seed: root of the stream.
        axis: name of the stream.
        smoothing: h in [0, 1].

    Raises:
        LawError: count is not positive, or h is not in [0, 1].
    """
    if count < 1 or not 0 <= smoothing <= 1:
        found = f"{count} units with smoothing {smoothing}"
        raise LawError(found, "at least one unit and smoothing in [0, 1]", "change them")
    stream = generator(seed, "fitted law", "units", axis)
    drawn = latents[torch.randint(len(latents), (count,), generator=stream)]
    if not smoothing:
        return drawn
    mean = latents.mean(dim=0)
    centred = latents - mean
    # An average of the fitted latents with normal weights has their covariance, whatever its rank.
    rows = max(1, _MOST_WEIGHTS // len(centred))
    moved = [
        torch.randn(len(part), len(centred), generator=stream, dtype=torch.float64) @ centred
        for part in drawn.split(rows)
    ]
    scale = smoothing / math.sqrt(len(centred))
    return mean + math.sqrt(1 - smoothing**2) * (drawn - mean) + scale * torch.cat(moved)


def fit_rc(W: Tensor, *, max_rank: int | None = None, held_out: float = 0.1, seed: int = 0) -> RCFit:
    """Fit a row-column law to a matrix W (m, n).

    Row and column scales are those of the residual; in the scale where its noise is white, the singular values y (in
    units of noise q^(1/2), beta = p / q the shorter over the longer side) are shrunk to
    ((y^2 - beta - 1)^2 - 4 beta)^(1/2) / y, optimal in the Frobenius norm, where they stand out of the noise, and to 0
    elsewhere; the noise comes from the median of the others. Scales and mean are iterated until the rank stands still.
    Cost: some ten times that of a `spectrum`.

    Args:
        W: (m, n), m and n at least 4.
        max_rank: keep at most so many directions.
        held_out: share of the entries on which a second fit, blind to them, is scored.
        seed: chooses these entries.

    Raises:
        ShapeError: not a matrix, or fewer than four rows or columns.
        UsageError: a share that is not in (0, 1/2], or a negative rank.
        NumericsError: an entry is not finite.

    Source: Gavish and Donoho, arXiv 1405.7511 (shrinkage), arXiv 1305.5870 (noise from the median).
    """
    if W.ndim != 2 or min(W.shape) < 4:
        raise ShapeError(f"a matrix of shape {tuple(W.shape)}", "(m, n) with m, n >= 4", "fit one matrix at a time")
    if not 0 < held_out <= 0.5 or (max_rank is not None and max_rank < 0):
        found = f"a held-out share of {held_out} and a rank of at most {max_rank}"
        raise UsageError(found, "a share in (0, 1/2] and a rank >= 0", "change them")
    W = require_finite("the matrix", W)
    W = W if W.dtype in (torch.float32, torch.float64) else W.float()
    most = min(W.shape) // 2 if max_rank is None else min(max_rank, min(W.shape) // 2)
    parts = decompose(W, most)
    some = _some_entries(parts.standardised(W), seed)
    total = float(W.square().sum(dtype=torch.float64))
    goodness = Goodness(
        explained=1 - float(parts.residual(W).square_().sum(dtype=torch.float64)) / total if total else 0.0,
        held_out=_predicted(W, most, held_out, seed),
        kolmogorov=float(distance_to_normal(some)),
        excess_kurtosis=float(excess_kurtosis(some)),
    )
    rows, columns = (
        Units.sampled(torch.cat([factor, scale.log()[:, None]], dim=1).cpu())
        for factor, scale in ((parts.left, parts.row_scale), (parts.right, parts.column_scale))
    )
    return RCFit(rows, columns, ResidualLaw.of(some.cpu()), goodness)


def _predicted(W: Tensor, most: int, share: float, seed: int) -> float:
    """Return the share of the sum of squares of entries left out that a fit without them explains."""
    stream = generator(seed, "fitted law", "held out")
    kept = (torch.rand(W.shape, generator=stream) >= share).to(W.device)
    blind = decompose(W * kept, most)
    # Entries that are left out count as 0 at first, so that the fit sees (1 - share) of the mean; then as the fit says.
    guess = replace(blind, left=blind.left / (1 - share))
    for _ in range(_REFITS if guess.left.shape[1] else 0):
        guess = decompose(torch.where(kept, W, guess.mean().to(W)), most)
    total = W[~kept].double().square().sum()
    missed = guess.residual(W)[~kept].double().square().sum()
    return float(1 - missed / total) if total > 0 else 0.0


def _some_entries(residual: Tensor, seed: int) -> Tensor:
    """Return all entries, or a random million of a larger matrix: enough for its quantiles."""
    flat = residual.flatten()
    if flat.numel() <= _MOST_SORTED:
        return flat
    stream = generator(seed, "fitted law", "entries")
    return flat[torch.randint(flat.numel(), (_MOST_SORTED,), generator=stream).to(flat.device)]
