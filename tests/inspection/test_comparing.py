"""Two models: layers and units matched, laws compared."""

import json
from pathlib import Path

import pytest
import torch

from rctheory.architectures.registry import layout_of
from rctheory.errors import UsageError
from rctheory.inspection.comparing import ModelComparison, compare_sources, same_depth
from tests.checkpoints.folders import CONFIG, save_folder, tiny_weights


def save(folder: Path, seed: int, scale: float = 1.0, **sizes: int) -> str:
    """Write a model of iid weights with some other sizes."""
    config = CONFIG | sizes
    random = torch.Generator().manual_seed(seed)
    weights = {n: scale * torch.randn(t.shape, generator=random) for n, t in layout_of(config).tensors.items()}
    save_folder(folder, weights)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def smallest(comparison: ModelComparison) -> float:
    """Return the smallest adjusted p-value."""
    return min(row.values["p_value_adjusted"] for row in comparison.outcome.rows)


def test_models_of_one_law_and_different_widths_do_not_differ(tmp_path: Path) -> None:
    first = save(tmp_path / "a", 0)
    second = save(tmp_path / "b", 1, hidden_size=32, intermediate_size=96)
    found = compare_sources(first, second)
    assert smallest(found) > 0.01
    units = {row.subject: (row.values["first_units"], row.values["second_units"]) for row in found.outcome.rows}
    assert units["layers.1.ffn"] == (64, 96)
    assert units["residual"] == (32, 32)
    ffn = next(row for row in found.outcome.rows if row.subject == "layers.1.ffn")
    assert ffn.values["correlation"] is None  # widths differ: no unit has a partner
    assert found.matched == "by number"


def test_a_model_of_twice_the_size_differs_by_log_2(tmp_path: Path) -> None:
    found = compare_sources(save(tmp_path / "a", 0), save(tmp_path / "b", 1, scale=2.0))
    assert smallest(found) <= 0.01
    for row in found.outcome.rows:
        assert row.values["shift"] == pytest.approx(0.693, abs=0.1)
    assert "differ in 5 of 5 axes" in found.verdict


def test_one_model_at_two_times_has_correlated_units(tmp_path: Path) -> None:
    weights = tiny_weights()
    later = {name: tensor + 0.1 * tiny_weights(5)[name] for name, tensor in weights.items()}
    found = compare_sources(str(save_folder(tmp_path / "a", weights)), str(save_folder(tmp_path / "b", later)))
    for row in found.outcome.rows:
        assert row.values["correlation"] > 0.9


def test_layers_of_models_of_different_depth_meet_at_their_ends(tmp_path: Path) -> None:
    assert [same_depth(layer, 3, 5) for layer in range(3)] == [0, 2, 4]
    assert same_depth(0, 1, 5) == 0
    assert [same_depth(layer, 4, 4) for layer in range(4)] == [0, 1, 2, 3]
    found = compare_sources(save(tmp_path / "a", 0), save(tmp_path / "b", 1, num_hidden_layers=3), axes=["ffn"])
    assert found.matched == "by relative depth"
    assert {row.subject: row.values["counterpart"] for row in found.outcome.rows} == {
        "layers.0.ffn": "layers.0.ffn",
        "layers.1.ffn": "layers.2.ffn",
    }


def test_a_comparison_is_plain_values(tmp_path: Path) -> None:
    found = compare_sources(save(tmp_path / "a", 0), save(tmp_path / "b", 1), axes=["ffn"], seed=3)
    values = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert values["schema"] == "rctheory.comparison/1"
    assert (values["first"]["layers"], values["seed"], values["permutations"]) == (2, 3, 1999)
    assert {"distance", "chance", "p_value", "p_value_adjusted", "shifts"} <= set(values["rows"][0])


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a", 0), save(tmp_path / "b", 1)
    with pytest.raises(UsageError, match="100 permutations for 5 axes; expected at least 499"):
        compare_sources(first, second, permutations=100)
    with pytest.raises(UsageError, match="no exchangeable axis in common"):
        compare_sources(first, second, axes=["vocabulary"])
