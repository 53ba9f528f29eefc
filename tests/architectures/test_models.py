"""Every declaration against the model of transformers that it declares: names, shapes, pieces and symmetry."""

from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.pieces import gather
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import CheckpointError
from tests.architectures.models import (
    BERT,
    FAMILIES,
    LLAMA,
    NEOX,
    build,
    load,
    logits,
    save,
    stored_model,
    tiny_model,
)
from tests.architectures.relabel import declared, relabel_stored


def layout_in(name: str, state: dict[str, Tensor]) -> Layout:
    """Return the layout of what a model of a family stores."""
    return layout_of(FAMILIES[name].small).found_in(state)


def _axes(*, exchangeable: bool) -> list[tuple[str, str]]:
    """Return every axis of every family, in its last layer."""
    found = {}
    for name, family in FAMILIES.items():
        for instance in layout_of(family.small).axes.values():
            if instance.axis.exchangeable is exchangeable:
                found[name, instance.axis.path] = instance.name
    return [(name, axis) for (name, _), axis in found.items()]


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_model_has_the_declared_tensors(name: str, large: bool, tmp_path: Path) -> None:
    save(tiny_model(name, large=large), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.layout.architecture == FAMILIES[name].small["model_type"]
        total = 0
        for tensor in checkpoint.layout.tensors.values():
            read = checkpoint.tensor(tensor.name)
            assert read.shape == tensor.shape == checkpoint.tensors[tensor.name].shape
            assert torch.equal(read, gather(state, tensor.stored))
            small = torch.cat(list(checkpoint.blocks(tensor.name, block_bytes=64)))
            assert torch.equal(read, small)
            total += read.numel()
        # Nothing is read twice and nothing is left out.
        again = checkpoint.layout.buffers | set(checkpoint.layout.twins)
        assert total == sum(value.numel() for key, value in state.items() if key not in again)


@pytest.mark.parametrize(("name", "axis"), _axes(exchangeable=True))
def test_relabelling_an_exchangeable_axis_changes_nothing(name: str, axis: str, tmp_path: Path) -> None:
    before, after = _relabelled(name, axis, tmp_path)
    assert (before - after).abs().max() <= 1e-10 * before.abs().max()


@pytest.mark.parametrize(("name", "axis"), _axes(exchangeable=False))
def test_relabelling_an_ordered_axis_changes_the_output(name: str, axis: str, tmp_path: Path) -> None:
    before, after = _relabelled(name, axis, tmp_path)
    assert (before - after).abs().max() > 1e-3 * before.abs().max()


@pytest.mark.parametrize(
    ("model", "config", "groups"),
    [
        ("GPT2Model", FAMILIES["gpt2"].small, set()),
        ("GPT2Model", FAMILIES["gpt2 untied"].small, set()),
        ("LlamaModel", LLAMA, set()),
        ("LlamaModel", LLAMA | {"tie_word_embeddings": True}, set()),
        ("MixtralModel", FAMILIES["mixtral"].small, set()),
        ("GPTNeoXModel", NEOX, set()),
        ("BertModel", BERT, {"pooler"}),
        ("BertForMaskedLM", BERT, {"language head"}),
        ("BertForMaskedLM", BERT | {"tie_word_embeddings": False}, {"language head"}),
    ],
)
def test_a_part_of_a_model_has_the_same_names(
    model: str, config: dict[str, object], groups: set[str], tmp_path: Path
) -> None:
    """The bare model stores no prefix and no head; heads that are not stored are not asked for."""
    whole = layout_of(config).tensors
    with open_checkpoint(save(build(model, config), tmp_path)) as checkpoint:
        found = checkpoint.layout.tensors
        assert {t.optional for t in found.values()} - {""} == groups
        assert set(found) <= set(whole)
        assert all(t.optional not in groups for n, t in whole.items() if n not in found)
        state = load_file(tmp_path / "model.safetensors")
        for tensor in found.values():
            assert torch.equal(checkpoint.tensor(tensor.name), gather(state, tensor.stored))


def test_the_packaged_bert_is_the_bare_model() -> None:
    with open_checkpoint("minilm") as checkpoint:
        layout = checkpoint.layout
        assert (layout.architecture, layout.layers) == ("bert", 6)
        assert sum(prod(t.shape) for t in layout.tensors.values()) == 22_713_216  # the published number of weights
        assert checkpoint.tensor("bert.embeddings.LayerNorm.weight").shape == (384,)
        assert "cls.predictions.bias" not in layout.tensors
        assert layout.axes["layers.5.head/value_dim"].size == 32


def test_older_names_of_norms_are_read(tmp_path: Path) -> None:
    model = build("BertForMaskedLM", BERT)
    save(model, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    older = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for name in list(state):
        for new, old in older.items():
            if name.endswith(new):
                state[name.removesuffix(new) + old] = state.pop(name)
    save_file(state, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        name = "bert.encoder.layer.1.output.LayerNorm.bias"
        assert torch.equal(checkpoint.tensor(name), model.state_dict()[name].float())


@pytest.mark.parametrize(
    ("model", "config", "names"),
    [
        ("GPT2Model", FAMILIES["gpt2"].small, ("h.0.attn.bias", "h.1.attn.masked_bias")),
        ("GPT2LMHeadModel", FAMILIES["gpt2"].small, ("transformer.h.0.attn.bias",)),
        ("BertModel", BERT, ("embeddings.position_ids",)),
        ("GPTNeoXForCausalLM", NEOX, ("gpt_neox.layers.1.attention.rotary_emb.inv_freq",)),
    ],
)
def test_buffers_of_older_checkpoints_are_passed_over(
    model: str, config: dict[str, object], names: tuple[str, ...], tmp_path: Path
) -> None:
    save(build(model, config), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {name: torch.ones(1, 9, dtype=torch.uint8) for name in names}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert set(names) <= checkpoint.layout.buffers


def test_an_optional_group_is_whole_or_absent(tmp_path: Path) -> None:
    save(build("BertModel", BERT), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["pooler.dense.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor pooler\.dense\.bias is missing"):
        open_checkpoint(tmp_path)


def test_a_fused_tensor_of_another_width_is_refused(tmp_path: Path) -> None:
    save(build("GPT2Model", FAMILIES["gpt2"].small), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["h.0.attn.c_attn.bias"] = state["h.0.attn.c_attn.bias"][:-1]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"h\.0\.attn\.c_attn\.bias has shape \(35,\); expected \(36,\)"):
        open_checkpoint(tmp_path)


def test_queries_keys_and_values_lie_side_by_side_in_gpt2() -> None:
    state, _, _ = stored_model("gpt2")
    weights = declared(layout_in("gpt2", state), state)
    for kind in ("weight", "bias"):
        thirds = state[f"transformer.h.1.attn.c_attn.{kind}"].split(12, dim=-1)
        for name, third in zip(("query", "key", "value"), thirds, strict=True):
            assert torch.equal(weights[f"transformer.h.1.attn.{name}.{kind}"], third)


def test_queries_keys_and_values_lie_in_every_head_of_gpt_neox() -> None:
    state, _, _ = stored_model("gpt_neox")
    weights = declared(layout_in("gpt_neox", state), state)
    for kind in ("weight", "bias"):
        fused = state[f"gpt_neox.layers.1.attention.query_key_value.{kind}"].unflatten(0, (3, 3, 8))
        for number, name in enumerate(("query", "key")):
            for part, columns in (("rotary", slice(0, 4)), ("plain", slice(4, 8))):
                found = weights[f"gpt_neox.layers.1.attention.{name}.{part}.{kind}"]
                assert torch.equal(found, fused[:, number, columns].flatten(0, 1))
        assert torch.equal(weights[f"gpt_neox.layers.1.attention.value.{kind}"], fused[:, 2].flatten(0, 1))


def test_experts_of_mixtral_are_joined(tmp_path: Path) -> None:
    save(tiny_model("mixtral"), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    moe = "model.layers.1.block_sparse_moe.experts"
    with open_checkpoint(tmp_path) as checkpoint:
        for name, dimension in (("w1", 0), ("w3", 0), ("w2", 1)):
            parts = [state[f"{moe}.{expert}.{name}.weight"] for expert in range(3)]
            assert torch.equal(checkpoint.tensor(f"{moe}.{name}.weight"), torch.cat(parts, dim=dimension))


def _relabelled(name: str, axis: str, folder: Path) -> tuple[Tensor, Tensor]:
    """Return the outputs of a model before and after relabelling an axis in what it stores."""
    state, config, before = stored_model(name)
    state = {key: tensor.clone() for key, tensor in state.items()}
    layout = layout_in(name, state)
    relabel_stored(layout, state, axis, torch.Generator().manual_seed(3))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(config)
    return before, logits(load(name, folder))
