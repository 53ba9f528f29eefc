"""Inspection of small checkpoints: what is gathered, which hypotheses follow, what is found."""

import io
import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from rich.console import Console

from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import CheckpointError, UsageError
from rctheory.inspection.console import print_inspection
from rctheory.inspection.hypotheses import Hypothesis, Kind, hypotheses
from rctheory.inspection.inspection import SCHEMA, Finding, Inspection, ignore_progress, inspect_source
from rctheory.inspection.norms import collect_norms, log_norms
from rctheory.inspection.statistic import Row
from rctheory.report.inspection import inspection_page
from tests.checkpoints.folders import CONFIG, LAYOUT, save_folder, save_gguf, tiny_weights

GATE = "model.layers.1.mlp.gate_proj.weight"


def gather(source: Path) -> dict[tuple[str, int], torch.Tensor]:
    """Collect the norms of a checkpoint."""
    with open_checkpoint(source) as checkpoint:
        return collect_norms(checkpoint, ignore_progress)


def by_name(found: list[Hypothesis]) -> dict[str, Hypothesis]:
    """Return hypotheses by name."""
    return {h.name: h for h in found}


def inspected(folder: Path, weights: dict[str, torch.Tensor]) -> Inspection:
    """Write a checkpoint and test the order of its axes."""
    return inspect_source(str(save_folder(folder, weights)), permutations=1999, statistics=["order"])


def findings(inspection: Inspection) -> dict[str, str]:
    """Return what was found by axis."""
    return {row.subject: str(row.values["finding"]) for row in inspection.outcomes[0].rows}


def contradicted(inspection: Inspection) -> list[Row]:
    """Return the axes that contradict the declaration."""
    return [row for row in inspection.outcomes[0].rows if row.values["finding"] == Finding.CONTRADICTED]


