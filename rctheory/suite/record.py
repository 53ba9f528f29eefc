"""What a run writes down about each claim: plain data, from which alone the report is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rctheory.statistics.rates import Point, RateFit
from rctheory.statistics.verdicts import Verdict
from rctheory.suite.experiment import Table


class Status(StrEnum):
    """The state of a claim after a run."""

    SUPPORTED = "supported"
    INCONCLUSIVE = "inconclusive"
    REFUTED = "refuted"
    ERROR = "error"
    """Something raised: nothing was measured."""
    NOT_RUN = "not-run"
    """The run was interrupted before this claim."""


class ControlStatus(StrEnum):
    """The state of a control: an experiment or a derivation with a planted error."""

    CAUGHT = "caught"
    GREEN = "green"
    """The planted error went unnoticed: the gate of the claim does not guard it."""
    ERROR = "error"
    NOT_RUN = "not-run"


class ProofStatus(StrEnum):
    """The state of a derivation."""

    DERIVED = "derived"
    INSTANCE = "instance"
    FAILED = "failed"
    NONE = "none"


@dataclass(frozen=True)
class GateRecord:
    """A judged quantity.

    Args:
        gate: name of the gate.
        expected: the accepted range, for people.
        status: the verdict.
        estimate: the measured number.
        interval: its confidence interval, if it has one.
        detectable: power: the smallest distance from the accepted range that would have been refuted, if random.
        detail: one sentence more.
        points: the curve behind a slope.
        fit: the fit behind a slope, with the covariance that draws its band.
        rate: the declared exponent of a rate gate, as an exact fraction.
        x_label: name of the abscissa.
        y_label: name of the ordinate.
    """

    gate: str
    expected: str
    status: Verdict
    estimate: float
    interval: tuple[float, float] | None
    detectable: float | None = None
    detail: str = ""
    points: tuple[Point, ...] = ()
    fit: RateFit | None = None
    rate: str | None = None
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True)
class ControlRecord:
    """A control; `gate` names the gate that decided, and `estimate` is what it saw."""

    id: str
    title: str
    status: ControlStatus
    gate: str = ""
    estimate: float | None = None
    gates: tuple[GateRecord, ...] = ()
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class StepRecord:
    """One checked step of a derivation, as words, plain text and LaTeX, and how it was checked."""

    sentence: str
    text: str
    latex: str
    method: str


@dataclass(frozen=True)
class ProofRecord:
    """A derivation: its scope when it holds, the message of the first step that does not otherwise."""

    status: ProofStatus = ProofStatus.NONE
    assumptions: tuple[str, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ClaimRecord:
    """Everything a run knows of one claim.

    Args:
        id: id of the claim.
        kind: exact, rate, constant or statistical.
        statement: words, with LaTeX between dollar signs.
        assumptions: what it needs.
        source: where it comes from.
        uses: ids of the claims it rests on.
        status: the worst verdict over its gates; refuted when the proof fails.
        gate: the gate that decided: the first of the worst ones.
        expected: the accepted range of that gate.
        estimate: what it measured.
        interval: the confidence interval of the estimate.
        points: the curve of that gate, or the first curve of the claim.
        gates: every gate.
        controls: every control, of the proof and of the experiment.
        proof: the derivation.
        experiment: one line that says what was simulated.
        tables: further numbers for the page.
        remarks: sentences for the page.
        message: what went wrong, in one line.
        traceback: where, when the error was no mistake of the input.
        seconds: wall time of the claim.
    """

    id: str
    kind: str
    statement: str
    assumptions: tuple[str, ...]
    source: str
    uses: tuple[str, ...]
    status: Status
    gate: str = ""
    expected: str = ""
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    points: tuple[Point, ...] = ()
    gates: tuple[GateRecord, ...] = ()
    controls: tuple[ControlRecord, ...] = ()
    proof: ProofRecord = ProofRecord()
    experiment: str = ""
    tables: tuple[Table, ...] = ()
    remarks: tuple[str, ...] = ()
    message: str = ""
    traceback: str = ""
    seconds: float = 0.0

    @property
    def missed_controls(self) -> tuple[ControlRecord, ...]:
        """Return the controls that ran and did not turn red."""
        return tuple(c for c in self.controls if c.status in (ControlStatus.GREEN, ControlStatus.ERROR))

    @property
    def finished(self) -> bool:
        """Return whether a later run may re-use this record."""
        errors = [c for c in self.controls if c.status is ControlStatus.ERROR]
        return self.status not in (Status.ERROR, Status.NOT_RUN) and not errors


@dataclass(frozen=True)
class Environment:
    """The circumstances of a run.

    Args:
        versions: versions of python, rctheory and the libraries that compute.
        platform: operating system and processor.
        device: where it computed, e.g. `cpu` or `cuda`.
        device_name: what that device is.
        workers: how many processes.
        threads: how many threads in each.
        seed: the root seed.
        tier: how much work.
        controls: whether controls ran.
        commit: git commit of the suite, with `-dirty` when files differ from it; empty outside a repository.
        fingerprint: hash of the claims, the library and the code of the suite.
        seconds: wall time of the run, resumed parts included.
    """

    versions: Mapping[str, str]
    platform: str
    device: str
    device_name: str
    workers: int
    threads: int
    seed: int
    tier: str
    controls: bool
    commit: str
    fingerprint: str
    seconds: float = 0.0
