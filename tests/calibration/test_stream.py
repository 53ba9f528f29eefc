"""A residual stream that is turned and cut: exact where nothing is lost, else against its parts done by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rctheory.architectures.registry import layout_of
from rctheory.calibration.narrowing import empty_model
from rctheory.calibration.stream import ShrunkStream, shrink_stream
from rctheory.calibration.stream_frame import Frame, principal_frame
from rctheory.calibration.stream_parts import parts_of
from rctheory.contracts.huggingface import KeepFloat64
from rctheory.errors import NumericsError, UsageError
from rctheory.transfer.layers import LayeredModel, watching
from tests.architectures.models import POSITIONS, VOCABULARY, load, save_state, stored_model
from tests.calibration.test_compensation import layered

WINDOWS = torch.randint(VOCABULARY, (24, POSITIONS), generator=torch.Generator().manual_seed(8))
NAMES = ["llama", "llama 3.1 tied", "mistral", "qwen2", "qwen3"]
KEPT = 8


def confined_folder(name: str, folder: Path, dimensions: int, **changes: Any) -> Path:
    """Store a tiny model whose stream never leaves a subspace: all that writes it is projected there."""
    state, text, _ = stored_model(name)
    config = json.loads(text) | changes
    draw = torch.Generator().manual_seed(3)
    n = layout_of(config).axes["residual"].size
    base, _ = torch.linalg.qr(torch.randn(n, dimensions, generator=draw, dtype=torch.float64))
    projector = base @ base.T
    state = {key: tensor.clone() for key, tensor in state.items()}
    for key in state:
        if "embed_tokens" in key:
            state[key] = (state[key].double() @ projector).to(state[key])
        elif key.endswith(("o_proj.weight", "down_proj.weight", "o_proj.bias", "down_proj.bias")):
            state[key] = (projector @ state[key].double()).to(state[key])
    return save_state(folder, config, state)


def confined(name: str, folder: Path, dimensions: int) -> LayeredModel:
    """Return such a model, layer by layer, in float64."""
    stored = confined_folder(name, folder, dimensions)
    state, text, _ = stored_model(name)
    return LayeredModel(load(name, stored), layout_of(json.loads(text)).found_in(state))


def smaller_of(model: LayeredModel, name: str, m: int, *, tied: bool = False) -> LayeredModel:
    """Return an empty model of m stream coordinates in float64."""
    config: dict[str, Any] = json.loads(stored_model(name)[1])
    layout = model.layout
    targets = {**layout.sizes, "residual": m}
    config = layout.widths.write(config, targets) | {"tie_word_embeddings": tied}
    made = empty_model(config)
    made.model.double()
    return made


def logits(model: LayeredModel) -> Tensor:
    found: Tensor = model.model(WINDOWS, use_cache=False).logits
    return found


def shrunk(
    model: LayeredModel, name: str, *, strength: float, correction: float = 0.5, tied: bool = False
) -> tuple[LayeredModel, ShrunkStream]:
    smaller = smaller_of(model, name, KEPT, tied=tied)
    with KeepFloat64():
        return smaller, shrink_stream(model, smaller, WINDOWS, strength=strength, correction=correction)


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_in_a_subspace_loses_nothing(name: str, tmp_path: Path) -> None:
    model = confined(name, tmp_path, KEPT)
    before = {key: weight.clone() for key, weight in model.model.named_parameters()}
    smaller, found = shrunk(model, name, strength=1e-12)
    assert all(torch.equal(before[key], weight) for key, weight in model.model.named_parameters())
    assert found.frame.captured == pytest.approx(1, abs=1e-9)
    assert found.error < 1e-12
    with torch.no_grad(), KeepFloat64():
        torch.testing.assert_close(logits(smaller), logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "llama 3.1 tied"])
def test_a_strong_ridge_leaves_the_turned_weights(name: str, tmp_path: Path) -> None:
    """No fit at all is exact too where nothing is lost: the prior is the model turned and cut."""
    model = confined(name, tmp_path, KEPT)
    smaller, _ = shrunk(model, name, strength=1e12, correction=0.0)
    with torch.no_grad(), KeepFloat64():
        torch.testing.assert_close(logits(smaller), logits(model), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_fitting_beats_turning_alone(name: str, tmp_path: Path) -> None:
    model = layered(name, tmp_path)
    plain, _ = shrunk(model, name, strength=1e9, correction=0.0)
    fitted, found = shrunk(model, name, strength=1e-6, correction=0.5)
    assert 0.4 < found.frame.captured < 1
    assert 0 < found.error < 1
    with torch.no_grad(), KeepFloat64():
        wanted = logits(model)
        left = [float((logits(m) - wanted).square().mean()) for m in (plain, fitted)]
    assert left[1] < 0.9 * left[0]


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_the_last_writer_leaves_nothing_that_it_could_write(name: str, tmp_path: Path) -> None:
    """Without a ridge, and all errors before it to be made good for: what is missed is orthogonal to its inputs.

    Tokens weigh by their stream, that of the source as the smaller model holds it.
    """
    model = layered(name, tmp_path)
    smaller, found = shrunk(model, name, strength=1e-12, correction=1.0)
    streams, inputs = [], []
    for one in (model, smaller):
        down, norm = one.module_of("model.layers.1.mlp.down_proj.weight"), one.module_of("model.norm.weight")
        with watching(down) as hidden, watching(norm) as last, torch.no_grad(), KeepFloat64():
            logits(one)
        streams.append(last[0].flatten(0, 1))
        inputs.append(hidden[0].flatten(0, 1))
    wanted = streams[0] @ found.frame.writing
    weighed = inputs[1] / wanted.square().mean(dim=-1, keepdim=True)
    missed = wanted - streams[1]
    start = missed + inputs[1] @ smaller.weight("model.layers.1.mlp.down_proj.weight")
    assert float((weighed.T @ missed).norm()) < 1e-6 * float((weighed.T @ start).norm())


def test_directions_are_those_of_the_normed_stream(tmp_path: Path) -> None:
    """Against every norm's input collected whole, and its singular vectors."""
    model = layered("llama", tmp_path)
    parts = parts_of(model.layout)
    seen: list[Tensor] = []
    modules = [model.module_of(part.gain) for part in parts]
    handles = [m.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach())) for m in modules]
    with torch.no_grad(), KeepFloat64():
        logits(model)
        for handle in handles:
            handle.remove()
        frame = principal_frame(model, parts, WINDOWS, 5)
    rows = torch.cat([x.flatten(0, 1) for x in seen])
    rows = rows / rows.square().mean(dim=-1, keepdim=True).sqrt()
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    torch.testing.assert_close(frame.basis @ frame.basis.T, vectors[:5].T @ vectors[:5], rtol=1e-7, atol=1e-7)
    assert frame.captured == pytest.approx(float(values[:5].square().sum() / values.square().sum()), rel=1e-9)


