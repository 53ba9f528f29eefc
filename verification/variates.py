"""Root mean square errors: with the first-order part as a control variate, with one law of their scatter."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from rctheory.errors import NumericsError
from rctheory.statistics.rates import Point


def point_with_variate(
    n: int, error: Tensor, linear: Tensor, second_moment: float, scale: float | None = None
) -> Point:
    """Return the RMS of `error` at size n: E e^2 = E L^2 + E(e^2 - L^2).

    The first-order part L of the error has a known second moment whatever the influence functions are, so the estimate
    is unbiased for any of them; right ones leave it almost no noise, wrong ones leave it much.

    Args:
        n: the size.
        error: (runs, outputs).
        linear: L on the same runs, (runs, outputs).
        second_moment: E L^2, averaged over the outputs.
        scale: the abscissa, n where absent.

    Raises:
        NumericsError: the estimate of the mean square is not positive: there are too few runs.
    """
    squares = (error.square() - linear.square()).mean(dim=1) + second_moment
    mean, runs = float(squares.mean()), len(squares)
    if not mean > 0:
        raise NumericsError(f"mean square error {mean} at n = {n}", "a positive number", "use more seeds")
    root = math.sqrt(mean)
    return Point(n, root, float(squares.std()) / math.sqrt(runs) / (2 * root), runs, scale)


def pooled_points(squares: Mapping[int, Sequence[float]], scale: Callable[[int], float]) -> tuple[Point, ...]:
    """Return the root mean square at each size, from the squared errors of a handful of runs.

    In the limit the law of the squared error, divided by its mean, is free of the size: its coefficient of variation is
    pooled over the sizes, where a handful of runs alone would give a wild standard error.

    Args:
        squares: at least one squared error for each size, and two for some.
        scale: the abscissa of a size.
    """
    scattered = [(torch.tensor(values) / (sum(values) / len(values)) - 1).square().sum() for values in squares.values()]
    freedom = sum(len(values) - 1 for values in squares.values())
    variation = math.sqrt(float(sum(scattered)) / freedom)
    points = []
    for n, values in squares.items():
        error = math.sqrt(sum(values) / len(values))
        se = error * variation / (2 * math.sqrt(len(values)))
        points.append(Point(n, error, se, len(values), scale(n)))
    return tuple(points)
