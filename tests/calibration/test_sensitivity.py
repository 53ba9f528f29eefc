"""The metric of the loss after every layer, against the Fisher information that all labels give."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rctheory.architectures.registry import layout_of
from rctheory.calibration.compensation import Compensation, compensate
from rctheory.calibration.selection import SELECTIONS
from rctheory.calibration.sensitivity import FLOOR, measure_metrics
from rctheory.contracts.huggingface import KeepFloat64
from rctheory.errors import NumericsError
from rctheory.transfer.layers import Chunk, LayeredModel
from tests.architectures.models import POSITIONS, VOCABULARY, load, save_state, stored_model


def layered(name: str, folder: Path) -> LayeredModel:
    """Return a tiny model, layer by layer, in float64."""
    state, config, _ = stored_model(name)
    layout = layout_of(json.loads(config)).found_in(state)
    return LayeredModel(load(name, save_state(folder, json.loads(config), state)), layout)


def expected_metric(model: LayeredModel, window: Tensor, layer: int) -> Tensor:
    """Return the mean of A over all labels, by automatic differentiation of a pass that starts after the layer."""
    (chunk,) = model.start(window[None])
    for number in range(layer + 1):
        chunk.stream = model.run(number, chunk)

    def log_p(stream: Tensor) -> Tensor:
        later = Chunk(stream, chunk.arguments)
        for number in range(layer + 1, model.layout.layers):
            later.stream = model.run(number, later)
        norm = model.model.get_submodule("transformer.ln_f" if hasattr(model.model, "transformer") else "model.norm")
        logits = model.model.get_output_embeddings()(norm(later.stream))
        return logits[0].log_softmax(dim=-1)  # type: ignore[no-any-return]  # of an untyped package

    slopes = torch.autograd.functional.jacobian(log_p, chunk.stream)[:, :, 0]  # (T, V, T, D)
    weights = log_p(chunk.stream).exp()
    # Labels of different places are independent and their scores have mean 0: squares of one place at a time.
    return torch.einsum("tv,tvsi,tvsj->ij", weights, slopes, slopes)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_squares_are_those_of_the_fisher_information(name: str, tmp_path: Path) -> None:
    model = layered(name, tmp_path)
    window = torch.randint(VOCABULARY, (5,), generator=torch.Generator().manual_seed(1))
    with KeepFloat64():
        roots = measure_metrics(model, window.expand(600, -1), seed=3)
        for layer, root in enumerate(roots):
            expected = expected_metric(model, window, layer)
            expected = expected / expected.diagonal().mean() + FLOOR * torch.eye(len(expected))
            found = root @ root
            assert float((found - expected).norm() / expected.norm()) < 0.15  # 600 draws of five labels each


def test_no_gradient_is_refused(tmp_path: Path) -> None:
    model = layered("llama", tmp_path)
    with torch.no_grad():
        model.model.get_output_embeddings().weight.zero_()
    with KeepFloat64(), pytest.raises(NumericsError, match="all zero"):
        measure_metrics(model, torch.zeros(1, POSITIONS, dtype=torch.long))


@pytest.mark.parametrize("select", ["elimination", "importance"])
def test_units_are_chosen_by_what_they_write_in_the_metric(select: str, tmp_path: Path) -> None:
    """A metric that sees one direction alone keeps the units that write there, which plain squares let go."""
    model = layered("llama", tmp_path)
    windows = torch.randint(VOCABULARY, (12, POSITIONS), generator=torch.Generator().manual_seed(5))
    axis, down = "layers.1.ffn", model.weight("model.layers.1.mlp.down_proj.weight")
    favoured = torch.tensor([1, 4, 6, 9])
    with torch.no_grad():
        down[:, 0] = 1e-4
        down[favoured, 0] = 0.3
        down[favoured, 1:] = 1e-3
    metric = torch.zeros(down.shape[1], down.shape[1], dtype=torch.float64)
    metric[0, 0] = 1
    with KeepFloat64():
        how = Compensation(SELECTIONS[select])
        plain = compensate(model, windows, {axis: 4}, how)[axis].kept
        seen = compensate(model, windows, {axis: 4}, how, metrics=[metric, metric])[axis].kept
    assert not torch.equal(plain, favoured)
    assert torch.equal(seen, favoured)
