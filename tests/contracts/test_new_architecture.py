"""Declarations that are written for outsiders: proposed, judged by their contract, used by every command."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rctheory.architectures.outside import VARIABLE, declared_in_files, name_declarations
from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.contracts import checks
from rctheory.contracts.huggingface import transformers_subject
from rctheory.contracts.writing import write_architecture
from rctheory.errors import CheckpointError, ContractError, UsageError
from tests.architectures.models import FAMILIES, build, save

CHEAP = {"names", "shapes", "growth", "relabelling", "order", "widening"}


def foreign_folder(name: str, folder: Path) -> Path:
    """Save a model of a known family under a model type that nobody has declared."""
    family = FAMILIES[name]
    save(build(family.model, family.small), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "ours"}))
    return folder


def failing(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the cheap clauses that a written declaration fails."""
    monkeypatch.setenv(VARIABLE, str(path))
    family = FAMILIES[name]
    declare = declared_in_files()["ours"]
    subject = transformers_subject("ours", family.model, family.small, family.large, declare=declare)
    broken = set()
    for check in checks(subject):
        if check.clause in CHEAP:
            try:
                check()
            except ContractError:
                broken.add(check.clause)
    return broken


@pytest.mark.parametrize("name", ["mistral", "llama 3.1 tied", "qwen3"])
def test_the_proposal_keeps_the_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, undecided = write_architecture("ours", tmp_path, foreign_folder(name, tmp_path / "model"))
    assert undecided == []
    assert failing(name, files[0], monkeypatch) == set()


def test_the_proposal_of_gemma_is_caught_by_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither names nor shapes say that embeddings are scaled and gains are stored less one."""
    files, _ = write_architecture("ours", tmp_path, foreign_folder("gemma", tmp_path / "model"))
    assert failing("gemma", files[0], monkeypatch) == {"widening"}


def test_fused_tensors_are_left_to_be_decided(tmp_path: Path) -> None:
    files, undecided = write_architecture("ours", tmp_path, foreign_folder("gpt_neox", tmp_path / "model"))
    assert any("query_key_value.weight: dimension 0 of size 72 is no known axis" in line for line in undecided)
    assert "# to be decided: dimension 0 of size 72" in files[0].read_text()


@pytest.mark.parametrize("source", [None, "mistral"])
def test_the_written_contract_passes(source: str | None, tmp_path: Path) -> None:
    folder = foreign_folder(source, tmp_path / "model") if source else None
    write_architecture("ours", tmp_path, folder)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_ours.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "10 passed" in done.stdout, done.stdout


def test_installed_packages_declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text("from rctheory.architectures.residual_mlp import layout_from_config\n")
    (tmp_path / "theirs-1.dist-info").mkdir()
    (tmp_path / "theirs-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    entry = "[rctheory.architectures]\ntheirs = theirs:layout_from_config\n"
    (tmp_path / "theirs-1.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"model_type": "theirs", "input": 3, "residual": 6, "ffn": 5, "output": 2, "layers": 2}
    assert layout_of(config).sizes["residual"] == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no declaration file"),
        ("1 / 0", "ZeroDivisionError"),
        ("MODEL_TYPE = 'x'", "expected MODEL_TYPE and layout_from_config in it"),
    ],
)
def test_a_bad_declaration_file_is_one_line(
    text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    if text is not None:
        (tmp_path / "bad.py").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        name_declarations([tmp_path / "bad.py"])


def test_bad_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lower-case letters"):
        write_architecture("../x", tmp_path)
    with pytest.raises(UsageError, match="no word of Python"):
        write_architecture("class", tmp_path)
    for taken in ("torch", "json", "rctheory"):  # the test would import the module of that name
        with pytest.raises(UsageError, match=f"name '{taken}'; expected one that no module has"):
            write_architecture(taken, tmp_path)
    with pytest.raises(CheckpointError, match=r"without config\.json"):
        write_architecture("ours", tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file cannot be written \(File exists\)"):
        write_architecture("ours", tmp_path / "file")


def test_half_an_architecture_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.open

    def full(path: Path, *arguments: str, **options: str) -> object:
        if path.name == "test_ours.py":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_architecture("ours", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_foreign_folder_is_unknown_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(CheckpointError, match="model_type = 'ours'"):
        open_checkpoint(foreign_folder("mistral", tmp_path))
