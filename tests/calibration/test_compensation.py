"""Layer-by-layer calibration of tiny models of transformers, against running the pruned model itself."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rctheory.architectures.readers import Reader, reader_of
from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.calibration import fit as fits
from rctheory.calibration.compensation import Compensation, compensate
from rctheory.calibration.fit import Refitted
from rctheory.calibration.makers import ENOUGH
from rctheory.calibration.selection import SELECTIONS
from rctheory.contracts.huggingface import KeepFloat64
from rctheory.errors import UsageError
from rctheory.transfer.layers import LayeredModel
from tests.architectures.models import POSITIONS, VOCABULARY, load, save_state, stored_model

CASES = {
    "gpt2": {"ffn": 6},
    "llama": {"ffn": 6, "group": 1},
    "llama 3.1 tied": {"ffn": 6, "group": 1},
    "qwen2": {"ffn": 7},
    "qwen3": {"group": 1},
    "gemma": {"ffn": 6},
    "gpt_neox": {"ffn": 6, "head": 2},
    "gpt_neox all rotary": {"ffn": 6},
}
PLAIN = Compensation(SELECTIONS["elimination"])
WINDOWS = torch.randint(VOCABULARY, (12, POSITIONS), generator=torch.Generator().manual_seed(5))


def layered(name: str, folder: Path) -> LayeredModel:
    """Return a tiny model, layer by layer, in float64."""
    state, config, _ = stored_model(name)
    layout = layout_of(json.loads(config)).found_in(state)
    return LayeredModel(load(name, save_state(folder, json.loads(config), state)), layout)


def last_stream(model: LayeredModel) -> Tensor:
    """Return what leaves the last layer, by the model's own forward pass."""
    seen: list[Tensor] = []
    last = model._layers[-1]
    handle = last.register_forward_hook(
        lambda _module, _args, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    model.model(WINDOWS, use_cache=False)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", CASES)
def test_layer_by_layer_is_the_whole_model(name: str, tmp_path: Path) -> None:
    model = layered(name, tmp_path)
    with torch.no_grad(), KeepFloat64():
        chunks = model.start(WINDOWS, size=5)
        for number in range(model.layout.layers):
            for chunk in chunks:
                chunk.stream = model.run(number, chunk)
        found, expected = torch.cat([chunk.stream for chunk in chunks]), last_stream(model)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("epochs", [0, 3])
@pytest.mark.parametrize("name", CASES)
def test_the_fitted_stream_is_that_of_the_pruned_model(name: str, epochs: int, tmp_path: Path) -> None:
    """The error that is reported is that of the model whose readers hold the fitted weights, and it is smaller."""
    model = layered(name, tmp_path)
    widths = {axis: CASES[name][i.axis.name] for axis, i in model.layout.axes.items() if i.axis.name in CASES[name]}
    before = {key: weight.clone() for key, weight in model.model.named_parameters()}
    with torch.no_grad(), KeepFloat64():
        wanted = last_stream(model)
        fitted = compensate(model, WINDOWS, widths, replace(PLAIN, strength=1e-6, correction=1.0, epochs=epochs))
        assert all(torch.equal(before[key], weight) for key, weight in model.model.named_parameters())
        plain = {a: before_after(model, f.tensor, f.kept, None, axis=a) for a, f in fitted.items()}
        naive = relative(last_stream(model), wanted)
        for axis, found in fitted.items():
            write_makers(model, axis, found)
            before_after(model, found.tensor, found.kept, found.weights, axis=axis)
            assert bool(found.makers) == bool(epochs and axis.endswith("ffn"))
        pruned = relative(last_stream(model), wanted)
    assert len(plain) == len(widths)
    assert pruned < 0.5 * naive
    last = f"layers.{model.layout.layers - 1}.ffn"
    if last in fitted:  # nothing comes after it
        with torch.no_grad(), KeepFloat64():
            assert fitted[last].error == pytest.approx(weighted(last_stream(model), wanted), rel=1e-4)


def before_after(model: LayeredModel, tensor: str, kept: Tensor, weights: Tensor | None, *, axis: str) -> None:
    """Write fitted weights into the model, zeros elsewhere; without weights the trained ones times n / m."""
    matrix, group = model.weight(tensor), reader_of(model.layout, axis).group
    columns = (kept[:, None] * group + torch.arange(group)).flatten()
    ratio = len(matrix) / len(columns)
    values = matrix[columns] * ratio if weights is None else weights.to(matrix)
    matrix.zero_()
    matrix[columns] = values


def write_makers(model: LayeredModel, axis: str, found: Refitted) -> None:
    """Write what makes the units that are kept into the model, in their places."""
    for touch in model.layout.touches(axis):
        if touch.tensor in found.makers:
            name = model.layout.place(touch.tensor, Naming.TRANSFORMERS).names[0]
            whole = model.model.get_parameter(name).detach()
            whole.index_copy_(touch.dimension, found.kept, found.makers[touch.tensor].to(whole))


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().sum() / wanted.square().sum())


