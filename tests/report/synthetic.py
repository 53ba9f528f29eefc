"""Evidence made up for tests of the report: every kind of content, all numbers from one seed."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from rctheory.statistics.gates import BoundGate, Curve, Estimate, PValues, RateGate, RejectionGate, judge
from rctheory.statistics.rates import Point
from rctheory.suite.claim import Claim
from rctheory.suite.evidence import SCHEMA, Evidence
from rctheory.suite.experiment import Table
from rctheory.suite.links import Link
from rctheory.suite.record import (
    ClaimRecord,
    ControlRecord,
    ControlStatus,
    Environment,
    ProofRecord,
    ProofStatus,
    Status,
    StepRecord,
)
from rctheory.suite.runner import blank_record, decisive_gate, gate_records

EXPERIMENT = Link("toy", "EXPERIMENT")
STEP = StepRecord(
    "The variance of a mean of $n$ independent terms",
    "Eq(Var(f_n), S**2/n)",
    r"\operatorname{Var} f_{n} = \frac{1}{n^{2}} \sum_{i=1}^{n} \sigma_{i}^{2} = \frac{S^{2}}{n}",
    "the difference vanishes",
)


def curve(exponent: float, seed: int, widths: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)) -> Curve:
    """Return a power law with 2% noise."""
    rng = np.random.default_rng(seed)
    points = []
    for n in widths:
        error = 0.9 * n**exponent * math.exp(0.02 * rng.standard_normal())
        points.append(Point(n, error, 0.02 * error, seeds=128))
    return Curve(tuple(points), "width n", "RMS error of the trained output")


def claim(name: str, kind: str, statement: str, gates: dict[str, object], uses: tuple[str, ...] = ()) -> Claim:
    """Return a claim with one experiment and one control."""
    return Claim(name, kind, statement, ("smooth activation",), "own", uses, None, EXPERIMENT, (EXPERIMENT,), (), gates)


def record(of: Claim, quantities: dict[str, object], **changes: object) -> ClaimRecord:
    """Return the record that the runner would write for these quantities."""
    gates = gate_records(of.gates, quantities, judge(of.id, of.gates, quantities))
    worst = decisive_gate(gates)
    return replace(
        blank_record(of),
        status=Status(worst.status.value),
        gate=worst.gate,
        expected=worst.expected,
        estimate=worst.estimate,
        interval=worst.interval,
        points=worst.points,
        gates=gates,
        seconds=12.5,
        **changes,
    )


def p_value_map(rows: int = 30, columns: int = 9) -> Table:
    """Return p-values: some columns uniform, some tiny, some cells empty."""
    rng = np.random.default_rng(3)
    values = rng.uniform(size=(rows, columns))
    values[:, -3:] = 5e-5 * rng.uniform(1, 3, size=(rows, 3))
    values[1:, 0] = math.nan
    names = ("residual", "ffn units", "kv groups", "v inside", "q inside", "k inside", "heads q", "heads k", "heads v")
    labels = tuple(f"layer {i}" for i in range(rows))
    return Table(
        "Permutation p-values of the axes", labels, names[:columns], tuple(map(tuple, values.tolist())), "p-value"
    )


def evidence() -> Evidence:
    """Return a run with a supported rate, an exact claim, a map, and a refuted claim that rests on another."""
    rate = RateGate(Fraction(-1, 2), Fraction(1, 20))
    lln = claim("width.lln", "rate", r"Errors fall as $C\,n^{-1/2}$ at width $n$.", {"slope": rate}, ("sum.exact",))
    planted = gate_records(lln.gates, q := {"slope": curve(-0.04, 2)}, judge("width.lln", lln.gates, q))
    control = ControlRecord(
        "toy:NTK", "middle layer scaled by $n^{-1/2}$", ControlStatus.CAUGHT, "slope", planted[0].estimate, planted
    )
    proof = ProofRecord(ProofStatus.DERIVED, ("independent latents",), (STEP,), "", 1.0)
    exact = claim("sum.exact", "exact", "The sum is exact.", {"error": BoundGate(at_most=Fraction("1e-10"))})
    axes = claim(
        "weights.axes", "statistical", "Axes are exchangeable.", {"none": RejectionGate("none", Fraction("0.01"))}
    )
    small = Table("Errors by depth", ("depth 2", "depth 3"), ("output", "weights"), ((1e-15, 2e-15), (3e-15, math.nan)))
    bad = claim("transfer.rate", "rate", "Transfer costs $m^{-1/2}$ & <b>.", {"slope": rate}, ("weights.axes",))
    records = (
        record(exact, {"error": Estimate(3.1e-15)}, tables=(small,), proof=proof),
        record(lln, {"slope": curve(-0.5, 1)}, controls=(control,), proof=proof, remarks=("Six widths, doubling.",)),
        record(axes, {"none": PValues({"layer 0": 0.4, "layer 1": 0.2})}, tables=(p_value_map(),)),
        record(bad, {"slope": curve(-0.25, 5)}, controls=(replace(control, status=ControlStatus.GREEN),)),
    )
    environment = Environment(
        versions={"python": "3.11", "rctheory": "0.1.0", "torch": "2.13"},
        platform="Linux",
        device="cpu",
        device_name="x86_64",
        workers=2,
        threads=1,
        seed=0,
        tier="ci",
        controls=True,
        commit="0" * 40,
        fingerprint="f" * 64,
        seconds=50.0,
    )
    return Evidence(SCHEMA, environment, records)
