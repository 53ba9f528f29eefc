"""The engine: what one pass gives is what each statistic gives on the dense tensors, whatever the threads do."""

import math
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import UsageError
from rctheory.inspection import registry, stream
from rctheory.inspection.inspection import Inspection, conclude, inspect_source
from rctheory.inspection.registry import STATISTICS, choose_statistics
from rctheory.inspection.statistic import Column, Matrix, MatrixStatistic, Options, Row
from rctheory.statistics.arrays import (
    between_correlations,
    components,
    interaction,
    mean_effects,
    scale_effects,
    within_correlations,
)
from rctheory.statistics.multiplicity import holm
from rctheory.statistics.spectrum import spectrum
from tests.checkpoints.folders import LAYOUT, save_folder, tiny_weights

GATE, DOWN = "model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a small model of heavy-tailed weights."""
    weights = {name: tensor * tensor.abs() for name, tensor in tiny_weights().items()}
    return str(save_folder(tmp_path_factory.mktemp("model"), weights))


@pytest.fixture(scope="module")
def inspection(folder: str) -> Inspection:
    """Inspect it with every statistic."""
    return inspect_source(folder, permutations=999)


def dense(folder: str, name: str) -> torch.Tensor:
    """Return one tensor."""
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.tensor(name)


def row(inspection: Inspection, statistic: str, subject: str, part: str = "") -> dict[str, object]:
    """Return the values of one row."""
    (found,) = (r for r in inspection.outcome(statistic).rows if (r.subject, r.part) == (subject, part))
    return dict(found.values)


def test_screen_is_that_of_the_dense_tensor(inspection: Inspection, folder: str) -> None:
    W, values = dense(folder, GATE).double(), row(inspection, "screen", GATE)
    centred = W - W.mean()
    kurtosis = float(centred.pow(4).mean() / centred.pow(2).mean() ** 2)
    assert values["rms"] == pytest.approx(float(W.pow(2).mean().sqrt()), rel=1e-5)
    assert values["kurtosis"] == pytest.approx(kurtosis, rel=1e-4)
    sd = float(W.norm(dim=1).log().std())
    assert values["row_sd"] == pytest.approx(sd, rel=1e-4)
    assert values["row_spread"] == pytest.approx(sd / math.sqrt((kurtosis - 1) / (4 * W.shape[1])), rel=1e-3)


