"""The operator on whole models of every family: undoing, noise, samples, LayerNorm grown by a part."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.norms import NormKind
from rctheory.architectures.registry import layout_of
from rctheory.measures.designs import DESIGNS
from rctheory.numerics import generator
from rctheory.transfer.operator import Operator
from rctheory.transfer.transfer_plan import TransferPlan, draw_transfer
from rctheory.transfer.units import AxisPlan
from tests.architectures.models import FAMILIES, load, logits, stored_model
from tests.architectures.relabel import declared
from tests.transfer.test_widen import GROWN, into_stored

BY_PARTS = {
    "gpt2": {"residual": 20, "ffn": 17},
    "gpt2 untied": {"residual": 28},
    "gpt_neox": {"residual": 32, "ffn": 13},
    "gpt_neox all rotary": {"residual": 56},
    "gpt_neox unbiased": {"residual": 40},
}
"""New widths, no multiples of the old ones, of streams under LayerNorm."""


def source_of(name: str) -> tuple[Layout, dict[str, Tensor], dict, Tensor]:
    """Return layout, declared tensors, configuration and outputs of a family."""
    state, config, before = stored_model(name)
    layout = layout_of(json.loads(config)).found_in(state)
    return layout, declared(layout, state), json.loads(config), before


def outputs_of(name: str, plan: TransferPlan, folder: Path) -> tuple[Tensor, Tensor, dict]:
    """Return what a model and its transfer say in float64, and the new configuration."""
    layout, weights, config, before = source_of(name)
    operator = plan.operator(layout)
    written = operator.configure(config, plan.targets)
    wide = {key: operator.apply(key, tensor.clone()) for key, tensor in weights.items()}
    state = stored_model(name)[0]
    stored = into_stored(layout_of(written).found_in(state), wide)
    buffers = {key: state[key] for key in layout.buffers if key in state}
    save_file(stored | buffers, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(written))
    return before, logits(load(name, folder)), written


def tiled(layout: Layout, factor: int) -> dict[str, int]:
    """Return sizes so many times as large, of every axis that grows in a sensible model."""
    axes = [axis for axis in ("residual", "group", "ffn") if axis in layout.sizes]
    changes = {axis: factor * layout.sizes[axis] for axis in axes}
    return layout.widths.resize(layout.sizes, changes) and changes


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_was_tiled_is_undone_to_the_bit(name: str, factor: int) -> None:
    """In float32, except for the last gain before a tied head, which is divided by the factor and rounded."""
    layout, weights, _, _ = source_of(name)
    operator = draw_transfer(layout, tiled(layout, factor), seed=1).operator(layout)
    rooted = set(layout.rooted)  # Gemma's embedding is scaled by the root of the factor
    scaled = {key for norm in layout.norms if norm.feeds for key in (norm.gain, norm.bias)} | rooted
    for key, tensor in weights.items():
        source = tensor.float()
        back = operator.undo(key, operator.apply(key, source.clone()))
        if key in scaled:
            torch.testing.assert_close(back, source, rtol=1e-6, atol=1e-6)
        else:
            assert torch.equal(back, source), key


@pytest.mark.parametrize("name", FAMILIES)
def test_unequal_copies_are_undone(name: str) -> None:
    """To the bit along every axis but a stream under RMSNorm, whose writers and gains are scaled and rounded."""
    layout, weights, _, _ = source_of(name)
    changes = GROWN[name]
    operator = draw_transfer(layout, changes, seed=1).operator(layout)
    stream = operator.plans.get("residual")
    is_rms = any(norm.kind is NormKind.RMS for norm in layout.norms)
    rounded = stream is not None and is_rms and not stream.extends
    last = {key for norm in layout.norms if norm.feeds for key in (norm.gain, norm.bias)} | set(layout.rooted)
    for key, tensor in weights.items():
        source = tensor.float()
        back = operator.undo(key, operator.apply(key, source.clone()))
        touched = any(instance.name == "residual" for nest in layout.tensors[key].nests for instance in nest)
        if (rounded and touched) or key in last:
            torch.testing.assert_close(back, source, rtol=1e-6, atol=1e-6)
        else:
            assert torch.equal(back, source), key


@pytest.mark.parametrize("name", FAMILIES)
def test_noise_is_seen_by_no_output(name: str, tmp_path: Path) -> None:
    layout, weights, _, _ = source_of(name)
    plan = draw_transfer(layout, GROWN[name], seed=2, noise=0.3)
    operator, quiet = plan.operator(layout), draw_transfer(layout, GROWN[name], seed=2).operator(layout)
    moved = [k for k, w in weights.items() if not operator.apply(k, w.clone()).equal(quiet.apply(k, w.clone()))]
    assert moved
    before, after, _ = outputs_of(name, plan, tmp_path)
    assert (before - after).abs().max() <= 1e-10 * before.abs().max()


@pytest.mark.parametrize("name", BY_PARTS)
def test_a_stream_under_layernorm_grows_by_a_part(name: str, tmp_path: Path) -> None:
    layout = source_of(name)[0]
    for number, noise in enumerate((0.0, 0.2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        plan = draw_transfer(layout, BY_PARTS[name], seed=4, noise=noise)
        assert plan.axes["residual"].means
        before, after, written = outputs_of(name, plan, folder)
        assert (before - after).abs().max() <= 1e-10 * before.abs().max()
        n, m = plan.sizes["residual"], plan.targets["residual"]
        epsilon = written.get("layer_norm_epsilon", written.get("layer_norm_eps"))
        assert epsilon == pytest.approx(1e-5 * (m // n) * n / m, rel=1e-12)


@pytest.mark.parametrize("design", ["iid", "without-replacement"])
def test_sampled_reads_are_unbiased(design: str) -> None:
    """Over draws, what reads the sampled units adds up to the same: within 7 standard errors (p < 1e-9 for 6 sums)."""
    layout = layout_of(FAMILIES["gpt2"].small)
    name, axis, draws = "transformer.h.0.mlp.c_proj.weight", "layers.0.ffn", 4000
    n, m = layout.axes[axis].size, 4
    weights = torch.randn(layout.tensors[name].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    random = generator(5, "test", design)
    sums = []
    for _ in range(draws):
        plan = AxisPlan(n, DESIGNS[design].draw(n, m, random), exact=False)
        sums.append(Operator(layout, {axis: plan}).apply(name, weights.clone()).sum(0))
    stacked = torch.stack(sums)
    error = (stacked.mean(0) - weights.sum(0)) / (stacked.std(0) / draws**0.5)
    assert error.abs().max() < 7


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_are_the_tensor(name: str, noise: float) -> None:
    """To the bit, in whatever blocks, for equal and unequal copies, units that carry the mean, and samples."""
    layout, weights, _, _ = source_of(name)
    cases = [GROWN[name], tiled(layout, 2), *([BY_PARTS[name]] if name in BY_PARTS else []), {"ffn": 7}]
    for changes in cases:
        operator = draw_transfer(layout, changes, seed=6, noise=noise).operator(layout)
        for key, tensor in weights.items():
            whole = operator.apply(key, tensor.float())
            for entries in (1, 50, 1 << 20):
                blocks = list(operator.blocks(key, tensor.float(), entries))
                assert torch.equal(torch.cat(blocks), whole), key
    if not noise:
        assert len(blocks) == 1
        assert len(list(operator.blocks(next(iter(weights)), weights[next(iter(weights))].float(), 1))) > 1
