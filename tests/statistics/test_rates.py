"""Rate fits: planted exponents, stated coverage, verdicts, finite references, NaN."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import NumericsError, UsageError
from rctheory.statistics.rates import Point, effective_width, fit_rate
from rctheory.statistics.verdicts import Verdict
from tests.helpers import CUTOFF, SEEDS

WIDTHS = [32, 64, 128, 256, 512, 1024]


@given(st.floats(-4, 4), st.floats(-5, 5), st.lists(st.integers(2, 10**6), min_size=3, max_size=9, unique=True))
def test_planted_exponents_are_recovered(slope: float, intercept: float, widths: list[int]) -> None:
    points = [Point(n, math.exp(intercept + slope * math.log(n))) for n in widths]
    fit = fit_rate(points)
    spread = np.ptp(np.log(widths))
    # log of errors up to e^60 carries 1e-14 of rounding; the slope divides it by the spread of log n.
    assert abs(fit.slope - slope) <= 1e-12 / spread
    centre, low, high = fit.curve([float(n) for n in widths])
    assert all(a <= b <= c or math.isclose(a, c, rel_tol=1e-9) for a, b, c in zip(low, centre, high, strict=True))


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("noise", [[0.02] * 6, [0.01, 0.01, 0.02, 0.02, 0.04, 0.08]])
def test_interval_has_its_stated_coverage(level: float, noise: list[float]) -> None:
    """Gaussian log errors of known relative variances: coverage is exactly the level."""
    generator, replicates, covered = np.random.default_rng(7), 3000, 0
    for _ in range(replicates):
        errors = [
            3 * n**-0.5 * math.exp(sd * z) for n, sd, z in zip(WIDTHS, noise, generator.standard_normal(6), strict=True)
        ]
        # `se` is known up to a common factor only: here it is stated three times too small.
        points = [Point(n, e, se=e * sd / 3, seeds=9) for n, e, sd in zip(WIDTHS, errors, noise, strict=True)]
        low, high = fit_rate(points, level).interval
        covered += low <= -0.5 <= high
    assert stats.binomtest(covered, replicates, level).pvalue > CUTOFF


def test_unweighted_fit_is_scipys() -> None:
    errors = [0.9, 0.61, 0.5, 0.3, 0.22, 0.17]
    fit = fit_rate([Point(n, e) for n, e in zip(WIDTHS, errors, strict=True)])
    line = stats.linregress(np.log(WIDTHS), np.log(errors))
    assert fit.slope == pytest.approx(line.slope, rel=1e-12)
    assert fit.slope_se == pytest.approx(line.stderr, rel=1e-10)


def test_weights_are_inverse_variances() -> None:
    """A point with a huge standard error does not move the fit."""
    points = [Point(n, n**-0.5, se=1e-3 * n**-0.5) for n in WIDTHS]
    assert fit_rate([*points, Point(2048, 1.0, se=1e6)]).slope == pytest.approx(-0.5, abs=1e-9)


@pytest.mark.parametrize(
    ("slope", "side", "verdict"),
    [
        (-0.5, "two", Verdict.SUPPORTED),
        (-0.7, "two", Verdict.REFUTED),
        (-0.3, "two", Verdict.REFUTED),
        (-0.7, "upper", Verdict.SUPPORTED),
        (-0.3, "upper", Verdict.REFUTED),
    ],
)
def test_verdicts(slope: float, side: str, verdict: Verdict) -> None:
    wiggle = [1.001, 0.999, 1.0, 1.001, 0.999, 1.0]
    points = [Point(n, w * n**slope) for n, w in zip(WIDTHS, wiggle, strict=True)]
    assert fit_rate(points).verdict(Fraction(-1, 2), Fraction(1, 20), side) is verdict


def test_noise_is_inconclusive_and_not_green() -> None:
    wiggle = [1.5, 0.7, 1.2, 0.8, 1.4, 0.9]
    points = [Point(n, w * n**-0.5) for n, w in zip(WIDTHS, wiggle, strict=True)]
    assert fit_rate(points).verdict(Fraction(-1, 2), Fraction(1, 20)) is Verdict.INCONCLUSIVE


@given(st.integers(0, 5), st.sampled_from([math.nan, math.inf, 0.0, -1.0]))
def test_an_error_that_is_no_number_is_refused(place: int, bad: float) -> None:
    points = [Point(n, bad if i == place else 1 / n) for i, n in enumerate(WIDTHS)]
    with pytest.raises(NumericsError, match=f"at n = {WIDTHS[place]}"):
        fit_rate(points)


def test_a_standard_error_that_is_no_number_is_refused() -> None:
    points = [Point(n, 1 / n, se=math.nan if n == 64 else 0.1 / n) for n in WIDTHS]
    with pytest.raises(NumericsError, match="standard error nan at n = 64"):
        fit_rate(points)


def test_too_few_sizes_and_mixed_errors_are_refused() -> None:
    with pytest.raises(UsageError, match="2 distinct sizes"):
        fit_rate([Point(8, 1.0), Point(8, 1.1), Point(16, 0.5)])
    with pytest.raises(UsageError, match="standard errors at some sizes only"):
        fit_rate([Point(8, 1.0, se=0.1), Point(16, 0.7), Point(32, 0.5)])


@given(SEEDS)
def test_rms_point_is_the_delta_method(seed: int) -> None:
    generator = np.random.default_rng(seed)
    squares = generator.chisquare(2, size=400)
    point = Point.rms(10, squares.tolist())
    assert point.error == pytest.approx(math.sqrt(squares.mean()))
    resampled = [math.sqrt(generator.choice(squares, 400).mean()) for _ in range(300)]
    # The bootstrap's own standard deviation is known to 1 / sqrt(600) = 4%; five of these, and 5% of delta-method bias.
    assert point.se == pytest.approx(float(np.std(resampled)), rel=0.26)


@given(st.integers(2, 10**6), st.data())
def test_effective_width_of_a_finite_reference(reference: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(1, reference - 1))
    exact = 1 / (Fraction(1, m) - Fraction(1, reference))
    # 1/m - 1/N cancels: its relative error is at most 2 u N / (N - m).
    assert abs(effective_width(m, reference) / exact - 1) <= 1e-15 * (2 + 2 * reference / (reference - m))
    with pytest.raises(UsageError, match="0 < m < N"):
        effective_width(reference, reference)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_effective_width_of_an_independent_reference(m: int, reference: int) -> None:
    exact = 1 / (Fraction(1, m) + Fraction(1, reference))
    assert abs(effective_width(m, reference, nested=False) / exact - 1) <= 1e-15
    with pytest.raises(UsageError, match="positive widths"):
        effective_width(0, reference, nested=False)
