"""Gates: every kind can turn red, and NaN anywhere does."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import NumericsError, RegistryError
from rctheory.statistics.gates import BoundGate, Curve, Estimate, PValues, RateGate, RejectionGate, judge
from rctheory.statistics.rates import Point
from rctheory.statistics.verdicts import Verdict, verdict_of_interval, worst
from tests.helpers import CUTOFF

MOST = BoundGate(at_most=Fraction("1e-10"))
LEAST = BoundGate(at_least=Fraction("0.96"))
BETWEEN = BoundGate(at_least=Fraction("0.95"), at_most=Fraction("1.05"))
RATE = RateGate(Fraction(-1, 2), Fraction(1, 20))
NONE, ALL = (RejectionGate(which, Fraction("0.01")) for which in ("none", "all"))
NAN_PLACES = st.sampled_from(["low", "high", "value"])


@pytest.mark.parametrize(
    ("gate", "estimate", "verdict"),
    [
        (MOST, Estimate(1e-11), Verdict.SUPPORTED),
        (MOST, Estimate(1e-9), Verdict.REFUTED),
        (LEAST, Estimate(0.97), Verdict.SUPPORTED),
        (LEAST, Estimate(0.95), Verdict.REFUTED),
        (LEAST, Estimate(0.97, (0.95, 0.99)), Verdict.INCONCLUSIVE),
        (LEAST, Estimate(0.97, (0.965, 0.99)), Verdict.SUPPORTED),
        (LEAST, Estimate(0.9, (0.89, 0.92)), Verdict.REFUTED),
        (MOST, Estimate(-math.inf), Verdict.REFUTED),
        (BETWEEN, Estimate(1.0, (0.96, 1.04)), Verdict.SUPPORTED),
        (BETWEEN, Estimate(1.0, (0.94, 1.04)), Verdict.INCONCLUSIVE),
        (BETWEEN, Estimate(1.1, (1.06, 1.2)), Verdict.REFUTED),
    ],
)
def test_bounds(gate: BoundGate, estimate: Estimate, verdict: Verdict) -> None:
    assert judge("c", {"g": gate}, {"g": estimate})[0].verdict is verdict


@given(st.sampled_from([MOST, LEAST, BETWEEN]), NAN_PLACES)
def test_nan_fails_every_bound(gate: BoundGate, place: str) -> None:
    good = float(gate.at_most or gate.at_least)
    low, high = (math.nan if place == side else good for side in ("low", "high"))
    estimate = Estimate(math.nan) if place == "value" else Estimate(good, (low, high))
    assert judge("c", {"g": gate}, {"g": estimate})[0].verdict is Verdict.REFUTED


@given(st.integers(0, 5), st.sampled_from(["error", "se", "scale"]))
def test_nan_fails_every_rate(place: int, field: str) -> None:
    points = []
    for i in range(6):
        values = {"error": 0.5**i, "se": 0.01 * 0.5**i, "scale": 4.0**i}
        if i == place:
            values[field] = math.nan
        points.append(Point(4**i, seeds=8, **values))
    with pytest.raises(NumericsError, match="nan"):
        judge("c", {"g": RATE}, {"g": Curve(tuple(points))})


@given(st.sampled_from([NONE, ALL]), st.integers(0, 3), st.sampled_from([math.nan, -0.1, 1.5]))
def test_a_broken_p_value_fails_every_family(gate: RejectionGate, place: int, bad: float) -> None:
    good = 0.5 if gate is NONE else 1e-6
    values = {str(i): bad if i == place else good for i in range(4)}
    assert judge("c", {"g": gate}, {"g": PValues(values)})[0].verdict is Verdict.REFUTED


def test_an_empty_family_supports_nothing() -> None:
    assert judge("c", {"g": NONE}, {"g": PValues({})})[0].verdict is Verdict.REFUTED


def test_p_values_are_adjusted_over_the_whole_claim() -> None:
    """0.004 alone would be rejected at 1%; among four hypotheses it is not."""
    gates = {"a": NONE, "b": ALL}
    alone = judge("c", {"a": NONE}, {"a": PValues({"x": 0.004})})
    assert alone[0].verdict is Verdict.REFUTED
    family = {"a": PValues({"x": 0.004, "y": 0.3, "z": 0.9}), "b": PValues({"w": 1e-5})}
    assert [f.verdict for f in judge("c", gates, family)] == [Verdict.SUPPORTED, Verdict.SUPPORTED]
    weak = {**family, "b": PValues({"w": 0.004})}
    assert [f.verdict for f in judge("c", gates, weak)] == [Verdict.SUPPORTED, Verdict.REFUTED]


def test_power_is_the_departure_that_is_refuted() -> None:
    """Simulated: with the truth that far beyond the range, at most 2.5% of the intervals still touch it."""
    half, replicates = 0.02, 4000
    noise = np.random.default_rng(3).standard_normal(replicates) * half / 1.96
    sample = judge("c", {"g": BETWEEN}, {"g": Estimate(1.0, (1 - half, 1 + half))})[0]
    assert sample.detectable == pytest.approx(2 * half)
    truth = 1.05 + sample.detectable
    estimates = [Estimate(truth + e, (truth + e - half, truth + e + half)) for e in noise]
    verdicts = [judge("c", {"g": BETWEEN}, {"g": estimate})[0].verdict for estimate in estimates]
    missed = sum(verdict is not Verdict.REFUTED for verdict in verdicts)
    assert stats.binomtest(missed, replicates, 0.025, alternative="greater").pvalue > CUTOFF
    assert judge("c", {"g": MOST}, {"g": Estimate(0.0)})[0].detectable is None


def test_bounds_say_what_they_accept() -> None:
    assert [gate.expected() for gate in (MOST, LEAST, BETWEEN)] == ["<= 1e-10", ">= 0.96", "in [0.95, 1.05]"]


def test_rate_gate_keeps_points_and_fit() -> None:
    points = tuple(Point(n, n**-0.5 * (1 + 0.001 * (-1) ** n)) for n in (2, 3, 5, 9, 17, 33))
    finding = judge("c", {"g": RATE}, {"g": Curve(points)})[0]
    assert finding.verdict is Verdict.SUPPORTED
    assert finding.points == points
    assert finding.fit is not None
    assert finding.interval == finding.fit.interval
    assert finding.expected == "slope -1/2 ± 0.05"
    assert RateGate(Fraction(-1, 2), Fraction(1, 20), "upper").expected() == "slope <= -1/2 + 0.05"


def test_names_and_kinds_must_agree() -> None:
    with pytest.raises(RegistryError, match=r"gates \['g'\] and measured quantities \['h'\]"):
        judge("c", {"g": MOST}, {"h": Estimate(0.0)})
    with pytest.raises(RegistryError, match="was given a Estimate; expected a Curve"):
        judge("c", {"g": RATE}, {"g": Estimate(0.0)})


@given(st.floats(), st.floats())
def test_an_interval_is_judged_one_way_only(low: float, high: float) -> None:
    verdict = verdict_of_interval((low, high), (-1.0, 1.0))
    if not low <= high:
        assert verdict is Verdict.REFUTED
    else:
        inside, disjoint = low >= -1 and high <= 1, high < -1 or low > 1
        assert (verdict is Verdict.SUPPORTED) == inside
        assert (verdict is Verdict.REFUTED) == disjoint


def test_worst_of_nothing_is_not_green() -> None:
    assert worst([]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.SUPPORTED, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.REFUTED, Verdict.INCONCLUSIVE, Verdict.SUPPORTED]) is Verdict.REFUTED
