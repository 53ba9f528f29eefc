"""What an interval of an array statistic gives back, and when it refuses: the degenerate arrays."""

from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

DEGENERATE_LEVEL = 0.01  # at most this share of degenerate arrays is not recognised
DEGENERATE_RATIO = float(special.chdtri(1, DEGENERATE_LEVEL))


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


def degenerate(first: Tensor, second: Tensor, rounding: Tensor) -> Tensor:
    """Return whether single rows and columns do not significantly move a statistic.

    `first` is the sum over rows and columns of squared influences, `second` the variance of what two of them (two rows,
    two columns, a row and a column) do together. Where no single row or column has an influence, first / (2 second)
    tends to a weighted mean of chi-square variables of one degree of freedom. Above the 78.5% point no such mean has
    more mass than a single one, so the 1% point of that one, 6.6, is exceeded with probability 1% at most: by `r_i c_j`
    with 0.1%, by noise of many dimensions practically never. Where a single row has an influence the ratio grows like
    the size of the array.

    Args:
        first: (...).
        second: (...).
        rounding: below this `first` is rounding, (...).

    Source: G. Szekely and N. Bakirov, Extremal probabilities for Gaussian quadratic forms, 2003; claim
    `array.degenerate`.
    """
    return ~((first > 2 * DEGENERATE_RATIO * second) & (first > rounding))


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


def student_quantile(probability: float, variances: tuple[Tensor, Tensor], sizes: tuple[int, int]) -> Tensor:
    """Return the quantile of Student's t for a variance that is the sum of a row part and a column part.

    Degrees of freedom (V_r + V_c)^2 / (V_r^2 / (m - 1) + V_c^2 / (n - 1)), after Welch and Satterthwaite.
    """
    total = variances[0] + variances[1]
    parts = [variance.square() / (size - 1) for variance, size in zip(variances, sizes, strict=True)]
    freedom = (total.square() / (parts[0] + parts[1])).nan_to_num(nan=1.0).clamp(min=1.0)
    return torch.as_tensor(special.stdtrit(freedom.numpy(), probability))
