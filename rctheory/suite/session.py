"""A run of a suite: what to run, what to re-use, and evidence that survives an interruption."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from rctheory.errors import EvidenceError
from rctheory.suite.claim import Claim
from rctheory.suite.claims import Suite
from rctheory.suite.environment import describe
from rctheory.suite.evidence import FILE_NAME, SCHEMA, Evidence, load_evidence, save_evidence
from rctheory.suite.executors import Event, Executor, Finished, choose_executor
from rctheory.suite.experiment import Context
from rctheory.suite.record import Environment
from rctheory.suite.runner import Job, blank_record, check_links
from rctheory.suite.tier import Tier

SAME = ("versions", "device", "seed", "tier", "controls", "fingerprint")


@dataclass(frozen=True)
class Options:
    """How to run a suite.

    Args:
        out: folder that receives `evidence.json`.
        tier: how much work.
        seed: root seed.
        device: where to compute.
        controls: whether to run controls and planted errors.
        workers: number of processes; None chooses from the cores, 0 stays in this process.
        resume: re-use the finished records of the evidence in `out`.
    """

    out: Path
    tier: Tier = Tier.CI
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    controls: bool = True
    workers: int | None = None
    resume: bool = False


def _drop(_event: Event) -> None:
    """Tell nobody."""


class Session:
    """One run. `evidence` is complete at every moment: claims that have not finished are `not-run`.

    Args:
        suite: the suite.
        claims: the claims that were selected.
        options: how to run them.

    Raises:
        RegistryError: a link that a selected claim needs dangles.
        EvidenceError: the evidence to resume belongs to another run.
    """

    def __init__(self, suite: Suite, claims: Sequence[Claim], options: Options) -> None:
        """Check every link that will be needed, and the evidence to resume: no work before that."""
        self.options = options
        with suite.importable():
            for claim in claims:
                check_links(claim, controls=options.controls)
        self.file = options.out / FILE_NAME
        self.executor: Executor = choose_executor(options.workers, len(claims), suite.paths)
        self.environment = describe(
            suite,
            device=options.device,
            workers=self.executor.workers,
            threads=self.executor.threads,
            seed=options.seed,
            tier=options.tier,
            controls=options.controls,
        )
        self._records = {claim.id: blank_record(claim) for claim in claims}
        self._costs = self._resume(suite) if self.file.is_file() else {}
        self._todo = [claim for claim in claims if not self._records[claim.id].finished]

    @property
    def pending(self) -> tuple[str, ...]:
        """Return the ids of the claims that have no finished record yet."""
        return tuple(claim.id for claim in self._todo)

    @property
    def evidence(self) -> Evidence:
        """Return what is known now."""
        return Evidence(SCHEMA, self.environment, tuple(self._records.values()))

    def run(self, tell: Callable[[Event], None] = _drop) -> Evidence:
        """Run what is pending, longest first where earlier evidence knows; write after each claim.

        An interruption (KeyboardInterrupt) leaves the evidence of every finished claim on disk.
        """
        options, before, start = self.options, self.environment.seconds, time.perf_counter()
        context = Context(options.seed, options.tier, options.device)
        order = sorted(self._todo, key=lambda claim: -self._costs.get(claim.id, 0.0))
        jobs = [Job(claim, context, options.controls) for claim in order]
        save_evidence(self.file, self.evidence)
        events = self.executor.run(jobs)
        try:
            for event in events:
                if isinstance(event, Finished):
                    self._records[event.record.id] = event.record
                    seconds = before + time.perf_counter() - start
                    self.environment = replace(self.environment, seconds=seconds)
                    save_evidence(self.file, self.evidence)
                tell(event)
        finally:
            events.close()
        return self.evidence

    def _resume(self, suite: Suite) -> dict[str, float]:
        """Take over finished records when asked to; return the seconds that earlier claims took."""
        try:
            old = load_evidence(self.file)
        except EvidenceError:
            if self.options.resume:
                raise
            return {}
        if self.options.resume:
            self._check_same(old.environment)
            for record in old.claims:
                if record.finished and record.id in suite.claims:
                    self._records[record.id] = record
            self._records = {name: self._records[name] for name in suite.claims if name in self._records}
            self.environment = replace(self.environment, seconds=old.environment.seconds)
        return {record.id: record.seconds for record in old.claims}

    def _check_same(self, old: Environment) -> None:
        for name in SAME:
            then, now = getattr(old, name), getattr(self.environment, name)
            if then != now:
                what = "the code or the claims have changed" if name == "fingerprint" else f"{name} {then}, now {now}"
                found = f"{self.file} belongs to another run: {what}"
                raise EvidenceError(found, "the same run to resume", "leave out --resume or choose another --out")
