"""Runs: processes, interruption, re-use of finished records."""

import dataclasses
import json

import pytest

from rctheory.errors import EvidenceError, UsageError
from rctheory.suite.evidence import load_evidence
from rctheory.suite.executors import Finished, ProcessExecutor, Progress, Started, choose_executor
from rctheory.suite.record import Status


def test_processes_agree_with_this_process(toy, tmp_path):
    toy.claim("toy.one", "TOLD").rate("toy.rate").claim("toy.two", "CRASH")
    events = []
    many = toy.session(tmp_path, workers=2, seed=0).run(events.append)
    here = toy.session(seed=0).run()
    for left, right in zip(many.claims, here.claims, strict=True):
        assert left.id == right.id
        assert left.gates == right.gates
        assert left.status is right.status
    assert sum(isinstance(event, Started) for event in events) == 3
    assert sum(isinstance(event, Finished) for event in events) == 3
    assert any(isinstance(event, Progress) for event in events)
    assert many.environment.workers == 2


def test_a_process_that_dies_costs_only_its_claim(toy):
    (toy.folder / "toy_dying.py").write_text(
        "import os\n"
        "from rctheory.suite.experiment import Experiment\n"
        'DIES = Experiment("dies", lambda context: os._exit(7))\n'
    )
    toy.claim("toy.one").claim("toy.two")
    file = toy.folder / "claims.toml"
    file.write_text(file.read_text().replace(f"{toy.module}:GOOD", "toy_dying:DIES", 1))
    first, second = toy.session(workers=1).run().claims
    assert first.status is Status.ERROR
    assert "died (exit code 7)" in first.message
    assert second.status is Status.SUPPORTED


class Interrupt:
    """Interrupts a run after some finished claims."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, event: object) -> None:
        self.left -= isinstance(event, Finished)
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_keeps_what_is_finished_and_goes_on(toy, workers):
    toy.claim("toy.one").claim("toy.two").claim("toy.three")
    with pytest.raises(KeyboardInterrupt):
        toy.session(workers=workers).run(Interrupt(2))
    kept = load_evidence(toy.folder / "out")
    assert [record.status.value for record in kept.claims] == ["supported", "supported", "not-run"]
    assert kept.exit_code == 1
    session = toy.session(workers=workers, resume=True)
    assert session.pending == ("toy.three",)
    whole = session.run()
    assert [record.status.value for record in whole.claims] == ["supported"] * 3
    assert whole.claims[:2] == kept.claims[:2]
    assert whole.environment.seconds > kept.environment.seconds


def test_errors_are_run_again_and_refutations_kept(toy):
    toy.claim("toy.one", "CRASH").claim("toy.two", "BAD")
    toy.session().run()
    assert toy.session(resume=True).pending == ("toy.one",)
    assert toy.session(resume=False).pending == ("toy.one", "toy.two")


@pytest.mark.parametrize(("option", "value"), [("seed", 5), ("controls", False), ("tier", "full")])
def test_another_run_is_not_resumed(toy, option, value):
    from rctheory.suite.experiment import Tier

    toy.claim("toy.one")
    toy.session().run()
    with pytest.raises(EvidenceError, match=f"belongs to another run: {option}"):
        toy.session(resume=True, **{option: Tier(value) if option == "tier" else value})


def test_changed_code_is_not_resumed(toy):
    toy.claim("toy.one")
    toy.session().run()
    with (toy.folder / f"{toy.module}.py").open("a") as stream:
        stream.write("# changed\n")
    with pytest.raises(EvidenceError, match="code or the claims have changed"):
        toy.session(resume=True)


def test_resuming_a_broken_file_is_refused_and_starting_anew_is_not(toy):
    toy.claim("toy.one")
    (toy.folder / "out").mkdir()
    (toy.folder / "out" / "evidence.json").write_text("{")
    with pytest.raises(EvidenceError, match="does not parse"):
        toy.session(resume=True)
    assert toy.session().run().exit_code == 0


def test_the_longest_comes_first_when_known(toy):
    toy.claim("toy.one").claim("toy.two")
    toy.session().run()
    file = toy.folder / "out" / "evidence.json"
    data = json.loads(file.read_text())
    data["claims"][1]["seconds"] = 1e3
    file.write_text(json.dumps(data))
    events = []
    evidence = toy.session().run(events.append)
    assert [event.claim for event in events if isinstance(event, Started)] == ["toy.two", "toy.one"]
    assert [record.id for record in evidence.claims] == ["toy.one", "toy.two"]


def test_a_part_of_the_suite_is_added_to_what_is_there(toy):
    toy.claim("toy.one").claim("toy.two")
    toy.session().run()
    suite = toy.suite()
    session = toy.session()
    part = type(session)(suite, suite.select(["toy.two"]), dataclasses.replace(session.options, resume=True))
    assert part.pending == ()
    assert [record.id for record in part.run().claims] == ["toy.one", "toy.two"]


def test_workers_share_the_cores():
    executor = ProcessExecutor(10**6)
    assert executor.threads == 1
    assert choose_executor(None, 3, ()).workers <= 3
    assert choose_executor(0, 3, ()).workers == 0
    with pytest.raises(UsageError, match="--workers -1"):
        choose_executor(-1, 3, ())


def test_the_seed_reaches_the_experiment(toy):
    record = toy.claim("toy.one", "TOLD").session(seed=7).run().claims[0]
    assert record.estimate == 7.0
    assert record.remarks == ("ci",)
