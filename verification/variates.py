"""Root mean square errors with the first-order part of the error as a control variate."""

import math

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
