"""GPT-2: learned positions, LayerNorm, a head tied to the embedding; matrices stored as (inputs, outputs)."""

from collections.abc import Mapping
from typing import Any

from rctheory.architectures.configs import divide_heads, read_flag, read_whole, refuse_flag
from rctheory.architectures.spec import Architecture, Layout, Nest, Stored, TensorSpec
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

BLOCK = "transformer.h.{layer}."
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
            TensorSpec("transformer.wte.weight", ((VOCABULARY,), residual)),
            TensorSpec("transformer.wpe.weight", ((POSITION,), residual)),
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
        twins={"lm_head.weight": "transformer.wte.weight"} if tied else {},
    )


def _attention(name: str, kind: str, dimension: int, nests: tuple[Nest, ...]) -> TensorSpec:
    """Declare a part of the fused projection."""
    return TensorSpec(f"{BLOCK}attn.{name}.{kind}", nests, stored=Stored(f"{BLOCK}attn.c_attn.{kind}", dimension))


def _linear(name: str, inputs: Nest, outputs: Nest) -> tuple[TensorSpec, ...]:
    """Declare a matrix with its bias."""
    return TensorSpec(f"{name}.weight", (inputs, outputs)), TensorSpec(f"{name}.bias", (outputs,))


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
    residual, heads, head_dim = divide_heads(config, "n_embd", "n_head")
    sizes = {
        RESIDUAL.name: residual,
        VOCABULARY.name: read_whole(config, "vocab_size"),
        POSITION.name: read_whole(config, "n_positions"),
        FFN.name: read_whole(config, "n_inner", default=4 * residual),
        HEAD.name: heads,
        KEY_DIM.name: head_dim,
        VALUE_DIM.name: head_dim,
    }
    architecture = gpt2(tied=read_flag(config, "tie_word_embeddings", default=True))
    return architecture.layout(sizes, read_whole(config, "n_layer"))
