"""The console command as the shell sees it, in a folder of its own."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rctheory.cli import main
from tests.suite.toys import Toy

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Return an empty suite in the working folder of the test."""
    folder = tmp_path / "suite"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Toy(folder)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Return a function that runs the command and returns its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rctheory", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        output = capsys.readouterr()
        return int(left.value.code or 0), output.out, output.err

    return run
