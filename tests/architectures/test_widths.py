"""Widths: configurations and sizes determine each other, and illegal widths are refused with the nearest legal ones."""

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest

from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import CheckpointError, ShapeError
from tests.architectures.models import FAMILIES, build, save
from tests.architectures.test_own_models import MODELS

GROWN = {
    "gpt2": ({"residual": 20}, {"head": 5, "ffn": 10}),
    "bert": ({"head": 4}, {"residual": 16, "pooled": 16}),
    "bert untied": ({"residual": 16}, {"head": 4, "pooled": 16, "transformed": 16}),
    "llama": ({"residual": 24, "group": 3, "ffn": 17}, {"head": 2, "key_dim": 4}),
    "mistral": ({"residual": 17, "head": 3}, {"group": 2, "key_dim": 6}),
    "qwen3": ({"residual": 18}, {"key_dim": 6}),
    "gemma": ({"ffn": 11}, {"residual": 16}),
    "mixtral": ({"ffn": 11, "residual": 20}, {"expert": 3}),
    "gpt_neox": ({"residual": 32}, {"head": 4, "rotary_dim": 4, "plain_dim": 4}),
}
OWN = {
    "mlp": ({"hidden.1": 9}, {"hidden.2": 5}),
    "residual_mlp": ({"residual": 8, "ffn": 7}, {"input": 3}),
    "convnet": ({"channel.2": 6}, {"pixel": 4}),
}


def own_config(name: str) -> dict[str, Any]:
    """Return the configuration of a network of our own."""
    return {"model_type": name, **MODELS[name][2]}


@pytest.mark.parametrize("name", [*GROWN, *OWN])
def test_grown_sizes_are_written_and_read_again(name: str) -> None:
    config = own_config(name) if name in OWN else FAMILIES[name].small
    changes, followers = (OWN if name in OWN else GROWN)[name]
    layout = layout_of(config)
    sizes = layout.widths.resize(layout.sizes, changes)
    assert {key: sizes[key] for key in changes | followers} == changes | followers
    grown = layout_of(layout.widths.write(config, sizes))
    assert grown.sizes == sizes
    assert grown.layers == layout.layers
    assert {n: t.nests[0][0].axis for n, t in grown.tensors.items()} == {
        n: t.nests[0][0].axis for n, t in layout.tensors.items()
    }


@pytest.mark.parametrize("name", GROWN)
def test_transformers_builds_the_grown_configuration(name: str, tmp_path: Path) -> None:
    layout = layout_of(FAMILIES[name].small)
    sizes = layout.widths.resize(layout.sizes, GROWN[name][0])
    config = layout.widths.write(FAMILIES[name].small, sizes)
    save(build(FAMILIES[name].model, config), tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert layout_of(stored).sizes == sizes
    with open_checkpoint(tmp_path) as checkpoint:
        for tensor in checkpoint.layout.tensors.values():
            expected = tuple(prod(sizes[i.axis.name] for i in nest) for nest in tensor.nests)
            assert checkpoint.tensors[tensor.name].shape == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_the_nearest_legal_widths_are_those_of_a_search_through_all(name: str) -> None:
    layout = layout_of(FAMILIES[name].small)
    widths, sizes = layout.widths, layout.sizes
    for axis in {instance.axis.name for instance in layout.axes.values() if instance.axis.averaged}:
        legal = widths.legal(sizes, axis, 400)
        for wanted in range(1, 100):
            below, above = [n for n in legal if n <= wanted], [n for n in legal if n > wanted]
            assert widths.nearest(sizes, axis, wanted) == [*below[-1:], *above[:1]], (axis, wanted)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("gpt2", {"residual": 22}, r"head x key_dim = 12, which n_embd says too; choose residual = 20 or 24"),
        ("bert", {"pooled": 13}, r"head x key_dim = 12, which hidden_size says too; choose pooled = 12 or 16"),
        ("llama", {"residual": 18}, r"hidden_size = 18; .*num_attention_heads = 4; choose residual = 16 or 20"),
        ("llama", {"residual": 18, "group": 4}, r"num_attention_heads = 8; choose residual = 16 or 24, or group"),
        ("llama", {"residual": 2**20 + 1}, r"residual = 1048577; expected at most 1048576"),
        ("llama", {"group": 10**12}, r"group = 1000000000000; expected at most 1048576"),
        ("llama", {"residual": 10**6 + 1}, r"choose residual = 1000000 or 1000004"),
        ("llama", {"residual": 0}, r"residual = 0; expected at least 1"),
        ("llama", {"key_dim": 8}, r"axis 'key_dim'; expected one of residual, group, head, ffn"),
        ("llama", {"width": 8}, r"axis 'width'; expected one of residual"),
        ("gpt2", {"position": 8}, r"axis 'position'"),
    ],
)
def test_an_illegal_width_is_refused_and_the_nearest_are_named(name: str, changes: dict[str, int], words: str) -> None:
    layout = layout_of(FAMILIES[name].small)
    with pytest.raises(ShapeError, match=words):
        layout.widths.resize(layout.sizes, changes)


def test_the_lattice_of_one_axis() -> None:
    llama, gpt2, mistral = (layout_of(FAMILIES[name].small) for name in ("llama", "gpt2", "mistral"))
    assert llama.widths.legal(llama.sizes, "residual", 20) == [4, 8, 12, 16, 20]
    assert llama.widths.legal(llama.sizes, "group", 9) == [1, 2, 4, 8]  # 16 coordinates in 2 groups x 2 heads
    assert gpt2.widths.legal(gpt2.sizes, "head", 3) == [1, 2, 3]
    assert gpt2.widths.legal(gpt2.sizes, "residual", 13) == [4, 8, 12]
    assert mistral.widths.legal(mistral.sizes, "residual", 4) == [1, 2, 3, 4]


def test_sizes_that_no_configuration_says_are_not_written() -> None:
    layout = layout_of(FAMILIES["gpt2"].small)
    with pytest.raises(ShapeError, match="residual = 12; expected head x key_dim = 16"):
        layout.widths.write(FAMILIES["gpt2"].small, layout.sizes | {"head": 4})
    llama = layout_of(FAMILIES["llama"].small)
    with pytest.raises(ShapeError, match="key_dim = 5; expected an even number"):
        llama.widths.write(FAMILIES["llama"].small, llama.sizes | {"key_dim": 5, "value_dim": 5})


def test_a_list_that_is_too_short_is_refused() -> None:
    layout = layout_of(own_config("mlp"))
    with pytest.raises(CheckpointError, match=r"widths = \[3, 8\].*a list of at least 3"):
        layout.widths.read({"widths": [3, 8]})
