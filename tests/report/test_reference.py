"""The reference report in the repository: green, small, and what its evidence rebuilds."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from rctheory.report.pages import write_report
from rctheory.suite.evidence import load_evidence

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "reports" / "reference"


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the pages again from the evidence alone."""
    folder = tmp_path_factory.mktemp("reference")
    write_report(load_evidence(REFERENCE), folder)
    return folder


def without_pictures(page: Path) -> str:
    """Return the text of a page: pictures are compared as pictures."""
    return re.sub(r"base64,[^\"]+", "", page.read_text(encoding="utf-8"))


def test_the_reference_is_green_and_small():
    assert load_evidence(REFERENCE).exit_code == 0
    assert sum(path.stat().st_size for path in REFERENCE.rglob("*") if path.is_file()) < 2_000_000


def test_it_was_made_from_a_commit_with_the_claims_that_the_makefile_names():
    evidence = load_evidence(REFERENCE)
    (named,) = re.findall(r"^REFERENCE := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {record.id for record in evidence.claims} == set(named.replace("\\", " ").split())
    assert re.fullmatch("[0-9a-f]{40}", evidence.environment.commit)


def test_its_evidence_rebuilds_its_words(rebuilt):
    for name in ("index.html", "report.md"):
        assert without_pictures(REFERENCE / name) == without_pictures(rebuilt / name)


def test_its_evidence_rebuilds_its_pictures(rebuilt):
    names = {path.name for path in (rebuilt / "figures").iterdir()}
    assert names == {path.name for path in (REFERENCE / "figures").iterdir()}
    for name in names:
        old, new = (imread(folder / "figures" / name) for folder in (REFERENCE, rebuilt))
        assert old.shape == new.shape
        assert np.abs(old - new).mean() < 1e-3  # another FreeType may move a few pixels of a letter
