"""The console command as the shell sees it, in a folder of its own."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rctheory.checkpoints import folder_writer
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


@pytest.fixture
def ended_half_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the job as a scheduler does, when the fifth tensor is written; what the signal did before comes back."""
    calls = []
    original = folder_writer._bytes_of

    def bytes_of(block: torch.Tensor, dtype: torch.dtype) -> memoryview:
        calls.append(dtype)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(block, dtype)

    monkeypatch.setattr(folder_writer, "_bytes_of", bytes_of)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
        assert len(calls) == 5
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
