"""GPT-NeoX (Pythia): rotary positions on a part of each head, queries, keys and values fused head by head."""

from collections.abc import Mapping
from typing import Any

from rctheory.architectures.configs import REMEDY, read_flag
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
from rctheory.architectures.transformer import FFN, HEAD, RESIDUAL, VALUE_DIM, VOCABULARY
from rctheory.errors import CheckpointError

# Rotary positions pair the first key coordinates of each head; the others are multiplied and summed.
ROTARY_DIM = Axis("rotary_dim", Role.HEAD_DIM, exchangeable=False, scope=Scope.LAYER, parent=HEAD)
PLAIN_DIM = Axis("plain_dim", Role.HEAD_DIM, exchangeable=True, scope=Scope.LAYER, parent=HEAD)

EPSILON = "layer_norm_eps"
BLOCK = "gpt_neox.layers.{layer}."

WIDTHS = Widths(
    (
        ("hidden_size", (RESIDUAL,)),
        ("num_attention_heads", (HEAD,)),
        ("hidden_size", (HEAD, VALUE_DIM)),
        ("intermediate_size", (FFN,)),
        ("vocab_size", (VOCABULARY,)),
    ),
    layers="num_hidden_layers",
)


def gpt_neox(
    *, tied: bool = False, attention_bias: bool = True, rotary: bool = True, plain: bool = True
) -> Architecture:
    """Declare the tensors of a GPT-NeoX model.

    `attention.query_key_value` holds [query | key | value] inside each head. Here the rotary and the plain coordinates
    of queries and keys are tensors of their own: they have different symmetries.

    Args:
        tied: the head is the embedding; nothing is stored for it.
        attention_bias: the projections of attention have biases.
        rotary: some coordinates of a head are rotated.
        plain: some are not.
    """
    residual, ffn = (RESIDUAL,), (FFN,)
    key_dims = [("rotary", ROTARY_DIM)] * rotary + [("plain", PLAIN_DIM)] * plain
    parts: dict[str, Nest] = {f"{name}.{part}": (HEAD, axis) for name in ("query", "key") for part, axis in key_dims}
    parts["value"] = (HEAD, VALUE_DIM)
    return Architecture(
        "gpt_neox",
        (
            TensorSpec("gpt_neox.embed_in.weight", ((VOCABULARY,), residual), reads=0),
            *_norm(f"{BLOCK}input_layernorm"),
            *(_fused(name, "weight", (rows, residual)) for name, rows in parts.items()),
            *(_fused(name, "bias", (rows,)) for name, rows in parts.items() if attention_bias),
            *_linear(f"{BLOCK}attention.dense", residual, (HEAD, VALUE_DIM), bias=attention_bias),
            *_norm(f"{BLOCK}post_attention_layernorm"),
            *_linear(f"{BLOCK}mlp.dense_h_to_4h", ffn, residual),
            *_linear(f"{BLOCK}mlp.dense_4h_to_h", residual, ffn),
            *_norm("gpt_neox.final_layer_norm"),
            *(() if tied else (TensorSpec("embed_out.weight", ((VOCABULARY,), residual)),)),
        ),
        # Causal masks and rotary frequencies.
        buffers=tuple(f"{BLOCK}attention.{name}" for name in ("bias", "masked_bias", "rotary_emb.inv_freq")),
        prefix="gpt_neox.",
        widths=WIDTHS,
        norms=(
            Norm(f"{BLOCK}input_layernorm", NormKind.LAYER, epsilon=EPSILON),
            Norm(f"{BLOCK}post_attention_layernorm", NormKind.LAYER, epsilon=EPSILON),
            Norm(
                "gpt_neox.final_layer_norm",
                NormKind.LAYER,
                epsilon=EPSILON,
                feeds="gpt_neox.embed_in.weight" if tied else "",
            ),
        ),
        twins={"embed_out.weight": "gpt_neox.embed_in.weight"} if tied else {},
    )


def _fused(name: str, kind: str, nests: tuple[Nest, ...]) -> TensorSpec:
    """Declare a part of the fused projection."""
    stored = Stored(f"{BLOCK}attention.query_key_value.{kind}", inside=1)
    return TensorSpec(f"{BLOCK}attention.{name}.{kind}", nests, stored=stored)


def _linear(name: str, outputs: Nest, inputs: Nest, *, bias: bool = True) -> tuple[TensorSpec, ...]:
    """Declare a matrix, and its bias where it has one."""
    weight, offset = TensorSpec(f"{name}.weight", (outputs, inputs)), TensorSpec(f"{name}.bias", (outputs,))
    return (weight, offset) if bias else (weight,)


def _norm(name: str) -> tuple[TensorSpec, ...]:
    """Declare gain and bias of a LayerNorm."""
    return TensorSpec(f"{name}.weight", ((RESIDUAL,),)), TensorSpec(f"{name}.bias", ((RESIDUAL,),))


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout that a Hugging Face `config.json` of `model_type` gpt_neox describes.

    Raises:
        CheckpointError: a size is missing or is no whole number, the heads do not divide the width, or no even number
            of coordinates is rotated.
    """
    sizes = WIDTHS.read(config)
    head_dim = sizes[VALUE_DIM.name]
    rotary = int(head_dim * _rotary_share(config))
    if rotary % 2:
        found = f"{rotary} rotary coordinates of {head_dim}"
        raise CheckpointError(found, "an even number", REMEDY)
    parts = {ROTARY_DIM.name: rotary, PLAIN_DIM.name: head_dim - rotary}
    architecture = gpt_neox(
        tied=read_flag(config, "tie_word_embeddings", default=False),
        attention_bias=read_flag(config, "attention_bias", default=True),
        rotary=rotary > 0,
        plain=rotary < head_dim,
    )
    return architecture.configured(config, **{name: size for name, size in parts.items() if size})


def _rotary_share(config: Mapping[str, Any]) -> float:
    """Return the share of coordinates that are rotated, under its old or its new name."""
    parameters = config.get("rope_parameters")
    newer = parameters.get("partial_rotary_factor") if isinstance(parameters, dict) else None
    share = config.get("rotary_pct", 0.25) if newer is None else newer
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise CheckpointError(f"rotary_pct = {share!r} in the configuration", "a number from 0 to 1", REMEDY)
    return float(share)
