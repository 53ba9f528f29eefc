"""The Llama family: grouped-query attention with rotary positions, gated feed-forward maps, RMSNorm.

Llama (rotary scaling changes no tensor), Mistral, Qwen2, Qwen3, Gemma and Mixtral are one declaration with a few
switches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rctheory.architectures.configs import read_flag, read_whole
from rctheory.architectures.spec import (
    Architecture,
    Axis,
    Layout,
    Nest,
    Norm,
    NormKind,
    Role,
    Scope,
    Stored,
    TensorSpec,
    Widths,
)
from rctheory.architectures.transformer import FFN, RESIDUAL, VOCABULARY
from rctheory.errors import CheckpointError

GROUP = Axis("group", Role.GROUP, exchangeable=True, averaged=True, scope=Scope.LAYER)
HEAD = Axis("head", Role.HEAD, exchangeable=True, averaged=True, scope=Scope.LAYER, parent=GROUP)
# All queries of a group meet its one key, and all read its one value: both inner axes belong to the group.
KEY_DIM = Axis("key_dim", Role.HEAD_DIM, exchangeable=False, scope=Scope.LAYER, parent=GROUP)
VALUE_DIM = Axis("value_dim", Role.HEAD_DIM, exchangeable=True, scope=Scope.LAYER, parent=GROUP)
# Where one norm serves all heads of a layer, they share the order of its gain.
NORMED_KEY_DIM = Axis("key_dim", Role.HEAD_DIM, exchangeable=False, scope=Scope.LAYER, shared=True)
EXPERT = Axis("expert", Role.EXPERT, exchangeable=True, scope=Scope.LAYER)
EXPERT_FFN = Axis("ffn", Role.HIDDEN, exchangeable=True, averaged=True, scope=Scope.LAYER, parent=EXPERT)

BLOCK = "model.layers.{layer}."
EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Features:
    """What tells the members of the family apart.

    Args:
        tied: the head is the embedding; nothing is stored for it.
        query_bias: queries, keys and values have biases.
        output_bias: the output projection of attention has a bias.
        mlp_bias: the three feed-forward projections have biases.
        head_norms: queries and keys of every head are normed, with one gain for all heads.
        experts: several feed-forward maps, of which a router picks some for each token.
        gain_offset: added to every stored gain before it multiplies.
        rooted: embeddings are multiplied by the square root of the width.
        gguf: GGUF names are declared.
    """

    tied: bool
    query_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_norms: bool = False
    experts: bool = False
    gain_offset: float = 0.0
    rooted: bool = False
    gguf: bool = False


def llama(*, tied: bool, attention_bias: bool = False, mlp_bias: bool = False) -> Architecture:
    """Declare the tensors of a Llama model.

    Args:
        tied: the head is the embedding.
        attention_bias: the four attention projections have biases.
        mlp_bias: the three feed-forward projections have biases.
    """
    return decoder("llama", Features(tied, attention_bias, attention_bias, mlp_bias, gguf=True))


def decoder(name: str, features: Features) -> Architecture:
    """Declare the tensors of a member of the family.

    Rotary positions pair key coordinates (j, j + head_dim/2), so the key axis is not exchangeable; values are read
    linearly, so theirs is.

    Args:
        name: its `model_type`.
        features: its switches.
    """
    residual, vocabulary = (RESIDUAL,), (VOCABULARY,)
    specs = (
        TensorSpec(EMBEDDING, (vocabulary, residual), Stored("token_embd.weight"), reads=0),
        _gain("input_layernorm", "attn_norm", residual),
        *_attention(features),
        _gain("post_attention_layernorm", "ffn_norm", residual),
        *(_experts() if features.experts else _feed_forward(bias=features.mlp_bias)),
        TensorSpec("model.norm.weight", (residual,), Stored("output_norm.weight")),
        *(() if features.tied else (TensorSpec("lm_head.weight", (vocabulary, residual), Stored("output.weight")),)),
    )
    return Architecture(
        name,
        specs if features.gguf else tuple(replace(spec, gguf=None) for spec in specs),
        buffers=(f"{BLOCK}self_attn.rotary_emb.inv_freq", "rope_freqs.weight"),  # rotary frequencies
        twins={"lm_head.weight": EMBEDDING} if features.tied else {},
        prefix="model.",
        widths=_widths(name, features),
        norms=_norms(features),
        rooted={EMBEDDING: RESIDUAL} if features.rooted else {},
    )


def _attention(features: Features) -> tuple[TensorSpec, ...]:
    """Declare the four projections of attention and the norms of its heads."""
    key_dim = NORMED_KEY_DIM if features.head_norms else KEY_DIM
    residual, bias = (RESIDUAL,), features.query_bias
    return (
        *_linear("self_attn.q_proj", "attn_q", (GROUP, HEAD, key_dim), residual, bias, pairs=True),
        *_linear("self_attn.k_proj", "attn_k", (GROUP, key_dim), residual, bias, pairs=True),
        *_linear("self_attn.v_proj", "attn_v", (GROUP, VALUE_DIM), residual, bias),
        *(_gain(f"self_attn.{n}_norm", f"attn_{n}_norm", (key_dim,)) for n in ("q", "k") if features.head_norms),
        *_linear("self_attn.o_proj", "attn_output", residual, (GROUP, HEAD, VALUE_DIM), features.output_bias),
    )


def _feed_forward(*, bias: bool) -> tuple[TensorSpec, ...]:
    """Declare one gated feed-forward map."""
    residual, ffn = (RESIDUAL,), (FFN,)
    return (
        *_linear("mlp.gate_proj", "ffn_gate", ffn, residual, bias),
        *_linear("mlp.up_proj", "ffn_up", ffn, residual, bias),
        *_linear("mlp.down_proj", "ffn_down", residual, ffn, bias),
    )


def _experts() -> tuple[TensorSpec, ...]:
    """Declare the router, and the gated feed-forward maps of all experts as one: every expert is stored apart."""
    moe, residual, units = f"{BLOCK}block_sparse_moe", (RESIDUAL,), (EXPERT, EXPERT_FFN)
    shapes: dict[str, tuple[int, tuple[Nest, ...]]] = {
        "w1": (0, (units, residual)),
        "w3": (0, (units, residual)),
        "w2": (1, (residual, units)),
    }
    return (
        TensorSpec(f"{moe}.gate.weight", ((EXPERT,), residual)),
        *(
            TensorSpec(f"{moe}.experts.{n}.weight", nests, stored=Stored(f"{moe}.experts.{{expert}}.{n}.weight", split))
            for n, (split, nests) in shapes.items()
        ),
    )


def _gain(name: str, gguf: str, stream: Nest) -> TensorSpec:
    """Declare the gain of a norm in each layer."""
    return TensorSpec(f"{BLOCK}{name}.weight", (stream,), Stored(f"blk.{{layer}}.{gguf}.weight"))


def _linear(
    name: str, gguf: str, rows: Nest, columns: Nest, bias: bool, *, pairs: bool = False
) -> tuple[TensorSpec, ...]:
    """Declare the matrix of a projection in each layer, and its bias where it has one."""
    short = f"blk.{{layer}}.{gguf}"
    weight = TensorSpec(f"{BLOCK}{name}.weight", (rows, columns), Stored(f"{short}.weight", pairs=pairs))
    offset = TensorSpec(f"{BLOCK}{name}.bias", (rows,), Stored(f"{short}.bias", pairs=pairs))
    return (weight, offset) if bias else (weight,)


def _norms(features: Features) -> tuple[Norm, ...]:
    """Declare the norms."""
    names = ["input_layernorm", "post_attention_layernorm"]
    names += ["self_attn.q_norm", "self_attn.k_norm"] if features.head_norms else []
    inner = (Norm(f"{BLOCK}{name}", NormKind.RMS, features.gain_offset) for name in names)
    return (*inner, Norm("model.norm", NormKind.RMS, features.gain_offset, EMBEDDING if features.tied else ""))


def _features(config: Mapping[str, Any]) -> Features:
    """Return the switches that a configuration sets, and those that its member of the family has once and for all."""
    member = config["model_type"]
    tied = read_flag(config, "tie_word_embeddings", default=member == "gemma")
    if member in ("mistral", "mixtral"):
        return Features(tied, experts=member == "mixtral")
    if member == "qwen2":
        return Features(tied, query_bias=True)
    bias = read_flag(config, "attention_bias", default=False)
    if member == "llama":
        return Features(tied, bias, bias, read_flag(config, "mlp_bias", default=False), gguf=True)
    if member == "gemma":
        return Features(tied, bias, bias, gain_offset=1.0, rooted=True)
    return Features(tied, bias, bias, head_norms=True)


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout that a Hugging Face `config.json` of a `model_type` of the family describes.

    Raises:
        CheckpointError: a size is missing or is no whole number, or heads do not divide into groups.
    """
    residual, heads = read_whole(config, "hidden_size"), read_whole(config, "num_attention_heads")
    if config.get("head_dim") is None and residual % heads:
        found = f"hidden_size = {residual} and num_attention_heads = {heads} without head_dim"
        raise CheckpointError(found, "a whole number of coordinates in each head", "add head_dim to the configuration")
    implied = {"num_key_value_heads": heads, "head_dim": residual // heads}
    missing = {entry: value for entry, value in implied.items() if config.get(entry) is None}
    return decoder(config["model_type"], _features(config)).configured({**config, **missing})


def _widths(name: str, features: Features) -> Widths:
    """Return the entries that hold the sizes."""
    key_dim = NORMED_KEY_DIM if features.head_norms else KEY_DIM
    experts = (("num_local_experts", (EXPERT,)),) if features.experts else ()
    return Widths(
        (
            ("hidden_size", (RESIDUAL,)),
            ("num_key_value_heads", (GROUP,)),
            ("num_attention_heads", (GROUP, HEAD)),
            ("head_dim", (key_dim,)),
            ("head_dim", (VALUE_DIM,)),
            *experts,
            ("intermediate_size", (EXPERT_FFN if features.experts else FFN,)),
            ("vocab_size", (VOCABULARY,)),
        ),
        # LlamaConfig wants it although head_dim is explicit; the others do not.
        multiples=(("hidden_size", "num_attention_heads"),) if name == "llama" else (),
        even=(key_dim,),
        layers="num_hidden_layers",
    )


def config_from_gguf(metadata: Mapping[str, Any], stored: frozenset[str]) -> dict[str, Any]:
    """Return the entries of `config.json` that the metadata of a GGUF file of architecture llama stands for.

    Args:
        metadata: the key-value part of the file, an array given by its length alone.
        stored: names of the stored tensors: they say whether the head is tied and which biases exist.
    """
    keys = {
        "max_position_embeddings": "llama.context_length",
        "rms_norm_eps": "llama.attention.layer_norm_rms_epsilon",
        "rope_theta": "llama.rope.freq_base",
        "bos_token_id": "tokenizer.ggml.bos_token_id",
        "eos_token_id": "tokenizer.ggml.eos_token_id",
        "pad_token_id": "tokenizer.ggml.padding_token_id",
        "hidden_size": "llama.embedding_length",
        "intermediate_size": "llama.feed_forward_length",
        "num_hidden_layers": "llama.block_count",
        "num_attention_heads": "llama.attention.head_count",
        "num_key_value_heads": "llama.attention.head_count_kv",
        "head_dim": "llama.attention.key_length",
        "vocab_size": "llama.vocab_size",
    }
    tokens = {"vocab_size": metadata["tokenizer.ggml.tokens"]} if "tokenizer.ggml.tokens" in metadata else {}
    config: dict[str, Any] = tokens | {entry: metadata[key] for entry, key in keys.items() if key in metadata}
    config["architectures"], config["hidden_act"] = ["LlamaForCausalLM"], "silu"
    config["tie_word_embeddings"] = "output.weight" not in stored
    config["attention_bias"] = "blk.0.attn_q.bias" in stored
    config["mlp_bias"] = "blk.0.ffn_gate.bias" in stored
    return config
