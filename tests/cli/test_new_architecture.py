"""`rctheory new-architecture`, and declarations of outsiders in the other commands."""

import json
from pathlib import Path

import pytest

from rctheory.architectures.outside import VARIABLE
from tests.cli.conftest import Shell
from tests.contracts.test_new_architecture import foreign_folder


@pytest.fixture(autouse=True)
def no_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no declaration from outside, before and after each test."""
    monkeypatch.setenv(VARIABLE, "")


def test_commands_use_a_declaration_file(tmp_path: Path, shell: Shell) -> None:
    folder = foreign_folder("mistral", tmp_path / "model")
    code, _, error = shell("inspect", folder, "--statistics", "screen")
    assert code == 2
    assert "rctheory new-architecture NAME --from-hf FOLDER" in error
    code, output, _ = shell("new-architecture", "ours", "--from-hf", folder, "--out", tmp_path)
    assert (code, "test_ours.py" in output) == (0, True)
    code, _, error = shell("new-architecture", "ours", "--out", tmp_path)
    assert (code, "ours.py exists" in error) == (2, True)
    declared = ("--declaration", tmp_path / "ours.py")
    assert shell(*declared, "inspect", folder, "--statistics", "screen")[0] == 0
    assert shell(*declared, "transfer", folder, tmp_path / "wide", "--set", "ffn=15")[0] == 0
    assert json.loads((tmp_path / "wide" / "config.json").read_text())["intermediate_size"] == 15


def test_what_is_left_to_decide_is_said(tmp_path: Path, shell: Shell) -> None:
    folder = foreign_folder("gpt_neox", tmp_path / "model")
    code, output, _ = shell("new-architecture", "ours", "--from-hf", folder, "--out", tmp_path)
    assert code == 0
    assert "to be decided: gpt_neox.layers.{layer}.attention.query_key_value.bias" in output