def test_a_frame_reads_as_much_as_it_holds() -> None:
    """What is read of a normed stream has the share c of its mean square; F and B undo each other but for that."""
    basis, _ = torch.linalg.qr(torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    frame = Frame(basis, 0.81)
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64) @ frame.writing
    normed = z / z.square().mean(dim=-1, keepdim=True).sqrt()
    torch.testing.assert_close((normed @ frame.reading).square().mean(dim=-1), torch.full((20,), 0.81).double())
    torch.testing.assert_close(frame.reading @ frame.writing, 0.9 * torch.eye(4, dtype=torch.float64))
    assert frame.shrinkage == pytest.approx(0.9 * 6 / 4)


def test_parts_follow_the_forward_pass() -> None:
    parts = parts_of(layout_of(json.loads(stored_model("llama 3.1 tied")[1]) | {"tie_word_embeddings": False}))
    names = [(p.layer, p.gain.split(".")[-2], len(p.readers), (p.writer or "none.").split(".")[-2]) for p in parts]
    layers = [[(i, "input_layernorm", 3, "o_proj"), (i, "post_attention_layernorm", 2, "down_proj")] for i in range(2)]
    assert names == [*layers[0], *layers[1], (None, "norm", 1, "none")]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("gpt2", "its norms do not leave free to turn"),
        ("gpt_neox", "its norms do not leave free to turn"),
        ("gemma", "its norms do not leave free to turn"),
        ("mixtral", "not read and written in turn"),
    ],
)
def test_streams_that_cannot_be_turned_are_refused(name: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        parts_of(layout_of(json.loads(stored_model(name)[1])))


def test_a_stream_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = layered("llama", tmp_path)
    model.model.get_input_embeddings().weight[0, 0] = float("nan")
    with KeepFloat64(), pytest.raises(NumericsError, match="not finite"):
        principal_frame(model, parts_of(model.layout), WINDOWS, 4)


def test_one_gain_for_all_keeps_a_head_tied_at_no_cost(tmp_path: Path) -> None:
    """The gain of the last norm then commutes with the rotation; fitted or not, the tied model is exact."""
    model = confined("llama 3.1 tied", tmp_path, KEPT)
    with torch.no_grad():
        model.module_of("model.norm.weight").weight.fill_(1.7)
    for strength in (1e-12, 1e12):
        smaller, found = shrunk(model, "llama 3.1 tied", strength=strength, correction=0.0, tied=True)
        assert "lm_head.weight" not in dict(smaller.model.named_parameters())
        assert found.frame.captured == pytest.approx(1, abs=1e-9)
        with torch.no_grad(), KeepFloat64():
            torch.testing.assert_close(logits(smaller), logits(model), rtol=1e-4, atol=1e-4)


def test_a_tied_head_reads_and_its_embedding_pays(tmp_path: Path) -> None:
    """Gains that differ: the one matrix is that of the head, as long as the embedding, and read by one gain."""
    model, name = layered("llama 3.1 tied", tmp_path), "llama 3.1 tied"
    gain = torch.linspace(1.0, 3.0, 16, dtype=torch.float64)
    with torch.no_grad():
        model.module_of("model.norm.weight").weight.copy_(gain)
    smaller, found = shrunk(model, name, strength=1e-9, tied=True)
    before, after = (m.model.get_input_embeddings().weight.detach() for m in (model, smaller))
    head = before * gain
    wanted = head @ found.frame.writing
    torch.testing.assert_close(after, wanted * float(before.norm() / head.norm()))
    weight = smaller.module_of("model.norm.weight").weight.detach()
    factor = found.frame.captured**0.5 * 16 / KEPT * float(head.norm() / before.norm())
    torch.testing.assert_close(weight, torch.full_like(weight, factor))


def test_the_scale_of_the_smaller_stream_is_in_the_prior(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: without (c n / m)^(1/2) the turned weights alone are wrong."""
    model = confined("llama", tmp_path, KEPT)
    monkeypatch.setattr(Frame, "reading", property(lambda frame: frame.basis.T))
    smaller, _ = shrunk(model, "llama", strength=1e12, correction=0.0)
    with torch.no_grad(), KeepFloat64():
        assert float((logits(smaller) - logits(model)).abs().max()) > 1e-2
