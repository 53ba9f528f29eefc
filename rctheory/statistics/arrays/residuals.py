"""What a fitted row-column mean leaves: the shape of the residual, and what structure is still in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.statistics.arrays.four_cycle import interaction
from rctheory.statistics.arrays.outcome import ArrayTest, AxisName, require_arrays, require_axis
from rctheory.statistics.arrays.scales import scale_effects

LAGS = (1, 2, 4, 8, 16, 32)


class Fitted(Protocol):
    """A law fitted to an array: it knows the mean and the scale of every entry."""

    def standardised(self, W: Tensor) -> Tensor:
        """Return (W - mean) / scale, entry by entry: (..., m, n)."""

    def directions(self) -> tuple[Tensor, Tensor]:
        """Return what spans the rows and the columns of mean / scale: (m, r) and (n, r)."""


@dataclass(frozen=True)
class ResidualDiagnostics:
    """What is left of arrays (..., m, n) when a fitted law is taken out.

    Args:
        excess_kurtosis: of the standardised residual, (...); 0 for a normal one.
        kolmogorov: its distance to the standard normal law, (...).
        row_scales: `scale_effects` of the residual's rows: scales that the fit has missed.
        column_scales: the same for its columns.
        interaction: four-cycle test of the residual away from the fitted directions: a mean that the fit has missed.
        lags: `lag_correlation` of the residual by axis and lag: `columns` along the index of columns, inside rows.
    """

    excess_kurtosis: Tensor
    kolmogorov: Tensor
    row_scales: ArrayTest
    column_scales: ArrayTest
    interaction: ArrayTest
    lags: Mapping[AxisName, Mapping[int, ArrayTest]]


def residual_diagnostics(W: Tensor, fit: Fitted, *, seed: int, lags: Sequence[int] = LAGS) -> ResidualDiagnostics:
    """Take a fitted law out of W (..., m, n) and look for what is left.

    Scales and mean were fitted to the same entries. The tests of scales do not know it and err on the side of silence.
    A mean of rank r that is taken out ties all entries to one another, which looks like interaction: that test is done
    on the (m - r) x (n - r) array in the orthogonal complements of the fitted directions, in the bases that r
    reflections give, where normal noise is independent again. Lags that the array is too short for are left out.

    Raises:
        ShapeError: W is not of the fitted size.
        UsageError: a lag below 1.
        NumericsError: an entry is not finite.
    """
    Z = require_arrays(fit.standardised(require_arrays(W, 4, 4)), 4, 4)
    flat = Z.flatten(start_dim=-2)
    return ResidualDiagnostics(
        excess_kurtosis=excess_kurtosis(flat),
        kolmogorov=distance_to_normal(flat),
        row_scales=scale_effects(Z, "rows"),
        column_scales=scale_effects(Z, "columns"),
        interaction=interaction(_away_from(Z, *fit.directions()), seed=seed),
        lags={
            "rows": {lag: lag_correlation(Z, "rows", lag) for lag in lags if lag < Z.shape[-2]},
            "columns": {lag: lag_correlation(Z, "columns", lag) for lag in lags if lag < Z.shape[-1]},
        },
    )


def _away_from(Z: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return Q^T Z P without its first r rows and columns, Q and P the reflections that bring the directions there."""
    for directions in (columns, rows):  # transposed each time: twice in all
        rank = directions.shape[1]
        Z = Z.transpose(-1, -2)
        if rank:
            flat = Z.movedim(-2, 0).reshape(Z.shape[-2], -1)
            turned = torch.ormqr(*torch.geqrf(directions.to(Z)), flat, transpose=True)[rank:]
            Z = turned.reshape(-1, *Z.shape[:-2], Z.shape[-1]).movedim(0, -2)
    return Z


def lag_correlation(Z: Tensor, axis: str, lag: int) -> ArrayTest:
    """Test whether entries whose indices differ by `lag` along an axis are correlated; the mean of Z is taken for 0.

        r = sum_ij Z_ij Z_i,j+h / (sum_ij Z_ij^2 sum_ij Z_i,j+h^2)^(1/2)      (axis `columns`)

    The statistic is sum Z_ij Z_i,j+h / (sum Z_ij^2 Z_i,j+h^2)^(1/2), asymptotically normal for independent entries of
    mean 0 whatever their scales and tails; the p-value is two-sided and the effect is r. An array of zeros has r = 0,
    p = 1.

    Raises:
        UsageError: an unknown axis, or a lag that is below 1 or not below the length of the axis.
        NumericsError: an entry is not finite.
    """
    Z = require_arrays(Z)
    dim = -2 if require_axis(axis) == "rows" else -1
    size = Z.shape[dim]
    if not 0 < lag < size:
        raise UsageError(f"lag {lag} along {size} {axis}", f"1 to {size - 1}", "choose a shorter one")
    early, late = Z.narrow(dim, 0, size - lag), Z.narrow(dim, lag, size - lag)
    products = early * late
    total = products.sum(dim=(-1, -2), dtype=torch.float64)
    norms = [part.square().sum(dim=(-1, -2), dtype=torch.float64) for part in (early, late, products)]
    r = torch.nan_to_num(total / (norms[0] * norms[1]).sqrt(), nan=0.0)
    z = torch.nan_to_num(total / norms[2].sqrt(), nan=0.0)
    return ArrayTest(z, torch.special.erfc(z.abs() / 2**0.5), r)


def excess_kurtosis(values: Tensor) -> Tensor:
    """Return E z^4 / (E z^2)^2 - 3 over the last dimension of samples of mean zero, (...): 0 for a normal law.

    A sample of zeros has none: 0.
    """
    squares = values.square()
    second, fourth = (part.mean(dim=-1, dtype=torch.float64) for part in (squares, squares.square()))
    return torch.nan_to_num(fourth / second.square() - 3, nan=0.0)


def distance_to_normal(values: Tensor) -> Tensor:
    """Return the Kolmogorov distance sup |F - Phi| of samples (..., n) to the standard normal law: (...)."""
    ordered = values.sort(dim=-1).values
    n = ordered.shape[-1]
    heights = torch.special.ndtr(ordered)
    grid = torch.arange(n + 1, dtype=torch.float64, device=ordered.device) / n
    above, below = (grid[1:] - heights).amax(dim=-1), (heights - grid[:-1]).amax(dim=-1)
    return torch.maximum(above, below)