def test_rows_of_one_scale_have_a_spread_of_one(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights["model.embed_tokens.weight"] = torch.randn(96, 32, generator=torch.Generator().manual_seed(1))
    found = inspect_source(str(save_folder(tmp_path, weights)), statistics=["screen"])
    assert row(found, "screen", "model.embed_tokens.weight")["row_spread"] == pytest.approx(1, abs=0.4)
    weights["model.embed_tokens.weight"] *= torch.linspace(-2, 2, 96).exp()[:, None]
    found = inspect_source(str(save_folder(tmp_path / "scaled", weights)), statistics=["screen"])
    assert row(found, "screen", "model.embed_tokens.weight")["row_spread"] > 3


def test_matrix_statistics_are_those_of_the_dense_tensor(inspection: Inspection, folder: str) -> None:
    W = dense(folder, GATE)
    effects = row(inspection, "effects", GATE, "columns")
    assert effects["mean_p"] == pytest.approx(float(mean_effects(W, "columns").p_value))
    assert effects["scale_share"] == pytest.approx(float(scale_effects(W, "columns").effect))
    spectral = row(inspection, "spectrum", GATE)
    assert spectral["outliers"] == int(spectrum(W).outliers)
    assert spectral["rank"] == int(spectrum(W).rank)
    within = row(inspection, "correlations", GATE, "same column, raw")
    assert within["correlation"] == pytest.approx(float(within_correlations(W)["column"].value))


def test_regimes_are_those_that_were_planted(tmp_path: Path) -> None:
    weights = tiny_weights()
    m, n = weights[GATE].shape
    weights[GATE] = weights[GATE] + 2 * torch.linspace(-1, 1, m)[:, None] * torch.linspace(-1, 1, n).sign()
    weights[DOWN] = weights[DOWN] + 2 * torch.linspace(-1, 1, len(weights[DOWN]))[:, None]
    found = inspect_source(str(save_folder(tmp_path, weights)), statistics=["regimes"])
    assert row(found, "regimes", GATE)["regime"] == "degenerate interaction"
    assert row(found, "regimes", GATE.replace("1", "0"))["regime"] == "pure noise"
    down, expected = row(found, "regimes", DOWN), components(weights[DOWN])
    assert down["regime"] == "non-degenerate"
    assert down["row_share"] == pytest.approx(float(expected.rows.share))
    assert down["row_low"] < down["row_share"] < down["row_high"]
    assert down["row_p_adjusted"] < 1e-9
    notes = found.outcome("regimes").notes
    assert "Degenerate interaction, at level 0.01 in each matrix: 1 of 16 (mlp.gate_proj 1)." in notes
    assert "Non-degenerate, at level 0.01 in each matrix: 1 of 16 (mlp.down_proj 1)." in notes


def test_the_interaction_has_a_stream_for_each_matrix(inspection: Inspection, folder: str) -> None:
    from rctheory.numerics import stream_seed

    expected = interaction(dense(folder, GATE), seed=stream_seed(0, "interaction", GATE))
    assert row(inspection, "interaction", GATE)["p_value"] == pytest.approx(float(expected.p_value))


def test_pairs_are_laid_out_neuron_by_neuron(inspection: Inspection, folder: str) -> None:
    expected = between_correlations(dense(folder, GATE), dense(folder, DOWN).T.contiguous(), columns_shared=True)
    values = row(inspection, "correlations", f"{GATE} and {DOWN}", "same neuron and coordinate, raw")
    assert values["correlation"] == pytest.approx(float(expected["neuron and column"].value), rel=1e-5)
    assert values["p_value"] == pytest.approx(float(expected["neuron and column"].p_value), rel=1e-4)


def test_a_planted_coupling_of_gate_and_down_is_seen(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights[DOWN] = weights[DOWN] + weights[GATE].T
    found = inspect_source(str(save_folder(tmp_path, weights)), statistics=["correlations"])
    values = row(found, "correlations", f"{GATE} and {DOWN}", "same neuron and coordinate, raw")
    assert values["correlation"] == pytest.approx(0.5**0.5, abs=0.05)
    assert values["p_value_adjusted"] < 1e-9
    other = row(found, "correlations", f"{GATE.replace('1', '0')} and {DOWN.replace('1', '0')}",
                "same neuron and coordinate, raw")  # fmt: skip
    assert abs(other["correlation"]) < 0.1


@pytest.mark.parametrize("exponent", [-110, -60, 60, 110])
def test_the_unit_of_the_weights_changes_no_number_but_those_that_have_it(
    inspection: Inspection, folder: str, tmp_path: Path, exponent: int
) -> None:
    with open_checkpoint(folder) as checkpoint:
        weights = {name: checkpoint.tensor(name) * 2.0**exponent for name in checkpoint.layout.tensors}
    scaled = inspect_source(str(save_folder(tmp_path, weights)), permutations=999)
    for one, other in zip(inspection.outcomes, scaled.outcomes, strict=True):
        for row, again in zip(one.rows, other.rows, strict=True):
            assert row.refusal == again.refusal
            for key, value in row.values.items():
                found = again.values[key]
                if key in ("rms", "edge", "noise", "mean", "mean_sd"):
                    assert isinstance(found, float)
                    found /= 2.0**exponent
                if isinstance(value, float):
                    assert found == pytest.approx(value, rel=1e-3, abs=1e-6), (row.subject, key)
                else:
                    assert isinstance(value, dict) or found == value, (row.subject, key)


def test_the_number_of_threads_changes_no_number(
    folder: str, inspection: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "THREADS", 1)
    alone = inspect_source(folder, permutations=999)
    assert alone.as_dict() == inspection.as_dict()


def test_each_tensor_is_read_once_and_let_go(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    held: list[int] = []
    blocks = Checkpoint.blocks

    def count(self: Checkpoint, name: str) -> Iterable[torch.Tensor]:
        read.append(name)
        return blocks(self, name)

    release = stream._Pass._measure_pair

    def watch(self: stream._Pass, number: int, pair: object) -> None:
        held.append(len(self.held))
        release(self, number, pair)
        if number == len(self.pairs) - 1:
            assert not self.waiting.total()

    monkeypatch.setattr(Checkpoint, "blocks", count)
    monkeypatch.setattr(stream._Pass, "_measure_pair", watch)
    inspect_source(folder, statistics=["screen", "correlations"])
    assert sorted(read) == sorted(LAYOUT.tensors)
    assert max(held) <= 8  # of 14 matrices that share neurons: one layer and what its threads run ahead


def test_p_values_are_adjusted_over_the_whole_statistic(inspection: Inspection) -> None:
    rows = inspection.outcome("effects").rows
    keys = ("mean_p", "scale_p")
    adjusted = holm([r.values[key] for key in keys for r in rows])
    assert [r.values[f"{key}_adjusted"] for key in keys for r in rows] == adjusted


def test_a_new_statistic_is_one_class_and_one_entry(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Largest(MatrixStatistic):
        name = "largest"
        question = "How large is the largest weight?"
        columns = (Column("largest", "largest"),)

        def measure_matrix(self, matrix: Matrix, options: Options) -> Iterable[Row]:
            values = {"largest": float(matrix.values.abs().max())}
            yield Row(matrix.layout.name, "w", matrix.layout.layer, "", values)

    monkeypatch.setattr(registry, "STATISTICS", (*STATISTICS, Largest()))
    found = inspect_source(folder, statistics=["largest"])
    assert row(found, "largest", GATE)["largest"] == float(dense(folder, GATE).abs().max())


def test_rows_without_a_p_value_are_no_part_of_the_family() -> None:
    statistic = next(s for s in STATISTICS if s.name == "interaction")
    rows = [Row("a", "a", 0, "", {"p_value": 0.004}), Row("b", "b", 0, "", {"p_value": None}, "constant")]
    done = conclude(statistic, tuple(rows), Options(frozenset()))
    assert done.rows[0].values["p_value_adjusted"] == 0.004
    assert "p_value_adjusted" not in done.rows[1].values


def test_unknown_statistics_are_refused() -> None:
    assert [s.name for s in choose_statistics(["order", "screen"])] == ["screen", "order"]
    for names in (["kurtosis"], []):
        with pytest.raises(UsageError, match="one of screen, order"):
            choose_statistics(names)
