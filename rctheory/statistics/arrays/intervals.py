"""What an interval of an array statistic gives back, and when it refuses: the degenerate arrays."""

from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

DEGENERATE_LEVEL = 0.01  # about this share of degenerate arrays, at most, is not recognised


@dataclass(frozen=True)
class Interval:
    """A confidence interval for each array of a batch; every field has the leading axes (...) of the arrays.

    Args:
        estimate: the statistic.
        low: lower end; NaN where the interval is refused.
        high: upper end; NaN where the interval is refused.
        sd: the standard error behind it; NaN where it is refused.
        refusal: why, when any of them is refused.
    """

    estimate: Tensor
    low: Tensor
    high: Tensor
    sd: Tensor
    refusal: str = ""


def degenerate(first: Tensor, second: Tensor, dimensions: Tensor, rounding: Tensor) -> Tensor:
    """Return whether single rows and columns do not significantly move a statistic.

    `first` is the sum over rows and columns of squared influences, `second` the variance of what two of them (two rows,
    two columns, a row and a column) do together. Where no single row or column has an influence, first / (2 second)
    tends to a weighted mean of chi-square variables of one degree of freedom: one alone for `r_i c_j`, many for noise.
    It is compared with the 1% point of chi^2_d / d with as many `dimensions` d as that mean has in effect. At d = 1
    this is a bound: no weighted mean has more mass above 6.6. Where a single row has an influence the ratio grows like
    the size of the array. What two do together in many dimensions is itself nearly normal, so that an array that
    passes with a small ratio has a normal limit all the same.

    Args:
        first: (...).
        second: (...).
        dimensions: (...), at least 1.
        rounding: below this `first` is rounding, (...).

    Source: G. Szekely and N. Bakirov, Extremal probabilities for Gaussian quadratic forms, 2003, for the bound; claim
    `array.degenerate`.
    """
    ratio = torch.as_tensor(special.chdtri(dimensions.numpy(), DEGENERATE_LEVEL)) / dimensions
    return ~((first > 2 * ratio * second) & (first > rounding))


def dimensions_of(mixed: Tensor) -> Tensor:
    """Return (sum_k s_k^2)^2 / sum_k s_k^4 for the singular values of arrays (b, m, n), (b,): 1 for rank one.

    With random masses on the columns, the squared length of a combination of columns has the law of a weighted mean of
    chi-squares with weights s_k^2, and the variance of a chi-square of so many degrees over their number.
    """
    gram = mixed @ mixed.mT if mixed.shape[-2] <= mixed.shape[-1] else mixed.mT @ mixed
    found = gram.diagonal(dim1=-2, dim2=-1).sum(dim=-1).square() / gram.square().sum(dim=(-1, -2))
    return found.nan_to_num(nan=1.0).clamp(min=1.0)


def refused(interval: Interval, where: Tensor) -> Interval:
    """Return the interval with NaN ends where it is refused, and the reason."""
    if not bool(where.any()):
        return interval
    low, high, sd = (value.masked_fill(where, torch.nan) for value in (interval.low, interval.high, interval.sd))
    reason = (
        f"{int(where.sum())} of {where.numel()} arrays are degenerate for this statistic: no single row or column "
        "significantly moves it, so its limit law is not normal"
    )
    return Interval(interval.estimate, low, high, sd, reason)


def freedom_of(influences: tuple[Tensor, Tensor]) -> Tensor:
    """Return the degrees of freedom of a variance sum_i x_i^2 + sum_j y_j^2 of influences (b, m) and (b, n), (b,).

    After Welch and Satterthwaite, 2 V^2 / Var V, with Var V from the influences themselves: about m for normal ones,
    fewer for heavy tails. At least 3.
    """
    squares = [x.square() for x in influences]
    variance = torch.stack([x.sum(dim=-1) for x in squares]).sum(dim=0)
    spread = torch.stack([(x - x.mean(dim=-1, keepdim=True)).square().sum(dim=-1) for x in squares]).sum(dim=0)
    return (2 * variance.square() / spread).nan_to_num(nan=3.0).clamp(3.0, 1e6)


def student_quantile(level: float, freedom: Tensor) -> Tensor:
    """Return the quantile (1 + level) / 2 of Student's t, for each of the degrees of freedom."""
    return torch.as_tensor(special.stdtrit(freedom.numpy(), (1 + level) / 2))
