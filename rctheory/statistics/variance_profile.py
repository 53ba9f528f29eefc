"""The edge of the bulk of a noise matrix whose rows and columns have scales of their own.

W_ij = (a_i b_j)^(1/2) x_ij, x iid with mean 0 and variance 1, m x n. Outside of the bulk the Dyson equations of W W^T,

    alpha = sum_j b_j / (z (1 - b_j x)),  x = sum_i a_i / (z (1 - a_i alpha)),

are one equation in t = sum_i a_i alpha / (1 - a_i alpha) = sum_j b_j x / (1 - b_j x): z(t) = t / (alpha(t) x(t)).
Here log z is convex in log t, and the edge of the bulk is its minimum. White noise: z = (m + t)(n + t) / t, least at
t = (mn)^(1/2), which is the edge (m^(1/2) + n^(1/2))^2 of Marchenko and Pastur.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy import stats
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import chunks, require_finite

_STEPS = 100
_PRECISION = 1e-12
_BLOCK_BYTES = 1 << 21


@dataclass(frozen=True)
class Edge:
    """The upper edge of the bulk of W W^T.

    Args:
        location: lambda+, (...): where the bulk ends in the limit.
        scale: (...): (largest eigenvalue - lambda+) / scale has the Tracy-Widom law of real symmetric matrices in the
            limit, for entries with a finite fourth moment.
    """

    location: Tensor
    scale: Tensor

    def quantile(self, level: float) -> Tensor:
        """Return the value that the largest eigenvalue of pure noise exceeds with probability `level`: (...).

        Raises:
            UsageError: the level is not inside (0, 1).
        """
        return self.location + tracy_widom_quantile(1 - level) * self.scale


@lru_cache(maxsize=64)
def tracy_widom_quantile(probability: float) -> float:
    """Return a quantile of the Tracy-Widom law of real symmetric matrices (beta = 1).

    Through the shifted gamma law that has its first three moments (Chiani, J. Multivariate Anal. 129, 2014): within
    0.02 of the tables between the quantiles 0.01 and 0.999.

    Raises:
        UsageError: the probability is not inside (0, 1).
    """
    if not 0 < probability < 1:
        raise UsageError(f"probability {probability} of a quantile", "a number inside (0, 1)", "choose another level")
    return float(stats.gamma.ppf(probability, 46.446, loc=-9.84801, scale=0.186054))


def white_edge(m: int, n: int) -> Edge:
    """Return the bulk edge of W W^T for m x n entries of variance 1 (Marchenko-Pastur; Johnstone's scale)."""
    root, inverse = math.sqrt(m) + math.sqrt(n), 1 / math.sqrt(m) + 1 / math.sqrt(n)
    location, scale = (torch.tensor(value, dtype=torch.float64) for value in (root**2, root * inverse ** (1 / 3)))
    return Edge(location, scale)


def separable_edge(rows: Tensor, columns: Tensor) -> Edge:
    """Return the bulk edge of W W^T for entries of variance a_i b_j; all leading dimensions at once.

    The stationary point of log z solves e_a + e_b = 1, e_a = t / (t + sum_i u_i^2), u_i = a_i alpha / (1 - a_i alpha).
    It lies between 1 (one row or column holds everything) and (mn)^(1/2) (white noise), is found by Newton's method
    inside that bracket, and the curvature there gives the scale lambda+ (c / 2 t^2)^(1/3), c = d^2 log z / d(log t)^2.
    Cost: some tens of passes over m + n numbers.

    Args:
        rows: a, variances of the rows, (..., m), not negative, not all zero.
        columns: b, (..., n).

    Raises:
        ShapeError: leading dimensions differ, or an axis is empty.
        UsageError: a negative variance, or an axis of zeros.
        NumericsError: a variance is not finite.

    Source: the support of separable covariance matrices (Couillet and Hachem, arXiv 1310.8094) and the universality of
    its edge (Yang, Electron. J. Probab. 24, 2019).
    """
    a, b = _checked("row", rows), _checked("column", columns)
    if a.shape[:-1] != b.shape[:-1]:
        found = f"variances of shapes {tuple(a.shape)} and {tuple(b.shape)}"
        raise ShapeError(found, "(..., m) and (..., n)", "give both for the same matrices")
    tops = [part.amax(dim=-1) for part in (a, b)]
    a, b = (part / top[..., None] for part, top in zip((a, b), tops, strict=True))
    t, elasticities, curvature = _stationary(a, b)
    location = t / (elasticities[0] * elasticities[1]) * tops[0] * tops[1]
    return Edge(location, location * (curvature / (2 * t.square())).pow(1 / 3))


def estimated_variances(W: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate row and column variances of arrays (..., m, n) of mean zero: (..., m) and (..., n), each of mean one.

    They are the mean squares of rows and columns, shrunk towards one by what sampling alone scatters them, so that
    their variance is that of the variances behind them. An array of zeros has no profile: ones.
    """
    sums, fourth = _sums_of_powers(W.detach())
    a, b = (torch.nan_to_num(part / part.mean(dim=-1, keepdim=True), nan=1.0) for part in sums)
    mean = sums[0].mean(dim=-1) / W.shape[-1]
    fourth = fourth / (W.shape[-2] * W.shape[-1]) / mean.square()
    kurtosis = torch.nan_to_num(fourth, nan=1.0) / (a.square().mean(dim=-1) * b.square().mean(dim=-1))
    spread = (kurtosis - 1).clamp_min(0)
    return _shrunk(a, b, spread), _shrunk(b, a, spread)


def _sums_of_powers(W: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the sums of squares of rows and columns of (..., m, n), and the sum of fourth powers, in float64.

    Blocks of rows are widened one at a time: no copy of a large array is made.
    """
    m, n = W.shape[-2:]
    columns = torch.zeros(*W.shape[:-2], n, dtype=torch.float64, device=W.device)
    fourth = columns.sum(dim=-1)
    rows = torch.zeros(*W.shape[:-2], m, dtype=torch.float64, device=W.device)
    for part in chunks(m, 8 * n * math.prod(W.shape[:-2]), _BLOCK_BYTES):
        squares = W[..., part.start : part.stop, :].double().square()
        rows[..., part.start : part.stop] = squares.sum(dim=-1)
        columns += squares.sum(dim=-2)
        fourth += squares.square_().sum(dim=(-1, -2))
    return (rows, columns), fourth


def _shrunk(a: Tensor, b: Tensor, spread: Tensor) -> Tensor:
    """Shrink mean squares (..., m) to the variance of the variances behind them.

    The mean square of row i over columns of variances b_j is a_i (1 + e), with var e = v = spread sum b^2 / (sum b)^2,
    spread the kurtosis less 1: its variance is var(a) (1 + v) + v.
    """
    v = spread * b.square().sum(dim=-1) / b.sum(dim=-1).square()
    seen = a.var(dim=-1)
    share = torch.nan_to_num((seen - v) / (1 + v) / seen, nan=0.0).clamp(0, 1).sqrt()
    return 1 + share[..., None] * (a - 1)


def _checked(name: str, variances: Tensor) -> Tensor:
    if variances.ndim < 1 or not variances.shape[-1]:
        raise ShapeError(f"{name} variances of shape {tuple(variances.shape)}", "(..., n) with n >= 1", "give them all")
    values = require_finite(f"the {name} variances", variances).double()
    if bool((values < 0).any()) or not bool((values.amax(dim=-1) > 0).all()):
        found = f"{name} variances with smallest {float(values.min()):g} and an axis of largest {_least_top(values):g}"
        raise UsageError(found, "variances >= 0, not all of them 0", "leave constant matrices out")
    return values


def _least_top(values: Tensor) -> float:
    return float(values.amax(dim=-1).min())


def _stationary(a: Tensor, b: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Return t, (alpha, x) and d^2 log z / d(log t)^2 at the edge, by Newton's method inside a bracket of log t."""
    most = torch.full_like(a[..., 0], a.shape[-1] * b.shape[-1]).log() / 2
    low, high, log_t = torch.zeros_like(most), most.clone(), most.clone()
    for _ in range(_STEPS):
        t = log_t.exp()
        (alpha, e_a, slope_a), (x, e_b, slope_b) = _side(a, t), _side(b, t)
        gradient, curvature = 1 - e_a - e_b, -(slope_a + slope_b)
        low, high = torch.where(gradient < 0, log_t, low), torch.where(gradient < 0, high, log_t)
        newton = log_t - gradient / curvature
        moved = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        done = bool(((moved - log_t).abs() <= _PRECISION * (1 + log_t)).all())
        log_t = moved
        if done:
            break
    return t, (alpha, x), curvature


def _side(a: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Solve sum a alpha / (1 - a alpha) = t; return alpha, e = d log alpha / d log t and de / d log t.

    With q = 1 / alpha, g(q) = 1 / sum a / (q - a) is increasing and concave above max a = 1: Newton's method from the
    left of the solution stays there and converges quadratically. For equal variances g is linear: one step is exact.
    """
    # Left of the solution: where the largest variance alone would solve it, and (Jensen) where equal variances would.
    q = torch.maximum(1 + 1 / t, a.mean(dim=-1) + a.sum(dim=-1) / t)
    for _ in range(_STEPS):
        u = a / (q[..., None] - a)
        total = u.sum(dim=-1)
        slope = (u / (q[..., None] - a)).sum(dim=-1)
        step = total * (total / t - 1) / slope
        q = q + step
        if bool((step.abs() <= _PRECISION * q).all()):
            break
    u = a / (q[..., None] - a)
    second = t + u.square().sum(dim=-1)
    third = (u * (1 + u).square()).sum(dim=-1)
    e = t / second
    return 1 / q, e, e.square() * (second / t + 1 - 2 * third / second)