def weighted(found: Tensor, wanted: Tensor) -> float:
    """Return the mean square error with tokens weighed by their stream."""
    return float(((found - wanted).square().mean(dim=-1) / wanted.square().mean(dim=-1)).mean())


@pytest.mark.parametrize("correction", [0.0, 0.3, 1.0])
def test_products_are_those_of_the_outputs_that_are_asked_for(
    correction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gram matrix by blocks, and products of outputs that are never made, against the dense ones."""
    monkeypatch.setattr(fits, "BLOCK", 5)  # 13 columns: two blocks and a rest
    draw = torch.Generator().manual_seed(2)
    prior = torch.randn(13, 4, generator=draw, dtype=torch.float64)
    fit = fits.Fit(prior, Reader("w", 1), correction)
    xs, zs = [], []
    for windows in (2, 3):
        hidden, outputs, stream = (torch.randn(windows, 6, k, generator=draw, dtype=torch.float64) for k in (13, 4, 4))
        fit.add(hidden, outputs, stream)
        scale = stream.square().mean(dim=-1, keepdim=True).rsqrt()
        xs.append((hidden * scale).flatten(0, 1))
        zs.append((((1 - correction) * hidden @ prior + correction * outputs) * scale).flatten(0, 1))
    x, z = torch.cat(xs), torch.cat(zs)
    gram, cross, square = fit._products()
    torch.testing.assert_close(gram, x.T @ x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(cross, x.T @ z, rtol=1e-9, atol=1e-9)
    assert square == pytest.approx(float(z.square().sum()), rel=1e-9)


def test_makers_are_fitted_on_enough_text_only(tmp_path: Path) -> None:
    model = layered("llama", tmp_path)
    axis, m = "layers.0.ffn", 6
    for count, expected in ((ENOUGH * m - POSITIONS, False), (ENOUGH * m, True)):
        windows = WINDOWS.flatten()[: -(-count // POSITIONS) * POSITIONS].reshape(-1, POSITIONS)
        with KeepFloat64():
            found = compensate(model, windows, {axis: m}, replace(PLAIN, epochs=1))
        assert bool(found[axis].makers) is expected


def test_redundant_units_cost_nothing(tmp_path: Path) -> None:
    """Two neurons of the same hidden value: one goes, and the stream of the original comes back exactly."""
    state, config, _ = stored_model("llama")
    state = {key: tensor.clone() for key, tensor in state.items()}
    for layer in range(2):
        for part in ("gate_proj", "up_proj"):
            for kind in ("weight", "bias"):
                tensor = state[f"model.layers.{layer}.mlp.{part}.{kind}"]
                tensor[4] = tensor[7]
    layout = layout_of(json.loads(config)).found_in(state)
    model = LayeredModel(load("llama", save_state(tmp_path, json.loads(config), state)), layout)
    widths = {f"layers.{layer}.ffn": 9 for layer in range(2)}
    with KeepFloat64():
        fitted = compensate(model, WINDOWS, widths, replace(PLAIN, strength=1e-9))
    for found in fitted.values():
        assert len({4, 7} & set(found.kept.tolist())) == 1
        assert found.error < 1e-12


def test_axes_that_cannot_be_calibrated_are_refused(tmp_path: Path) -> None:
    model = layered("llama", tmp_path)
    with pytest.raises(UsageError, match=r"axis residual of llama, which .* matrices read"):
        compensate(model, WINDOWS, {"residual": 8}, PLAIN)
    with pytest.raises(UsageError, match=r"10 of 10 units of axis layers.0.ffn; expected fewer"):
        compensate(model, WINDOWS, {"layers.0.ffn": 10}, PLAIN)
    with pytest.raises(UsageError, match=r"axis layers.0.group/head of llama"):
        compensate(model, WINDOWS, {"layers.0.group/head": 1}, PLAIN)
