"""GPT-2: learned positions, LayerNorm, a head tied to the embedding; matrices stored as (inputs, outputs)."""

from collections.abc import Mapping
from typing import Any

from rctheory.architectures.configs import read_flag, read_whole, refuse_flag
from rctheory.architectures.spec import Architecture, Layout, Nest, Norm, NormKind, Stored, TensorSpec, Widths
from rctheory.architectures.transformer import (
    FFN,
    HEAD,
    KEY_DIM,
    KEYS,
    POSITION,
    RESIDUAL,
    VALUE_DIM,
    VALUES,
    VOCABULARY,
)

EPSILON = "layer_norm_epsilon"
BLOCK = "transformer.h.{layer}."
WIDTHS = Widths(
    (
        ("n_embd", (RESIDUAL,)),
        ("n_head", (HEAD,)),
        ("n_embd", (HEAD, KEY_DIM)),
        ("n_embd", (HEAD, VALUE_DIM)),
        ("n_inner", (FFN,)),
        ("n_positions", (POSITION,)),
        ("vocab_size", (VOCABULARY,)),
    ),
    layers="n_layer",
)
ATTENTION: dict[str, Nest] = {"query": KEYS, "key": KEYS, "value": VALUES}


def gpt2(*, tied: bool = True) -> Architecture:
    """Declare the tensors of a GPT-2 model.

    Matrices map a row vector: rows are inputs, columns outputs. `attn.c_attn` holds [query | key | value] side by side,
    here declared as three tensors.

    Args:
        tied: the head is the embedding; nothing is stored for it.
    """
    residual = (RESIDUAL,)
    return Architecture(
        "gpt2",
        (
            TensorSpec("transformer.wte.weight", ((VOCABULARY,), residual), reads=0),
            TensorSpec("transformer.wpe.weight", ((POSITION,), residual), reads=0),
            *_norm(f"{BLOCK}ln_1"),
            *(_attention(name, "weight", 1, (residual, outputs)) for name, outputs in ATTENTION.items()),
            *(_attention(name, "bias", 0, (outputs,)) for name, outputs in ATTENTION.items()),
            *_linear(f"{BLOCK}attn.c_proj", VALUES, residual),
            *_norm(f"{BLOCK}ln_2"),
            *_linear(f"{BLOCK}mlp.c_fc", residual, (FFN,)),
            *_linear(f"{BLOCK}mlp.c_proj", (FFN,), residual),
            *_norm("transformer.ln_f"),
            *(() if tied else (TensorSpec("lm_head.weight", ((VOCABULARY,), residual)),)),
        ),
        buffers=(f"{BLOCK}attn.bias", f"{BLOCK}attn.masked_bias"),  # causal masks
        prefix="transformer.",
        widths=WIDTHS,
        norms=(
            Norm(f"{BLOCK}ln_1", NormKind.LAYER, epsilon=EPSILON),
            Norm(f"{BLOCK}ln_2", NormKind.LAYER, epsilon=EPSILON),
            Norm("transformer.ln_f", NormKind.LAYER, epsilon=EPSILON, feeds="transformer.wte.weight" if tied else ""),
        ),
        twins={"lm_head.weight": "transformer.wte.weight"} if tied else {},
    )


def _attention(name: str, kind: str, dimension: int, nests: tuple[Nest, ...]) -> TensorSpec:
    """Declare a part of the fused projection."""
    stored = Stored(f"{BLOCK}attn.c_attn.{kind}", dimension)
    return TensorSpec(f"{BLOCK}attn.{name}.{kind}", nests, stored=stored, reads=0)


def _linear(name: str, inputs: Nest, outputs: Nest) -> tuple[TensorSpec, ...]:
    """Declare a matrix with its bias."""
    return TensorSpec(f"{name}.weight", (inputs, outputs), reads=0), TensorSpec(f"{name}.bias", (outputs,))


def _norm(name: str) -> tuple[TensorSpec, ...]:
    """Declare gain and bias of a LayerNorm."""
    return TensorSpec(f"{name}.weight", ((RESIDUAL,),)), TensorSpec(f"{name}.bias", ((RESIDUAL,),))


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout that a Hugging Face `config.json` of `model_type` gpt2 describes.

    Raises:
        CheckpointError: a size is missing or is no whole number, the heads do not divide the width, or it has
            cross-attention.
    """
    refuse_flag(config, "add_cross_attention")
    inner = config.get("n_inner") or 4 * read_whole(config, "n_embd")
    return gpt2(tied=read_flag(config, "tie_word_embeddings", default=True)).configured({**config, "n_inner": inner})
