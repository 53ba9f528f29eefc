"""Dissociation: do averages over growing arrays forget everything, or is there a latent that all entries share?"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from scipy import optimize, stats
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import require_finite
from rctheory.statistics.arrays.tails import upper_tail

FEWEST_SIZES = 4  # three terms are fitted


@dataclass(frozen=True)
class Dissociation:
    """The regression of the variance over seeds on 1/n and 1/n^2.

    Args:
        intercept: the variance that does not vanish as n grows; 0 for a dissociated array.
        interval: of the intercept.
        p_value: of the hypothesis that the intercept is 0, against larger.
        slope: coefficient of 1/n: s_r^2 / rho + s_c^2 / (1 - rho), up to the aspect ratio.
        share: the intercept as a share of the variance at the smallest size.
    """

    intercept: float
    interval: tuple[float, float]
    p_value: float
    slope: float
    share: float


def dissociation(means: Tensor, sizes: Tensor, *, level: float = 0.95) -> Dissociation:
    """Test whether the grand means of independent arrays have a variance that vanishes as the arrays grow.

    The entries of a dissociated array share no latent beyond those of rows and columns: over seeds
    Var(mean) = s_r^2 / m + s_c^2 / n + s^2 / (m n) exactly, without intercept. An array with a latent of its own, say a
    random shift of all its entries, has Var(mean) = tau^2 + ... . The sample variances v_n over R seeds are regressed
    on 1, 1/n and 1/n^2, weighted as if v_n were of order 1/n. The intercept is a fixed linear combination
    sum_n a_n v_n with v_n = Var_n chi^2_{R-1} / (R-1); under the null Var_n is fitted without the intercept (both
    coefficients at least 0), and the p-value is the upper tail of the gamma law with the first three moments of that
    combination (conservative where Var_n is of order 1/n^2 alone). The interval is the t interval with the variance of
    the full fit.

    Args:
        means: grand means (S, R): S sizes, R seeds. All S x R are independent.
        sizes: n for each size (S,); the ratio m / n is the same for all.
        level: coverage of the interval.

    Raises:
        ShapeError: fewer than four different sizes, fewer than two seeds, or shapes that do not fit.
        UsageError: a level outside (0, 1), or a size that is not positive.
        NumericsError: a mean is NaN or infinite.

    Source: claim `array.grand-mean`; the laws of v_n hold for normal means, as averages over many entries nearly are.
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level}", "a number between 0 and 1", "use 0.95")
    if means.dim() != 2 or sizes.shape != means.shape[:1] or means.shape[1] < 2:
        found = f"means {tuple(means.shape)} for sizes {tuple(sizes.shape)}"
        raise ShapeError(found, "(S, R) and (S,) with R >= 2 seeds", "give one row of means for each size")
    n = sizes.detach().cpu().double().numpy()
    if not (n > 0).all():
        raise UsageError(f"sizes {n.tolist()}", "positive sizes", "give the numbers of rows or columns")
    if len(set(n.tolist())) < FEWEST_SIZES:
        raise ShapeError(f"{len(set(n.tolist()))} different sizes", f"at least {FEWEST_SIZES}", "add sizes")
    seeds = means.shape[1]
    variances = require_finite("the means", means).detach().cpu().double().var(dim=1).numpy()
    terms = np.stack([np.ones_like(n), 1 / n, 1 / n**2], axis=1)
    weighted = (
        np.linalg.pinv(terms * n[:, None]) * n
    )  # weights n, the inverse sd of v_n up to a factor, were Var_n ~ 1/n
    coefficients = weighted @ variances
    null = terms[:, 1:] @ optimize.nnls(terms[:, 1:] * n[:, None], variances * n)[0]
    moments = [np.sum((weighted[0] * null) ** k) for k in (2, 3)]
    sd = sqrt(2 * moments[0] / (seeds - 1))
    skewness = 8 * moments[1] / (seeds - 1) ** 2 / sd**3 if sd > 0 else np.nan
    z = coefficients[0] / sd if sd > 0 else np.nan
    p_value = float(upper_tail(torch.tensor(z, dtype=torch.float64), torch.tensor(skewness, dtype=torch.float64)))
    fitted = np.maximum(terms @ coefficients, 0)
    error = sqrt(2 * np.sum((weighted[0] * fitted) ** 2) / (seeds - 1))
    half = float(stats.t.ppf((1 + level) / 2, len(n) * (seeds - 1))) * error
    interval = (float(coefficients[0]) - half, float(coefficients[0]) + half)
    share = float(coefficients[0] / variances[np.argmin(n)])
    return Dissociation(float(coefficients[0]), interval, p_value, float(coefficients[1]), share)
