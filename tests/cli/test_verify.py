"""`rctheory verify`: exit codes, one-line errors, nothing half-written."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from rctheory.suite.evidence import load_evidence

NEEDS = "rctheory: no data set; expected it to be installed; install it\n"


@pytest.mark.parametrize(
    ("experiment", "control", "code"),
    [
        ("GOOD", "PLANTED", 0),
        ("BAD", "PLANTED", 1),
        ("NAN", "PLANTED", 1),
        ("BROKEN", "PLANTED", 1),
        ("CRASH", "PLANTED", 1),
        ("GOOD", "TOLD", 1),  # a control that stays green
        ("GOOD", "BROKEN", 1),  # a control that does not reach its gate
        ("DOUBTFUL", "PLANTED", 3),
        ("DOUBTFUL", "TOLD", 1),
    ],
)
def test_exit_code_of_verify(toy, shell, experiment, control, code):
    toy.claim("toy.fine").claim("toy.one", experiment, control)
    found, out, err = shell("verify", "--workers", 0)
    assert (found, err) == (code, "")
    assert load_evidence(toy.folder / "reports/run").exit_code == code
    assert "evidence: reports/run/evidence.json" in out
    assert "`rctheory report` writes reports/run/index.html" in out
    assert "Traceback" not in out


def test_what_an_experiment_requires_is_checked_before_any_work(toy, shell):
    toy.claim("toy.fine").claim("toy.one", "NEEDY")
    code, out, err = shell("verify", "--workers", 0)
    assert (code, out) == (2, "")
    assert err == NEEDS
    assert not (toy.folder / "reports/run/evidence.json").exists()


def test_a_plant_that_is_not_caught_fails_the_run(toy, shell):
    toy.proof("toy.square", factor="1")
    code, out, _ = shell("verify", "--workers", 0)
    assert code == 1
    assert "(a wrong factor) stayed green" in out
    assert shell("verify", "--workers", 0, "--no-controls")[0] == 0


def test_what_verify_prints_in_a_pipe(toy, shell):
    toy.rate("toy.rate").claim("toy.one", "BAD")
    _, out, _ = shell("verify", "--workers", 0, "--seed", 4)
    lines = out.splitlines()
    assert lines[0].startswith("2 claims to examine; tier ci, seed 4, cpu")
    assert "toy.rate: started" in lines
    assert any(line.startswith("toy.rate: supported  −0.5 [−0.5") and "caught 1 of 1" in line for line in lines)
    assert "toy.one: gate error refuted: 1, expected <= 1e-06" in lines
    assert "1 of 2 claims supported; refuted: toy.one; 2 of 2 planted errors caught" in lines
    assert "\x1b" not in out


def test_a_claim_on_request_runs_only_when_it_is_named(toy, shell):
    toy.claim("toy.one").claim("toy.two", "NEEDY", more="on_request = true\n")
    code, out, err = shell("verify", "--workers", 0)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "left out, examined only when named: toy.two"
    assert [record.id for record in load_evidence(Path("reports/run")).claims] == ["toy.one"]
    for name in ("toy.two", "toy.*"):  # named, it is neither left out nor excused
        assert shell("verify", "--workers", 0, name)[::2] == (2, NEEDS)
    assert "left out" not in shell("verify", "--workers", 0, "toy.one")[1]


def test_a_suite_of_claims_on_request_alone_wants_names(toy, shell):
    toy.claim("toy.two", more="on_request = true\n")
    code, out, err = shell("verify", "--workers", 0)
    assert (code, out) == (2, "")
    assert err == "rctheory: only claims that run on request; expected the claims to run; name them: toy.two\n"
    assert shell("verify", "--workers", 0, "toy.two")[0] == 0


def test_controls_are_off_in_the_smoke_tier_unless_asked(toy, shell):
    toy.claim("toy.one", control="TOLD")
    assert shell("verify", "--workers", 0, "--tier", "smoke")[0] == 0
    assert shell("verify", "--workers", 0, "--tier", "smoke", "--controls")[0] == 1


def test_worker_processes_junit_and_resume_through_the_real_command(toy):
    toy.claim("toy.one", "TOLD").rate("toy.rate")
    command = [sys.executable, "-c", "from rctheory.cli import main; main()", "verify", "--workers", "1"]
    first = subprocess.run([*command, "--junit", "out/junit.xml"], capture_output=True, text=True, timeout=120)
    assert (first.returncode, first.stderr) == (0, "")
    assert len(ET.parse(toy.folder / "out/junit.xml").getroot().findall("testsuite/testcase")) == 4
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("0 claims to examine, 2 kept")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "toy.onee"], "unknown claim 'toy.onee'.*did you mean toy.one"),
        (["verify", "--seed", "1", "--vary-seed"], "--seed together with --vary-seed"),
        (["verify", "--device", "tpu"], "device 'tpu'.*one of auto, cpu, cuda"),
        (["verify", "--device", "cuda:99"], "device 'cuda:99' on a machine with"),
        (["verify", "--out", "claims.toml/run"], "output folder claims.toml/run"),
        (["verify", "--out", "claims.toml"], "output folder claims.toml"),
        (["verify", "--junit", "claims.toml/x/j.xml"], "output folder claims.toml/x"),
        (["verify", "--junit", "."], "is a folder"),
        (["verify", "--suite", "nowhere"], "no claims.toml in nowhere"),
        (["claims", "toy.onee"], "unknown claim"),
        (["prove", "toy.onee"], "unknown claim"),
        (["report"], "no evidence at reports/run"),
        (["report", "claims.toml"], "does not parse"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(toy, shell, arguments, message):
    toy.claim("toy.one")
    before = sorted(path.name for path in toy.folder.rglob("*") if "__pycache__" not in str(path))
    code, out, err = shell(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("rctheory: ")
    assert err.count("\n") == 1
    assert re.search(message, err), err
    after = {path.name for path in toy.folder.rglob("*") if "__pycache__" not in str(path)}
    assert not {name for name in after - set(before) if "evidence" in name or "index" in name}


def test_a_mistake_in_the_registry_is_one_line_and_exit_2(toy, shell):
    toy.claim("toy.one", more='stats = "x"\n')
    code, _, err = shell("verify")
    assert code == 2
    assert "unknown key 'stats'" in err


def test_a_dangling_link_is_told_before_any_work(toy, shell):
    toy.claim("toy.one").claim("toy.two", experiment="NOWHERE")
    code, out, err = shell("verify", "--workers", 0)
    assert (code, out) == (2, "")
    assert "claim toy.two: experiment links to" in err
    assert not (toy.folder / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "--tier", "huge"], "Invalid value for '--tier'"),
        (["verify", "--no-such"], "No such option: --no-such; see `rctheory verify -h`"),
        (["verfy"], "No such command 'verfy'"),
        (["prune", "model"], "Missing argument 'TARGET'; see `rctheory prune -h`"),
        (["prune", "a", "b", "--set", "ffn=9", "--tokens", "-1"], "Invalid value for '--tokens'"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_line_and_exit_2(shell, arguments, message):
    code, out, err = shell(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"rctheory: {message}")


def test_without_a_command_there_is_the_help(shell):
    code, out, err = shell()
    assert (code, err) == (2, "")
    assert "Usage: rctheory" in out
    assert out.count("\n") > 10


def test_an_interruption_exits_130_and_keeps_what_is_finished(toy, shell):
    (toy.folder / "toy_stops.py").write_text(
        "from rctheory.suite.experiment import Experiment\n"
        "def stop(context):\n    raise KeyboardInterrupt\n"
        'STOPS = Experiment("stops", stop)\n'
    )
    toy.claim("toy.one").claim("toy.two")
    file = toy.folder / "claims.toml"
    head, tail = file.read_text().rsplit(f"{toy.module}:GOOD", 1)
    file.write_text(f"{head}toy_stops:STOPS{tail}")
    code, out, err = shell("verify", "--workers", 0)
    assert (code, err) == (130, "")
    assert "go on with --resume" in out
    assert [record.status.value for record in load_evidence(Path("reports/run")).claims] == ["supported", "not-run"]


def test_a_varied_seed_is_recorded(toy, shell):
    toy.claim("toy.one")
    shell("verify", "--workers", 0, "--vary-seed", "--out", "a")
    shell("verify", "--workers", 0, "--vary-seed", "--out", "b")
    seeds = {load_evidence(Path(name)).environment.seed for name in "ab"}
    assert len(seeds) == 2  # equal with probability 2^-31


def test_termination_stops_the_workers_and_keeps_what_is_finished(toy):
    (toy.folder / "toy_sleeps.py").write_text(
        "import os, pathlib, time\n"
        "from rctheory.suite.experiment import Experiment\n"
        "def sleep(context):\n"
        "    pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "    time.sleep(100)\n"
        'SLEEPS = Experiment("sleeps", sleep)\n'
    )
    toy.claim("toy.one").claim("toy.two")
    file = toy.folder / "claims.toml"
    head, tail = file.read_text().rsplit(f"{toy.module}:GOOD", 1)
    file.write_text(f"{head}toy_sleeps:SLEEPS{tail}")
    command = [sys.executable, "-m", "rctheory", "verify", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        pid = wait_for(toy.folder / "pid")
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert "go on with --resume" in out
    assert [record.status.value for record in load_evidence(Path("reports/run")).claims] == ["supported", "not-run"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def wait_for(file: Path) -> str:
    """Wait until a file has content, and return it."""
    for _ in range(600):
        if file.exists() and (text := file.read_text()):
            return text
        time.sleep(0.1)
    raise TimeoutError(file)
