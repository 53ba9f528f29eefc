"""A toy suite for each test."""

from pathlib import Path

import pytest

from tests.suite.toys import Toy


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Return an empty suite in a folder of its own."""
    folder = tmp_path / "suite"
    folder.mkdir()
    return Toy(folder)
