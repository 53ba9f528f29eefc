"""`rctheory report`, `claims`, `prove`: what a suite says and what a run showed."""

import json
from pathlib import Path

from typer.testing import CliRunner

import rctheory
from rctheory.cli import app


def test_report_writes_beside_the_evidence_or_where_told(toy, shell):
    toy.rate("toy.rate")
    shell("verify", "--workers", 0)
    assert shell("report")[1] == "report: reports/run/index.html\n"
    assert {"index.html", "report.md", "figures"} <= {path.name for path in Path("reports/run").iterdir()}
    assert shell("report", "reports/run/evidence.json", "--out", "pages")[0] == 0
    assert Path("pages/index.html").read_bytes() == Path("reports/run/index.html").read_bytes()


def test_claims_lists_and_shows(toy, shell):
    toy.claim("toy.one").rate("toy.rate")
    assert [line.split()[:2] for line in shell("claims")[1].splitlines()] == [
        ["toy.one", "exact"],
        ["toy.rate", "rate"],
    ]
    full = shell("claims", "toy.rate")[1]
    assert "slope: slope -1/2 ± 0.05" in full
    assert f"{toy.module}:FLAT" in full
    assert json.loads(shell("claims", "toy.one", "--json")[1])["gates"] == {"error": "<= 1e-06"}
    assert [item["id"] for item in json.loads(shell("claims", "--json")[1])] == ["toy.one", "toy.rate"]


def test_claims_marks_what_runs_on_request(toy, shell):
    toy.claim("toy.one").claim("toy.two", more="on_request = true\n")
    assert [line.endswith("(on request)") for line in shell("claims")[1].splitlines()] == [False, True]
    assert [item["on_request"] for item in json.loads(shell("claims", "--json")[1])] == [False, True]
    assert "examined only when it is named" in shell("claims", "toy.two")[1]
    assert "on_request" not in shell("claims", "toy.one")[1]


def test_prove_prints_the_steps_in_three_formats(toy, shell):
    toy.proof("toy.square").claim("toy.one")
    code, text, _ = shell("prove", "--controls")
    assert code == 0
    assert "1. Expand." in text
    assert "(x + 1)**2 = x**2 + 2*x + 1" in text
    assert "planted: a wrong factor: caught" in text
    assert r"\left(x + 1\right)^{2}" in shell("prove", "--format", "latex")[1]
    (proof,) = json.loads(shell("prove", "--json")[1])
    assert (proof["claim"], proof["status"], proof["assumptions"]) == ("toy.square", "derived", ["x real"])
    assert [step["sentence"] for step in proof["steps"]] == ["Expand."]
    assert json.loads(shell("prove", "--format", "json")[1])[0]["claim"] == "toy.square"


def test_prove_is_loud_about_a_step_that_does_not_hold(toy, shell):
    toy.proof("toy.square", factor="3").proof("toy.other")
    code, out, err = shell("prove")
    assert code == 1
    assert err.startswith("FAILED toy.square: the square of x + 1 is not")
    assert "toy.other" not in out


def test_prove_refuses_a_claim_without_a_proof_only_when_it_is_named(toy, shell):
    toy.proof("toy.square").claim("toy.one")
    assert shell("prove")[0] == 0
    code, out, err = shell("prove", "toy.*")
    assert (code, out) == (2, "")
    assert "claim toy.one has no proof" in err


def test_prove_fails_when_a_planted_error_goes_unnoticed(toy, shell):
    toy.proof("toy.square", factor="1")
    assert shell("prove")[0] == 0
    assert shell("prove", "--controls")[0] == 1


def test_version_and_help():
    assert CliRunner().invoke(app, ["--version"]).output == f"rctheory {rctheory.__version__}\n"
    for command in ("verify", "report", "claims", "prove", "inspect"):
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert command in result.output