@pytest.mark.parametrize("block_bytes", [256, 4 << 20])
def test_norms_are_those_of_the_dense_tensors(
    tmp_path: Path, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rctheory.checkpoints.checkpoint.Checkpoint.blocks.__defaults__", (block_bytes,))
    weights = tiny_weights()
    for source in (
        save_folder(tmp_path / "folder", weights, dtype=torch.bfloat16, shards=2),
        save_gguf(tmp_path / "model.gguf", weights),
    ):
        norms = gather(source)
        assert set(norms) == {(n, d) for n, t in weights.items() for d in range(t.dim())}
        for (name, dimension), values in norms.items():
            dense = weights[name].double().numpy()
            other = tuple(k for k in range(dense.ndim) if k != dimension)
            expected = 0.5 * np.log((dense**2).sum(axis=other)) if other else np.log(np.abs(dense))
            np.testing.assert_allclose(values.numpy(), expected, rtol=0, atol=1e-5)


def test_units_that_are_zero_have_a_finite_norm() -> None:
    values = log_norms(torch.tensor([0.0, 4.0, 1.0]))
    assert bool(torch.isfinite(values).all())
    assert values[1:].exp().tolist() == pytest.approx([2.0, 1.0])
    assert values[0] < values[1:].min()
    assert log_norms(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_hypotheses_follow_from_the_layout(tmp_path: Path) -> None:
    norms = gather(save_folder(tmp_path, tiny_weights()))
    found = by_name(hypotheses(LAYOUT, norms))
    # Groups and heads of this model are pairs: an order of two units says nothing.
    assert {name: (h.kind, h.layer, h.declared, h.units) for name, h in found.items()} == {
        "residual": (Kind.ALONE, None, True, 32),
        "layers.0.ffn": (Kind.ALONE, 0, True, 64),
        "layers.1.ffn": (Kind.ALONE, 1, True, 64),
        "layers.0.group (flat)": (Kind.FLAT, 0, False, 32),
        "layers.1.group (flat)": (Kind.FLAT, 1, False, 32),
        "group/key_dim": (Kind.INSIDE, None, False, 8),
        "group/value_dim": (Kind.INSIDE, None, True, 8),
    }
    (residual,) = found["residual"].sets
    assert len(residual) == 2 + 1 + 2 * 9
    assert set(found["layers.1.ffn"].sets[0]) == {
        "model.layers.1.mlp.gate_proj.weight rows",
        "model.layers.1.mlp.up_proj.weight rows",
        "model.layers.1.mlp.down_proj.weight columns",
    }
    flat = [{label.split(".")[-2] for label in arrays} for arrays in found["layers.1.group (flat)"].sets]
    assert flat == [{"q_proj", "o_proj"}, {"k_proj", "v_proj"}]


def test_inner_axes_are_arranged_as_blocks_copies_and_units(tmp_path: Path) -> None:
    """Blocks are (layer, group), copies the query heads of the group."""
    norms = gather(save_folder(tmp_path, tiny_weights()))
    (arrays,) = by_name(hypotheses(LAYOUT, norms))["group/key_dim"].sets
    q = arrays["model.layers.{layer}.self_attn.q_proj.weight rows"]
    k = arrays["model.layers.{layer}.self_attn.k_proj.weight rows"]
    assert q.shape == (2 * 2, 2, 8)
    assert k.shape == (2 * 2, 1, 8)
    row = norms["model.layers.1.self_attn.q_proj.weight", 0]
    assert q[2 + 1, 0, 5] == row[(1 * 2 + 0) * 8 + 5]
    (arrays,) = by_name(hypotheses(LAYOUT, norms))["group/value_dim"].sets
    o = arrays["model.layers.{layer}.self_attn.o_proj.weight columns"]
    assert o[1, 1, 3] == norms["model.layers.0.self_attn.o_proj.weight", 1][(1 * 2 + 1) * 8 + 3]


def test_random_weights_show_no_order(tmp_path: Path) -> None:
    inspection = inspected(tmp_path, tiny_weights())
    assert inspection.consistent
    assert set(findings(inspection).values()) == {Finding.EXCHANGEABLE, Finding.UNDECIDED}
    assert inspection.parameters == sum(t.numel() for t in tiny_weights().values())


def test_sorting_the_rows_of_one_matrix_contradicts_the_declaration(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights[GATE] = weights[GATE][weights[GATE].norm(dim=1).argsort()]
    inspection = inspected(tmp_path, weights)
    (wrong,) = contradicted(inspection)
    assert wrong.subject == "layers.1.ffn"
    assert wrong.values["most_in"] == f"{GATE} rows"
    assert inspection.consistent is False


def test_sorting_the_whole_axis_is_seen_as_well(tmp_path: Path) -> None:
    """Tied sorting leaves the function alone, yet the order of an exchangeable axis now says something."""
    weights = tiny_weights()
    order = weights[GATE].norm(dim=1).argsort()
    for name in ("gate_proj", "up_proj"):
        weights[f"model.layers.1.mlp.{name}.weight"] = weights[f"model.layers.1.mlp.{name}.weight"][order]
    down = "model.layers.1.mlp.down_proj.weight"
    weights[down] = weights[down][:, order]
    inspection = inspected(tmp_path, weights)
    assert [row.subject for row in contradicted(inspection)] == ["layers.1.ffn"]


def test_order_inside_heads_is_seen(tmp_path: Path) -> None:
    weights = tiny_weights()
    for layer in range(2):
        for name in ("q_proj", "k_proj"):
            key = f"model.layers.{layer}.self_attn.{name}.weight"
            heads = weights[key].shape[0] // 8
            weights[key] = weights[key] * torch.linspace(1, 3, 8).repeat(heads)[:, None]
    found = findings(inspected(tmp_path, weights))
    assert found["group/key_dim"] == Finding.ORDERED
    assert found["group/value_dim"] == Finding.EXCHANGEABLE


def test_an_inspection_is_plain_values(tmp_path: Path) -> None:
    inspection = inspected(tmp_path, tiny_weights())
    values = json.loads(json.dumps(inspection.as_dict(), allow_nan=False))
    assert values["schema"] == SCHEMA
    assert values["architecture"] == "llama"
    assert values["layers"] == CONFIG["num_hidden_layers"]
    rows = values["statistics"]["order"]["rows"]
    assert len(rows) == 7
    assert rows[0]["subject"] == "residual"
    assert 0 < rows[0]["p_value"] <= rows[0]["p_value_adjusted"] <= 1
    assert set(rows[0]["p_values"]) == set(rows[0]["scores"])


def test_rounding_in_blocks_is_told(tmp_path: Path) -> None:
    path = save_gguf(tmp_path / "model.gguf", tiny_weights(), gguf.GGMLQuantizationType.Q4_1)
    found = inspect_source(str(path), statistics=["screen"])
    assert found.rounding.startswith("Rounded in blocks: 99% Q4_1 of the weights. Q4_1 adds noise of 0.6% to 0.8%")
    assert sum(found.stored.values()) == found.parameters
    assert found.rounding in inspection_page(found)
    console = Console(file=io.StringIO(), width=1000)
    print_inspection(found, console)
    assert found.rounding in console.file.getvalue()
    plain = inspect_source(str(save_folder(tmp_path / "plain", tiny_weights())), statistics=["screen"])
    assert plain.rounding == ""
    assert plain.as_dict()["stored"] == {"F32": plain.parameters}


def test_people_read_what_contradicts_and_what_agrees(tmp_path: Path) -> None:
    weights = tiny_weights()
    good = inspected(tmp_path / "good", weights)
    weights[GATE] = weights[GATE][weights[GATE].norm(dim=1).argsort()]
    bad = inspected(tmp_path / "bad", weights)
    texts = []
    for inspection in (good, bad):
        console = Console(file=io.StringIO(), width=160)
        print_inspection(inspection, console)
        texts.append(console.file.getvalue())
    assert "consistent with the symmetry" in texts[0]
    assert "value_dim inside group (layers pooled)" in texts[0]
    assert "contradict the symmetry" in texts[1]
    assert f"layers.1.ffn: p = 0.0015, most in {GATE} rows" in texts[1]


def test_progress_counts_bytes(tmp_path: Path) -> None:
    told = []
    inspect_source(str(save_folder(tmp_path, tiny_weights())), statistics=["screen"], report_progress=told.append)
    read = [progress for progress in told if progress.total]
    assert {progress.total for progress in read} == {4 * sum(t.numel() for t in tiny_weights().values())}
    assert read[-1].done == read[-1].total
    assert [p.done for p in read] == sorted(p.done for p in read)


def test_too_few_permutations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="298 permutations for 3 families of axes; expected at least 299"):
        inspect_source(str(save_folder(tmp_path, tiny_weights())), permutations=298, statistics=["order"])


def test_nan_is_refused_by_name(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights[GATE][3, 3] = torch.nan
    with pytest.raises(CheckpointError, match=f"tensor {GATE} has 1 NaN"):
        inspected(tmp_path, weights)
