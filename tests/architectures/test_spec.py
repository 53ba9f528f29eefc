"""Declarations: layouts that follow from them, and declarations that make no sense."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rctheory.architectures.axes import Axis, Role, Scope
from rctheory.architectures.convnet import convnet
from rctheory.architectures.llama import GROUP, HEAD, KEY_DIM, llama
from rctheory.architectures.mlp import mlp
from rctheory.architectures.registry import config_of_gguf, layout_of
from rctheory.architectures.spec import Architecture, Norm, NormKind, TensorSpec
from rctheory.architectures.transformer import FFN, RESIDUAL
from rctheory.errors import CheckpointError, LawError, ShapeError
from tests.architectures.models import BERT, FAMILIES, GPT2, NEOX
from tests.architectures.toy_llama import SIZES, toy_layout

SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "num_hidden_layers": 30,
    "tie_word_embeddings": True,
}

CONVNET = {
    "model_type": "convnet",
    "channels": [3, 4],
    "kernel": 3,
    "pixels": 9,
    "output": 2,
    "modules": ["0", "2"],
}
QWEN3, MIXTRAL = FAMILIES["qwen3"].small, FAMILIES["mixtral"].small


@given(st.lists(st.integers(1, 50), min_size=3, max_size=7))
def test_mlp_ties_rows_to_the_next_columns(widths: list[int]) -> None:
    depth = len(widths) - 1
    names = ["input", *(f"hidden.{k}" for k in range(1, depth)), "output"]
    layout = mlp(depth).layout(dict(zip(names, widths, strict=True)))
    assert [t.shape for t in layout.tensors.values()] == list(zip(widths[1:], widths, strict=False))
    for k in range(1, depth):
        touches = [(t.tensor, t.dimension) for t in layout.touches(f"hidden.{k}")]
        assert touches == [(f"weights.{k}", 0), (f"weights.{k + 1}", 1)]
        assert layout.axes[f"hidden.{k}"].axis.averaged
    assert not layout.axes["input"].axis.averaged
    assert not layout.axes["output"].axis.averaged


def test_llama_layout_has_the_known_shapes() -> None:
    layout = layout_of(SMOLLM2)
    assert sum(prod(t.shape) for t in layout.tensors.values()) == 134_515_008  # the published number of weights
    shapes = {name.rsplit(".", 2)[1]: t.shape for name, t in layout.tensors.items() if "layers.3." in name}
    assert shapes["q_proj"] == shapes["o_proj"] == (576, 576)
    assert shapes["k_proj"] == shapes["v_proj"] == (192, 576)
    assert shapes["down_proj"] == (576, 1536)
    assert {a.name: a.size for a in layout.axes.values() if "layers.3." in a.name} == {
        "layers.3.group": 3,
        "layers.3.group/head": 3,
        "layers.3.group/key_dim": 64,
        "layers.3.group/value_dim": 64,
        "layers.3.ffn": 1536,
    }
    assert len(layout.touches("residual")) == 2 + 30 * 9
    ffn = {(t.tensor.split(".")[-2], t.dimension) for t in layout.touches("layers.3.ffn")}
    assert ffn == {("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)}


def test_untied_head_and_biases_are_declared_when_the_configuration_has_them() -> None:
    config = SMOLLM2 | {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True, "num_hidden_layers": 1}
    names = set(layout_of(config).tensors)
    assert "lm_head.weight" in names
    assert {name for name in names if name.endswith(".bias")} == {
        f"model.layers.0.{name}.bias"
        for name in (
            *(f"self_attn.{p}_proj" for p in "qkvo"),
            *(f"mlp.{p}_proj" for p in ("gate", "up", "down")),
        )
    }


def test_head_dim_of_the_configuration_wins_over_the_quotient() -> None:
    layout = layout_of(SMOLLM2 | {"head_dim": 32})
    assert layout.tensors["model.layers.0.self_attn.q_proj.weight"].shape == (288, 576)


def test_gguf_metadata_gives_the_same_configuration() -> None:
    metadata = {
        "general.architecture": "llama",
        "llama.embedding_length": 576,
        "llama.feed_forward_length": 1536,
        "llama.block_count": 30,
        "llama.attention.head_count": 9,
        "llama.attention.head_count_kv": 3,
        "tokenizer.ggml.tokens": 49152,
    }
    stored = frozenset({"token_embd.weight"})
    assert layout_of(config_of_gguf(metadata, stored)) == layout_of(SMOLLM2)
    assert "lm_head.weight" in layout_of(config_of_gguf(metadata, stored | {"output.weight"})).tensors


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "mamba"}, "'mamba'.*llama.*declare it: rctheory new-architecture"),
        ({}, "None.*llama"),
        (SMOLLM2 | {"hidden_size": None}, "hidden_size = None"),
        (SMOLLM2 | {"vocab_size": "many"}, "vocab_size = 'many'"),
        (SMOLLM2 | {"num_key_value_heads": 4}, "num_attention_heads = 9.*a multiple of num_key_value_heads = 4"),
        (SMOLLM2 | {"hidden_size": 577}, "hidden_size = 577.*head_dim"),
        (SMOLLM2 | {"tie_word_embeddings": "yes"}, "tie_word_embeddings = 'yes'.*true or false"),
        (GPT2 | {"n_embd": 10, "n_head": 3}, "n_embd = 10.*a multiple of n_head = 3"),
        (GPT2 | {"n_embd": 12, "n_head": 3, "add_cross_attention": True}, "add_cross_attention = True.*without"),
        (BERT | {"hidden_size": 13}, "hidden_size = 13.*a multiple of num_attention_heads = 3"),
        (BERT | {"type_vocab_size": 0}, "type_vocab_size = 0"),
        (NEOX | {"rotary_pct": 0.4}, "3 rotary coordinates of 8.*even"),
        (NEOX | {"rotary_pct": "half"}, "rotary_pct = 'half'.*from 0 to 1"),
        (MIXTRAL | {"num_local_experts": None}, "num_local_experts = None"),
        ({"model_type": "mlp"}, "widths = None.*at least three"),
        ({"model_type": "mlp", "widths": [3, 4]}, "widths = .3, 4.*at least three"),
        ({"model_type": "mlp", "widths": [3, 4.0, 2]}, r"widths\.1 = 4\.0.*whole number"),
        ({"model_type": "mlp", "widths": [3, 4, 2], "modules": ["0"]}, "modules = .*a list of 2 names"),
        ({"model_type": "residual_mlp", "input": 3, "residual": 4, "ffn": 5, "output": 2}, "layers = None"),
        (CONVNET | {"channels": [3]}, "channels = .3.*at least two"),
        (CONVNET | {"modules": ["0"]}, "modules = .*a list of 2 names"),
        (CONVNET | {"norms": ["1", "2"]}, "norms = .*a list of 0 or 1 names"),
        (CONVNET | {"pixels": 0}, "pixels = 0"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        layout_of(config)


def test_an_axis_without_a_law_is_refused() -> None:
    with pytest.raises(LawError, match="averaged but not exchangeable"):
        Axis("x", Role.HIDDEN, exchangeable=False, averaged=True)


def test_a_child_in_another_scope_than_its_parent_is_refused() -> None:
    with pytest.raises(LawError, match="one scope"):
        Axis("x", Role.HEAD, exchangeable=True, scope=Scope.MODEL, parent=GROUP)


def test_an_axis_with_a_parent_is_not_shared() -> None:
    with pytest.raises(LawError, match="x is shared and has parent group"):
        Axis("x", Role.HEAD, exchangeable=True, scope=Scope.LAYER, parent=GROUP, shared=True)


def test_a_shared_axis_stands_alone_or_in_any_nest() -> None:
    layout = layout_of(QWEN3)
    gain = layout.tensors["model.layers.0.self_attn.q_norm.weight"]
    assert [i.name for i in gain.nests[0]] == ["layers.0.key_dim"]
    rows = layout.tensors["model.layers.0.self_attn.q_proj.weight"].nests[0]
    assert [i.name for i in rows] == ["layers.0.group", "layers.0.group/head", "layers.0.key_dim"]


@pytest.mark.parametrize(
    ("name", "nest", "words"),
    [
        ("t.{layer}", (), "runs over no axis"),
        ("t.{layer}", (HEAD, GROUP), r"nests head \(parent group\) inside \[\]"),
        ("t.{layer}", (FFN, KEY_DIM), r"nests key_dim \(parent group\) inside \['ffn'\]"),
        ("t.{layer}", (GROUP, FFN), r"nests ffn \(no parent\) inside \['group'\]"),
        ("t.{layer}", (GROUP, HEAD, HEAD), "head twice"),
        ("t", (FFN,), "an axis of a layer"),
    ],
)
def test_a_broken_nest_is_refused(name: str, nest: tuple[Axis, ...], words: str) -> None:
    with pytest.raises(LawError, match=words):
        TensorSpec(name, ((RESIDUAL,), nest))


def test_one_name_has_one_meaning() -> None:
    other = Axis("residual", Role.RESIDUAL, exchangeable=False)
    with pytest.raises(LawError, match="axis residual is declared twice"):
        Architecture("x", (TensorSpec("a", ((RESIDUAL,),)), TensorSpec("b", ((other,),))))
    with pytest.raises(LawError, match="tensor a is declared twice"):
        Architecture("x", (TensorSpec("a", ((RESIDUAL,),)), TensorSpec("a", ((RESIDUAL,),))))
    with pytest.raises(LawError, match=r"tensor n\.weight is not declared in x"):
        Architecture("x", (TensorSpec("a", ((RESIDUAL,),)),), norms=(Norm("n", NormKind.RMS),))
    with pytest.raises(LawError, match="depth 1"):
        mlp(1)
    with pytest.raises(LawError, match="1 modules of a perceptron of depth 2"):
        mlp(2, modules=["0"])
    with pytest.raises(LawError, match="2 convolutions and 1 norms"):
        convnet(["0", "1", "2"], ["3"])


@pytest.mark.parametrize("change", [{"ffn": 0}, {"ffn": 1.5}, {"ffn": True}, {"extra": 3}, {"ffn": None}])
def test_sizes_must_be_those_of_the_axes(change: dict[str, object]) -> None:
    with pytest.raises(ShapeError):
        llama(tied=True).layout(SIZES | change)
    with pytest.raises(ShapeError):
        llama(tied=True).layout({k: v for k, v in SIZES.items() if k != "ffn"})


def test_shapes_are_compared_with_the_declaration() -> None:
    layout = toy_layout()
    shapes = {name: tensor.shape for name, tensor in layout.tensors.items()}
    layout.require_shapes(shapes)
    layout.require_shapes(shapes | {"model.layers.1.self_attn.rotary_emb.inv_freq": (3,)})
    with pytest.raises(ShapeError, match=r"norm.weight is missing"):
        layout.require_shapes({k: v for k, v in shapes.items() if k != "model.norm.weight"})
    with pytest.raises(ShapeError, match=r"norm.weight has shape \(5,\); expected \(12,\)"):
        layout.require_shapes(shapes | {"model.norm.weight": (5,)})
    with pytest.raises(ShapeError, match=r"score.weight is not declared"):
        layout.require_shapes(shapes | {"score.weight": (5,)})
    with pytest.raises(ShapeError, match="axis 'ffn'"):
        layout.touches("ffn")
