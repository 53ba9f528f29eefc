"""Break the judge, then look whether the suite notices.

A canary suite has a known outcome for every kind of claim. Each saboteur breaks one piece of the machinery in a way
that would make bad evidence look good; the outcome of the canary must change.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from rctheory.errors import DerivationError
from rctheory.statistics import gates, rates, verdicts
from rctheory.statistics.verdicts import Verdict
from rctheory.suite import proving, runner
from rctheory.suite.record import ControlStatus, ProofRecord, ProofStatus
from tests.suite.toys import Toy

EXPECTED = {
    "canary.good": ("supported", ("caught",)),
    "canary.bad": ("refuted", ("caught",)),
    "canary.open": ("inconclusive", ("caught",)),
    "canary.nan": ("refuted", ("caught",)),
    "canary.nan-planted": ("supported", ("caught",)),
    "canary.unguarded": ("supported", ("green",)),
    "canary.unsettled-control": ("supported", ("green",)),
    "canary.broken-control": ("supported", ("error",)),
    "canary.crash": ("error", ()),
    "canary.rate": ("supported", ("caught",)),
    "canary.wrong-rate": ("refuted", ("caught",)),
    "canary.proof": ("supported", ("caught",)),
    "canary.wrong-proof": ("refuted", ("caught",)),
    "canary.careless-proof": ("supported", ("green",)),
    "canary.one-bad-gate": ("refuted", ("caught",)),
    "canary.one-guarding-gate": ("supported", ("caught",)),
}

TWO = """
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Experiment, Measurement

def two(*values):
    quantities = dict(zip(("first", "second"), map(Estimate, values)))
    return Experiment("two numbers", lambda context: Measurement(quantities))

ALL_GOOD, ONE_BAD, ALL_BAD = two(0.0, 0.0), two(0.0, 1.0), two(1.0, 1.0)
"""

TWO_GATES = """
["{name}"]
kind = "exact"
statement = "x"
source = "own"
experiment = "toy_two_gates:{experiment}"
controls = ["toy_two_gates:{control}"]
["{name}".gates.first]
at_most = "1e-6"
["{name}".gates.second]
at_most = "1e-6"
"""


@pytest.fixture
def canary(tmp_path: Path) -> Callable[[], dict[str, tuple[str, tuple[str, ...]]]]:
    """Return a function that runs the canary suite and returns its outcomes."""
    toy = Toy(tmp_path)
    toy.claim("canary.good").claim("canary.bad", "BAD").claim("canary.open", "DOUBTFUL").claim("canary.nan", "NAN")
    toy.claim("canary.nan-planted", control="NAN").claim("canary.unguarded", control="TOLD")
    toy.claim("canary.unsettled-control", control="DOUBTFUL").claim("canary.broken-control", control="BROKEN")
    toy.claim("canary.crash", "CRASH").rate("canary.rate").rate("canary.wrong-rate", "HALVED")
    toy.proof("canary.proof").proof("canary.wrong-proof", factor="3").proof("canary.careless-proof", factor="1")
    (tmp_path / "toy_two_gates.py").write_text(TWO)
    for name, pair in {"one-bad-gate": ("ONE_BAD", "ALL_BAD"), "one-guarding-gate": ("ALL_GOOD", "ONE_BAD")}.items():
        toy.append(TWO_GATES.format(name=f"canary.{name}", experiment=pair[0], control=pair[1]))

    def outcomes() -> dict[str, tuple[str, tuple[str, ...]]]:
        records = toy.session().run().claims
        return {record.id: (record.status.value, tuple(c.status.value for c in record.controls)) for record in records}

    return outcomes


def test_the_canary_is_well(canary):
    assert canary() == EXPECTED


def always_supported(*_: object) -> Verdict:
    """Judge nothing."""
    return Verdict.SUPPORTED


def nan_passes(interval: tuple[float, float], inside: tuple[float, float]) -> Verdict:
    """Judge with the comparisons the wrong way round: NaN is neither above nor below."""
    outside = interval[1] > inside[1] or interval[0] < inside[0]
    return Verdict.REFUTED if outside else Verdict.SUPPORTED


def judge_bound_by_comparison(self: gates.BoundGate, name: str, estimate: gates.Estimate) -> gates.Finding:
    """Fail only when the value exceeds the bound, which NaN never does."""
    verdict = Verdict.REFUTED if estimate.value > self.at_most else Verdict.SUPPORTED
    return gates.Finding(name, self.expected(), estimate.value, None, verdict)


def inconclusive_is_green(interval: tuple[float, float], inside: tuple[float, float]) -> Verdict:
    """Round a doubt up."""
    verdict = verdicts.verdict_of_interval(interval, inside)
    return Verdict.SUPPORTED if verdict is Verdict.INCONCLUSIVE else verdict


def best_gate(records: tuple[runner.GateRecord, ...]) -> runner.GateRecord:
    """Let the best gate decide."""
    return min(records, key=lambda gate: list(Verdict).index(gate.status))


def believe(_claim: object) -> ProofRecord:
    """Believe without deriving."""
    return ProofRecord(ProofStatus.DERIVED)


FIT_RATE = rates.fit_rate


def absolute_slope(points: object, level: float = 0.95) -> rates.RateFit:
    """Report the declared slope, whatever the points."""
    return dataclasses.replace(FIT_RATE(points, level), slope=-0.5, interval=(-0.51, -0.49))


def catch_all(claim: object, link: object, name: str, sentence: str) -> runner.ControlRecord:
    """Count every planted error as caught."""
    return runner.ControlRecord(name, sentence, ControlStatus.CAUGHT)


SABOTEURS = {
    "bounds judge nothing": (gates, "verdict_of_interval", always_supported),
    "rates judge nothing": (rates, "verdict_of_interval", always_supported),
    "NaN passes a bound": (gates.BoundGate, "judge", judge_bound_by_comparison),
    "doubt is green": (gates, "verdict_of_interval", inconclusive_is_green),
    "the best gate decides": (runner, "decisive_gate", best_gate),
    "proofs are believed": (runner, "prove", believe),
    "plants are not planted": (runner, "run_plants", lambda _claim: ()),
    "plants count as caught": (proving, "_run_plant", catch_all),
    "controls do not run": (runner, "_run_controls", lambda *_: ()),
    "the slope is the declared one": (gates, "fit_rate", absolute_slope),
    "derivations never fail": (proving, "DerivationError", type("Other", (DerivationError,), {})),
}


@pytest.mark.parametrize("name", SABOTEURS)
def test_a_saboteur_is_noticed(canary, monkeypatch, name):
    owner, attribute, replacement = SABOTEURS[name]
    monkeypatch.setattr(owner, attribute, replacement)
    assert canary() != EXPECTED


def test_the_canary_guards_the_interval_code_against_reversed_comparisons(canary, monkeypatch):
    monkeypatch.setattr(gates, "verdict_of_interval", nan_passes)
    assert canary()["canary.open"] != EXPECTED["canary.open"]
