"""The Llama family: grouped-query attention with rotary positions, SwiGLU, RMSNorm, a head tied or not."""

from collections.abc import Mapping
from typing import Any

from rctheory.architectures.configs import REMEDY, read_flag, read_whole
from rctheory.architectures.spec import Architecture, Axis, Layout, Nest, Role, Scope, Stored, TensorSpec
from rctheory.architectures.transformer import FFN, RESIDUAL, VOCABULARY
from rctheory.errors import CheckpointError

GROUP = Axis("group", Role.GROUP, exchangeable=True, averaged=True, scope=Scope.LAYER)
HEAD = Axis("head", Role.HEAD, exchangeable=True, averaged=True, scope=Scope.LAYER, parent=GROUP)
# All queries of a group meet its one key, and all read its one value: both inner axes belong to the group.
KEY_DIM = Axis("key_dim", Role.HEAD_DIM, exchangeable=False, scope=Scope.LAYER, parent=GROUP)
VALUE_DIM = Axis("value_dim", Role.HEAD_DIM, exchangeable=True, scope=Scope.LAYER, parent=GROUP)

QUERY_ROWS: Nest = (GROUP, HEAD, KEY_DIM)
KEY_ROWS: Nest = (GROUP, KEY_DIM)
VALUE_ROWS: Nest = (GROUP, VALUE_DIM)
HEAD_OUTPUTS: Nest = (GROUP, HEAD, VALUE_DIM)


def llama(*, tied: bool, attention_bias: bool = False, mlp_bias: bool = False) -> Architecture:
    """Declare the tensors of a Llama model.

    Rotary positions pair key coordinates (j, j + head_dim/2), so the key axis is not exchangeable; values are read
    linearly, so theirs is.

    Args:
        tied: the head is the embedding; nothing is stored for it.
        attention_bias: the four attention projections have biases.
        mlp_bias: the three feed-forward projections have biases.
    """
    residual, ffn = (RESIDUAL,), (FFN,)
    head = () if tied else (TensorSpec("lm_head.weight", ((VOCABULARY,), residual), Stored("output.weight")),)
    return Architecture(
        "llama",
        (
            TensorSpec("model.embed_tokens.weight", ((VOCABULARY,), residual), Stored("token_embd.weight")),
            _gain("input_layernorm", "attn_norm"),
            *_linear("self_attn.q_proj", "attn_q", QUERY_ROWS, residual, attention_bias, interleaved=True),
            *_linear("self_attn.k_proj", "attn_k", KEY_ROWS, residual, attention_bias, interleaved=True),
            *_linear("self_attn.v_proj", "attn_v", VALUE_ROWS, residual, attention_bias),
            *_linear("self_attn.o_proj", "attn_output", residual, HEAD_OUTPUTS, attention_bias),
            _gain("post_attention_layernorm", "ffn_norm"),
            *_linear("mlp.gate_proj", "ffn_gate", ffn, residual, mlp_bias),
            *_linear("mlp.up_proj", "ffn_up", ffn, residual, mlp_bias),
            *_linear("mlp.down_proj", "ffn_down", residual, ffn, mlp_bias),
            TensorSpec("model.norm.weight", (residual,), Stored("output_norm.weight")),
            *head,
        ),
        buffers=("model.layers.{layer}.self_attn.rotary_emb.inv_freq", "rope_freqs.weight"),  # rotary frequencies
        twins={"lm_head.weight": "model.embed_tokens.weight"} if tied else {},
        prefix="model.",
    )


def _gain(name: str, gguf: str) -> TensorSpec:
    """Declare the gain of a norm in each layer."""
    return TensorSpec(f"model.layers.{{layer}}.{name}.weight", ((RESIDUAL,),), Stored(f"blk.{{layer}}.{gguf}.weight"))


def _linear(
    name: str, gguf: str, rows: Nest, columns: Nest, bias: bool, *, interleaved: bool = False
) -> tuple[TensorSpec, ...]:
    """Declare the matrix of a projection in each layer, and its bias where it has one."""
    stored, short = f"model.layers.{{layer}}.{name}", f"blk.{{layer}}.{gguf}"
    weight = TensorSpec(f"{stored}.weight", (rows, columns), Stored(f"{short}.weight", pairs=interleaved))
    offset = TensorSpec(f"{stored}.bias", (rows,), Stored(f"{short}.bias", pairs=interleaved))
    return (weight, offset) if bias else (weight,)


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout that a Hugging Face `config.json` of `model_type` llama describes.

    Raises:
        CheckpointError: a size is missing or is no whole number, or heads do not divide into groups.
    """
    residual, heads = read_whole(config, "hidden_size"), read_whole(config, "num_attention_heads")
    groups = read_whole(config, "num_key_value_heads", default=heads)
    if heads % groups:
        found = f"num_attention_heads = {heads} and num_key_value_heads = {groups}"
        raise CheckpointError(found, "whole groups of query heads", REMEDY)
    if config.get("head_dim") is None and residual % heads:
        found = f"hidden_size = {residual} and num_attention_heads = {heads} without head_dim"
        raise CheckpointError(found, "a whole number of coordinates in each head", "add head_dim to the configuration")
    head_dim = read_whole(config, "head_dim", default=residual // heads)
    architecture = llama(
        tied=read_flag(config, "tie_word_embeddings", default=False),
        attention_bias=read_flag(config, "attention_bias", default=False),
        mlp_bias=read_flag(config, "mlp_bias", default=False),
    )
    sizes = {
        "residual": residual,
        "vocabulary": read_whole(config, "vocab_size"),
        "ffn": read_whole(config, "intermediate_size"),
        "group": groups,
        "head": heads // groups,
        "key_dim": head_dim,
        "value_dim": head_dim,
    }
    return architecture.layout(sizes, read_whole(config, "num_hidden_layers"))


def config_from_gguf(metadata: Mapping[str, Any], stored: frozenset[str]) -> dict[str, Any]:
    """Return the entries of `config.json` that the metadata of a GGUF file of architecture llama stands for.

    Args:
        metadata: the key-value part of the file, an array given by its length alone.
        stored: names of the stored tensors: they say whether the head is tied and which biases exist.
    """
    keys = {
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
    config["tie_word_embeddings"] = "output.weight" not in stored
    config["attention_bias"] = "blk.0.attn_q.bias" in stored
    config["mlp_bias"] = "blk.0.ffn_gate.bias" in stored
    return config
