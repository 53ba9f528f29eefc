"""Exponents with exact Student-t intervals, and the scale of a finite reference.

Source: claims `width.lln` and `mlp.zero-shot`; the interval is the classical one of weighted least squares.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import stats

from rctheory.errors import NumericsError, UsageError
from rctheory.statistics.verdicts import Verdict, verdict_of_interval


@dataclass(frozen=True)
class Point:
    """The error measured at one size.

    Args:
        n: width, node count or sample size.
        error: the error there (RMS over seeds, positive).
        se: standard error of `error`; 0 for a deterministic error.
        seeds: how many independent repetitions stand behind it.
        scale: the abscissa of the rate; `n` unless the reference is finite (see `effective_width`).
    """

    n: int
    error: float
    se: float = 0.0
    seeds: int = 1
    scale: float | None = None

    @classmethod
    def rms(cls, n: int, squares: Sequence[float], scale: float | None = None) -> "Point":
        """Return the root mean square over seeds from each seed's squared error, with its delta-method standard error.

        sd(sqrt(m)) = sd(m) / (2 sqrt(m)) for the mean m of the squares.
        """
        values = np.asarray(squares, dtype=float)
        error = math.sqrt(values.mean())
        se = float(values.std(ddof=1)) / math.sqrt(len(values)) / (2 * error) if len(values) > 1 and error else 0.0
        return cls(n, error, se, len(values), scale)

    @property
    def abscissa(self) -> float:
        """Return the scale on which the rate holds."""
        return float(self.n) if self.scale is None else self.scale


def effective_width(m: int, reference: int, *, nested: bool = True) -> float:
    """Return 1 / (1/m -+ 1/N): the width whose error against the limit equals that of m against a reference N.

    Two nested samples of m < N units share the reference's own fluctuation, so their difference has variance
    S^2 (1/m - 1/N); independent ones add theirs, S^2 (1/m + 1/N): regress on this scale, never on m.

    Args:
        m: width.
        reference: N.
        nested: whether the m units are among those of the reference.

    Raises:
        UsageError: m is not in 1..N-1, or not positive where the two are independent.

    Source: claim `reference.finite`.
    """
    if not 0 < m < reference and (nested or m < 1 or reference < 1):
        expected = "0 < m < N" if nested else "positive widths"
        raise UsageError(f"width {m} against a reference of width {reference}", expected, "compare other widths")
    return 1.0 / (1.0 / m + (-1.0 if nested else 1.0) / reference)


@dataclass(frozen=True)
class RateFit:
    """log error = intercept + slope log scale, fitted by weighted least squares.

    Args:
        slope: the exponent.
        intercept: log of the constant.
        slope_se: standard error of the slope.
        dof: degrees of freedom of its Student-t law.
        level: confidence level of `interval`.
        interval: confidence interval of the slope.
        covariance: 2 x 2 covariance of (intercept, slope), for the band.
    """

    slope: float
    intercept: float
    slope_se: float
    dof: int
    level: float
    interval: tuple[float, float]
    covariance: tuple[tuple[float, float], tuple[float, float]]

    def verdict(self, rate: Fraction | float, margin: Fraction | float, side: str = "two") -> Verdict:
        """Judge the slope against `rate` +- `margin`.

        `side="two"` where a CLT or a matching lower bound holds; `side="upper"` where theory only bounds the error
        from above: then a steeper slope refutes nothing.
        """
        low = -math.inf if side == "upper" else float(rate) - float(margin)
        return verdict_of_interval(self.interval, (low, float(rate) + float(margin)))

    def curve(self, scale: Sequence[float]) -> tuple[list[float], list[float], list[float]]:
        """Return the fitted errors at `scale` and the pointwise confidence band around them."""
        logs = np.log(np.asarray(scale, dtype=float))
        centre = self.intercept + self.slope * logs
        (c00, c01), (_, c11) = self.covariance
        half = self._quantile() * np.sqrt(c00 + 2 * logs * c01 + logs**2 * c11)
        return np.exp(centre).tolist(), np.exp(centre - half).tolist(), np.exp(centre + half).tolist()

    def _quantile(self) -> float:
        return float(stats.t.ppf((1 + self.level) / 2, self.dof))


def fit_rate(points: Sequence[Point], level: float = 0.95) -> RateFit:
    """Fit the exponent of `points` on log-log scale.

    Weights are (error / se)^2, the inverse variance of log error to first order, used up to a common factor that
    the scatter of the residuals sets: the interval is Student-t with len(points) - 2 degrees of freedom, exact for
    Gaussian log errors of known relative variances. Points without `se` weigh the same.

    Raises:
        UsageError: fewer than three distinct scales, or some points with `se` and some without.
        NumericsError: an error or a scale that is not finite and positive (NaN included).
    """
    x, y, weights = _log_data(points)
    if len(set(x.tolist())) < 3:
        raise UsageError(f"{len(set(x.tolist()))} distinct sizes", "at least 3 to fit a rate", "measure more sizes")
    design = np.stack([np.ones_like(x), x], axis=1)
    information = design.T @ (weights[:, None] * design)
    covariance = np.linalg.inv(information)
    intercept, slope = (float(c) for c in covariance @ (design.T @ (weights * y)))
    dof = len(points) - 2
    residual = y - intercept - slope * x
    covariance = covariance * float(weights @ residual**2) / dof
    slope_se = float(np.sqrt(covariance[1, 1]))
    half = float(stats.t.ppf((1 + level) / 2, dof)) * slope_se
    (c00, c01), (c10, c11) = covariance.tolist()
    return RateFit(slope, intercept, slope_se, dof, level, (slope - half, slope + half), ((c00, c01), (c10, c11)))


def _log_data(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check the points; return log scale, log error and weights."""
    for point in points:
        for name, value in (("error", point.error), ("scale", point.abscissa)):
            if not 0 < value < math.inf:
                raise NumericsError(
                    f"{name} {value} at n = {point.n}", "a finite positive number", "look at the simulation upstream"
                )
        if not 0 <= point.se < math.inf:
            raise NumericsError(f"standard error {point.se} at n = {point.n}", "a finite number >= 0", "use more seeds")
    if len({point.se > 0 for point in points}) > 1:
        raise UsageError("standard errors at some sizes only", "them at every size or at none", "use seeds everywhere")
    x = np.log([point.abscissa for point in points])
    y = np.log([point.error for point in points])
    weights = np.array([(point.error / point.se) ** 2 if point.se else 1.0 for point in points])
    return x, y, weights / weights.mean()
