"""A pruned stream through files: configuration, weights and record."""

import json
from pathlib import Path

import pytest
import torch

from rctheory.calibration.narrowing import narrow, narrowed_config
from rctheory.calibration.stream_frame import Frame
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import UsageError
from rctheory.transfer.apply import RECORD
from rctheory.transfer.companions import CONFIG, TURNED
from rctheory.transfer.layers import LayeredModel
from rctheory.transfer.models import load_model
from tests.architectures.models import stored_model
from tests.calibration.test_stream import KEPT, WINDOWS, confined_folder

LARGE_EPSILON = 0.5  # so that a wrong one is seen


def gap(source: Path, target: Path) -> float:
    """Narrow a stored model to `KEPT` coordinates; return the largest change of its logits, both loaded from files."""
    with open_checkpoint(str(source)) as checkpoint:
        config = narrowed_config(checkpoint, checkpoint.layout.sizes | {"residual": KEPT}, untie=True)
        model = LayeredModel(load_model(source), checkpoint.layout)
        narrow(checkpoint, model, WINDOWS, config, target, strength=1e-6, correction=0.5)
    with torch.no_grad():
        before, after = (load_model(folder)(WINDOWS).logits for folder in (source, target))
    return float((after - before).abs().max() / before.abs().max())


@pytest.mark.parametrize("name", ["llama", "llama 3.1 tied", "qwen3"])
def test_a_stored_model_in_a_subspace_loses_nothing(name: str, tmp_path: Path) -> None:
    source = confined_folder(name, tmp_path / "source", KEPT, rms_norm_eps=LARGE_EPSILON)
    assert gap(source, tmp_path / "small") <= 1e-3
    config = json.loads((tmp_path / "small" / CONFIG).read_text())
    before = json.loads((source / CONFIG).read_text())
    assert config["hidden_size"] == KEPT
    assert config["tie_word_embeddings"] is False
    assert config["rms_norm_eps"] == before["rms_norm_eps"] == LARGE_EPSILON
    record = json.loads((tmp_path / "small" / RECORD).read_text())
    assert record[TURNED]["targets"]["residual"] == KEPT
    assert record[TURNED]["tokens"] == WINDOWS.numel()


def test_a_stream_that_is_turned_and_not_scaled_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: without (m / n)^(1/2) the norms divide by more than they did."""
    source = confined_folder("llama", tmp_path / "source", KEPT, rms_norm_eps=LARGE_EPSILON)
    monkeypatch.setattr(Frame, "writing", property(lambda frame: frame.basis))
    assert gap(source, tmp_path / "small") > 1e-2


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"residual": KEPT, "ffn": 4}, "residual and ffn at once"),
        ({"residual": 40}, "expected fewer"),
    ],
)
def test_what_cannot_be_narrowed(changes: dict[str, int], match: str, tmp_path: Path) -> None:
    source = confined_folder("llama", tmp_path / "source", KEPT)
    with open_checkpoint(str(source)) as checkpoint, pytest.raises(UsageError, match=match):
        narrowed_config(checkpoint, checkpoint.layout.sizes | changes)
    assert json.loads(stored_model("llama")[1])["hidden_size"] > KEPT
