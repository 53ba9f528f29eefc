"""What the README shows runs as shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_library_example_follows_the_rate(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _blocks("python")[0]], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    error = float(re.search(r"tensor\(([\d.e-]+)", done.stdout).group(1))
    assert 0 < error < 0.5  # C / 16 for coefficients of order one


def test_suite_of_your_own_is_green_with_its_control_red(tmp_path: Path) -> None:
    (tmp_path / "claims.toml").write_text(_blocks("toml")[0], encoding="utf-8")
    (tmp_path / "mine.py").write_text(_blocks("python")[1], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "rctheory", "verify", "--controls", "--out", "out"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 planted errors caught" in done.stdout


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    assert (Path(__file__).parents[1] / path).exists()


def test_the_table_names_every_claim_that_is_simulated() -> None:
    from rctheory.suite.claims import load_suite

    named = re.findall(r"^\| `([a-z0-9.-]+)` \|", README, re.MULTILINE)
    assert named == [name for name, claim in load_suite().claims.items() if claim.experiment]
