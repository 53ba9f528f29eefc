"""Distances between empirical laws: Wasserstein-1 (exact and sliced), maximum mean discrepancy, energy distance.

A sample is a tensor (..., n, d) of n points with equal masses; leading dimensions are independent pairs of samples.
The two samples of a pair may differ in size where nothing else is said.
"""

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rctheory.errors import LawError, ShapeError
from rctheory.numerics import require_finite


def wasserstein_line(x: Tensor, y: Tensor) -> Tensor:
    """Return W1 = int |F(t) - G(t)| dt between samples on the line, x (..., n) and y (..., m): (...).

    F and G are the empirical distribution functions; the integral is a finite sum, exact up to rounding.

    Raises:
        ShapeError: a sample has no point, or leading dimensions differ.
        NumericsError: a point is not finite.
    """
    n, m = (_checked(part[..., None]).shape[-2] for part in (x, y))
    _match(x.shape[:-1], y.shape[:-1])
    values, order = torch.cat([x, y], dim=-1).sort(dim=-1)
    steps = torch.cat([x.new_full((n,), 1 / n), x.new_full((m,), -1 / m)])
    heights = steps[order].cumsum(dim=-1)[..., :-1]
    return (heights.abs() * values.diff(dim=-1)).sum(dim=-1)


def wasserstein(x: Tensor, y: Tensor) -> Tensor:
    """Return the exact W1 for Euclidean cost between samples of equal size, x and y (..., n, d): (...).

    An optimal coupling of two samples of n equal masses is a permutation: W1 = min_s mean_i |x_i - y_s(i)|. Cost grows
    like n^3: moderate sizes only. On the line the sorted form is used.

    Raises:
        ShapeError: shapes differ, or a sample has no point.
        NumericsError: a point is not finite.
    """
    _pair(x, y)
    if x.shape != y.shape:
        raise ShapeError(f"samples of shapes {tuple(x.shape)} and {tuple(y.shape)}", "equal sizes", "draw equally many")
    if x.shape[-1] == 1:
        return wasserstein_line(x[..., 0], y[..., 0])
    costs = _euclidean(x, y)
    flat = costs.reshape(-1, *costs.shape[-2:])
    values = [cost[linear_sum_assignment(cost.cpu().numpy())].mean() for cost in flat]
    return torch.stack(values).reshape(costs.shape[:-2])


def directions(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Draw directions uniform on the sphere of R^d: (count, d), float64.

    Raises:
        LawError: no direction or no dimension.
    """
    if count < 1 or dimension < 1:
        raise LawError(f"{count} directions in dimension {dimension}", "at least one of each", "ask for more")
    raw = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(raw, dim=-1)


def sliced_wasserstein(x: Tensor, y: Tensor, slices: Tensor) -> Tensor:
    """Return the mean over directions theta of W1 between the projections <theta, x> and <theta, y>: (...).

    Args:
        x: (..., n, d).
        y: (..., m, d).
        slices: unit vectors (count, d), of `directions`.

    Raises:
        ShapeError: dimensions disagree, or a sample has no point.
        NumericsError: a point is not finite.
    """
    _pair(x, y)
    if slices.ndim != 2 or slices.shape[-1] != x.shape[-1]:
        raise ShapeError(f"directions of shape {tuple(slices.shape)}", f"(count, {x.shape[-1]})", "draw them anew")
    axes = slices.to(x).T
    projected = [(part @ axes).transpose(-1, -2).contiguous() for part in (x, y)]
    return wasserstein_line(*projected).mean(dim=-1)


def squared_mmd(x: Tensor, y: Tensor, bandwidth: float, *, unbiased: bool = False) -> Tensor:
    """Return MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) with k = exp(-|x - y|^2 / (2 bandwidth^2)): (...).

    The V-statistic (default) keeps the pairs of a point with itself: it is the squared distance of the two empirical
    laws and never negative. The unbiased statistic leaves them out: its mean is the MMD^2 of the laws behind.

    Raises:
        LawError: the bandwidth is not positive and finite, or the unbiased form is asked of a single point.
        ShapeError: dimensions disagree, or a sample has no point.
        NumericsError: a point is not finite.
    """
    if not 0 < bandwidth < math.inf:
        raise LawError(f"bandwidth {bandwidth}", "a positive finite number", "use the spread of the law, for example")
    _pair(x, y)
    if unbiased and min(x.shape[-2], y.shape[-2]) < 2:
        raise LawError("a sample of one point for the unbiased MMD", "at least two", "use the V-statistic")

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(_euclidean(a, b).square() / (-2 * bandwidth**2))

    within = sum((_mean_within(kernel(part, part), unbiased=unbiased) for part in (x, y)), start=x.new_zeros(()))
    return within - 2 * kernel(x, y).mean(dim=(-1, -2))


def squared_energy(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared energy distance 2 E|x - y| - E|x - x'| - E|y - y'| of the two empirical laws: (...).

    On the line it is twice the Cramer distance, 2 int (F - G)^2 dt.

    Raises:
        ShapeError: dimensions disagree, or a sample has no point.
        NumericsError: a point is not finite.
    """
    _pair(x, y)
    within = _euclidean(x, x).mean(dim=(-1, -2)) + _euclidean(y, y).mean(dim=(-1, -2))
    return 2 * _euclidean(x, y).mean(dim=(-1, -2)) - within


def _euclidean(x: Tensor, y: Tensor) -> Tensor:
    """Return |x_i - y_j|, (..., n, m), by differences: the product form loses half of the digits of near points."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _mean_within(gram: Tensor, *, unbiased: bool) -> Tensor:
    """Return the mean of k(x_i, x_j) over all pairs, or over those with i != j."""
    if not unbiased:
        return gram.mean(dim=(-1, -2))
    n = gram.shape[-1]
    return (gram.sum(dim=(-1, -2)) - gram.diagonal(dim1=-2, dim2=-1).sum(dim=-1)) / (n * (n - 1))


def _pair(x: Tensor, y: Tensor) -> None:
    """Check two samples: as many coordinates, as many pairs."""
    _checked(x), _checked(y)
    if x.shape[-1] != y.shape[-1]:
        found = f"points of dimension {x.shape[-1]} against {y.shape[-1]}"
        raise ShapeError(found, "one dimension", "compare the same signatures")
    _match(x.shape[:-2], y.shape[:-2])


def _checked(sample: Tensor) -> Tensor:
    if sample.ndim < 2 or not sample.shape[-2] or not sample.shape[-1]:
        raise ShapeError(f"a sample of shape {tuple(sample.shape)}", "(..., n, d) with n, d >= 1", "give it points")
    return require_finite("a sample", sample)


def _match(x: torch.Size, y: torch.Size) -> None:
    if x != y:
        raise ShapeError(f"{tuple(x)} samples against {tuple(y)}", "as many of each", "pair them up")
