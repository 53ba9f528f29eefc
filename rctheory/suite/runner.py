"""One job: the proof of a claim, its experiment, and the controls of both, in one process.

The controls follow their experiment in the same process, so that whatever it cached serves them too.
"""

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rctheory.errors import RcError, RegistryError
from rctheory.statistics.gates import Curve, Finding, Gate, Quantity, RateGate, judge
from rctheory.statistics.verdicts import Verdict, worst
from rctheory.suite.claim import Claim
from rctheory.suite.codec import normalize
from rctheory.suite.experiment import Context, Experiment, Measurement
from rctheory.suite.links import Link
from rctheory.suite.proving import prove, run_plants
from rctheory.suite.record import (
    ClaimRecord,
    ControlRecord,
    ControlStatus,
    GateRecord,
    ProofStatus,
    Status,
)


@dataclass(frozen=True)
class Job:
    """A claim and the circumstances under which to examine it."""

    claim: Claim
    context: Context
    controls: bool = True


def blank_record(claim: Claim) -> ClaimRecord:
    """Return the record of a claim that was not run."""
    return ClaimRecord(
        id=claim.id,
        kind=claim.kind,
        statement=claim.statement,
        assumptions=claim.assumptions,
        source=claim.source,
        uses=claim.uses,
        status=Status.NOT_RUN,
    )


def run_job(job: Job) -> ClaimRecord:
    """Examine one claim; an exception becomes status `error`, an interruption passes through."""
    start = time.perf_counter()
    record = _guarded(job, blank_record(job.claim))
    try:
        record = normalize(record)
    except RcError as error:
        record = replace(blank_record(job.claim), status=Status.ERROR, message=str(error))
    return replace(record, seconds=time.perf_counter() - start)


def check_links(claim: Claim, *, controls: bool) -> None:
    """Resolve what a job needs, before any work.

    Raises:
        RegistryError: a link that dangles, or whose object is of the wrong kind.
        RcError: something that an experiment requires is missing.
    """
    for where, link in claim.links().items():
        if "controls" in where and not controls:
            continue
        target = link.resolve(where)
        if where.endswith("proof"):
            if not callable(target):
                raise RegistryError(f"{where} = {link} is not callable", "a function derive()", "correct the link")
        elif not isinstance(target, Experiment):
            found = f"{where} = {link} is a {type(target).__name__}"
            raise RegistryError(found, "an Experiment", "wrap it in rctheory.suite.experiment.Experiment")
        else:
            target.requires()


def _guarded(job: Job, record: ClaimRecord) -> ClaimRecord:
    """Fill the record part by part, so that an error keeps what came before it."""
    claim, context = job.claim, job.context
    try:
        if claim.proof:
            context.report_progress("proof")
            record = replace(record, proof=prove(claim))
            if job.controls:
                record = replace(record, controls=run_plants(claim))
        if claim.experiment:
            record = _run_experiment(claim, claim.experiment, context, record)
        record = replace(record, status=_status(record, experiment=claim.experiment is not None))
        if job.controls:
            record = replace(record, controls=record.controls + _run_controls(claim, context))
    except RcError as error:
        return replace(record, status=Status.ERROR, message=str(error))
    except Exception as error:  # whatever a simulation may raise belongs in its record
        message = f"{type(error).__name__}: {error}"
        return replace(record, status=Status.ERROR, message=message, traceback=traceback.format_exc())
    return record


def _run_experiment(claim: Claim, link: Link, context: Context, record: ClaimRecord) -> ClaimRecord:
    experiment = _experiment(link, f"claim {claim.id}: experiment")
    context.report_progress(experiment.title)
    measurement, gates = _measure(claim, experiment, context)
    decisive = decisive_gate(gates)
    return replace(
        record,
        gates=gates,
        experiment=experiment.title,
        gate=decisive.gate,
        expected=decisive.expected,
        estimate=decisive.estimate,
        interval=decisive.interval,
        points=decisive.points or next((gate.points for gate in gates if gate.points), ()),
        tables=tuple(measurement.tables),
        remarks=tuple(measurement.remarks),
    )


def _run_controls(claim: Claim, context: Context) -> tuple[ControlRecord, ...]:
    return tuple(_run_control(claim, link, i, context) for i, link in enumerate(claim.controls))


def _run_control(claim: Claim, link: Link, index: int, context: Context) -> ControlRecord:
    """Run an experiment with a planted error; caught only when a gate refutes it: an error is no verdict."""
    start = time.perf_counter()
    control = _experiment(link, f"claim {claim.id}: controls[{index}]")
    context.report_progress(f"control: {control.title}")
    try:
        _, gates = _measure(claim, control, context)
    except Exception as error:  # told in the record: the control did not reach its gates
        message = str(error) if isinstance(error, RcError) else f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - start
        return ControlRecord(str(link), control.title, ControlStatus.ERROR, message=message, seconds=seconds)
    decisive = decisive_gate(gates)
    status = ControlStatus.CAUGHT if decisive.status is Verdict.REFUTED else ControlStatus.GREEN
    seconds = time.perf_counter() - start
    return ControlRecord(
        str(link), control.title, status, decisive.gate, decisive.estimate, gates=gates, seconds=seconds
    )


def _experiment(link: Link, where: str) -> Experiment:
    target = link.resolve(where)
    if not isinstance(target, Experiment):
        raise RegistryError(f"{where} = {link} is a {type(target).__name__}", "an Experiment", "correct the link")
    return target


def _measure(claim: Claim, experiment: Experiment, context: Context) -> tuple[Measurement, tuple[GateRecord, ...]]:
    """Run an experiment and judge what it measured by the gates of the claim."""
    measurement = experiment.run(context)
    if not isinstance(measurement, Measurement):
        found = f"claim {claim.id}: the experiment returned a {type(measurement).__name__}"
        raise RegistryError(found, "a Measurement", "return rctheory.suite.experiment.Measurement")
    quantities = measurement.quantities
    return measurement, gate_records(claim.gates, quantities, judge(claim.id, claim.gates, quantities))


def gate_records(
    gates: Mapping[str, Gate], quantities: Mapping[str, Quantity], findings: Sequence[Finding]
) -> tuple[GateRecord, ...]:
    """Join each finding with its gate and its quantity, for the record."""
    return tuple(_record(finding, gates[finding.gate], quantities) for finding in findings)


def _record(finding: Finding, gate: Gate, quantities: Mapping[str, Quantity]) -> GateRecord:
    quantity = quantities[finding.gate]
    curve = quantity if isinstance(quantity, Curve) else None
    return GateRecord(
        gate=finding.gate,
        expected=finding.expected,
        status=finding.verdict,
        estimate=float(finding.estimate),
        interval=finding.interval,
        detectable=finding.detectable,
        detail=finding.detail,
        points=finding.points,
        fit=finding.fit,
        rate=str(gate.rate) if isinstance(gate, RateGate) else None,
        x_label=curve.x_label if curve else "",
        y_label=curve.y_label if curve else "",
    )


def decisive_gate(gates: tuple[GateRecord, ...]) -> GateRecord:
    """Return the first of the worst gates: the one that decides the status."""
    verdict = worst(gate.status for gate in gates)
    return next(gate for gate in gates if gate.status is verdict)


def _status(record: ClaimRecord, *, experiment: bool) -> Status:
    """Return the worst over proof and gates; an experiment that judged nothing is not green."""
    if record.proof.status is ProofStatus.FAILED:
        return Status.REFUTED
    if not experiment:
        return Status.SUPPORTED if record.proof.status is not ProofStatus.NONE else Status.INCONCLUSIVE
    return Status(decisive_gate(record.gates).status.value)
