"""Contracts as tests: known failures are strict, mistakes in them are told, errors name the call."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rctheory.contracts import CLAUSES, checks, parametrize_contract
from rctheory.errors import ContractError
from tests.contracts.subjects import mlp

OUTSIDER = """
from dataclasses import replace
from rctheory.contracts import parametrize_contract
from tests.contracts.subjects import mlp

TWICE = mlp(name="twice", uses=0, known_failures={"gradient": "a map is applied once, not never"})
GOOD = mlp(known_failures={"names": "it is not"})


@parametrize_contract([TWICE, GOOD])
def test_contract(check):
    check()
"""


def test_known_failures_are_strict(tmp_path: Path) -> None:
    (tmp_path / "test_outsider.py").write_text(OUTSIDER)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert "1 failed, 18 passed, 1 xfailed" in done.stdout, done.stdout
    assert "[XPASS(strict)] it is not" in done.stdout
    assert "a map is applied once, not never" in done.stdout


@pytest.mark.parametrize("failures", [{"colour": "why not"}, {"names": ""}])
def test_a_known_failure_needs_a_clause_and_a_reason(failures: dict[str, str]) -> None:
    with pytest.raises(ContractError, match="expected a reason for one of names, shapes"):
        parametrize_contract([mlp(known_failures=failures)])


def test_there_is_one_check_for_each_clause() -> None:
    assert [check.clause for check in checks(mlp())] == list(CLAUSES)


def test_an_error_names_value_expectation_and_call() -> None:
    broken = replace(mlp(), uses=0)
    check = next(check for check in checks(broken) if check.clause == "gradient")
    with pytest.raises(ContractError) as caught:
        check()
    assert "the gradient of weights.1 of rank 1; expected at most 0" in str(caught.value)
    assert "to see it again: next(c for c in checks(subject) if c.name == 'mlp: gradient')()" in str(caught.value)
