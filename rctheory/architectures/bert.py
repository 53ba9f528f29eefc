"""BERT: bidirectional attention, learned positions and token types, LayerNorm after each block."""

from collections.abc import Mapping
from typing import Any

from rctheory.architectures.configs import divide_heads, read_flag, read_whole, refuse_flag
from rctheory.architectures.spec import Architecture, Axis, Layout, Nest, Role, TensorSpec
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

TOKEN_TYPE = Axis("token_type", Role.FIXED, exchangeable=False)
POOLED = Axis("pooled", Role.HIDDEN, exchangeable=True)
TRANSFORMED = Axis("transformed", Role.HIDDEN, exchangeable=True)
SENTENCE_ORDER = Axis("sentence_order", Role.OUTPUT, exchangeable=False)

BLOCK = "bert.encoder.layer.{layer}."


def bert(*, tied: bool = True) -> Architecture:
    """Declare the tensors of a BERT model with its pooler and the heads of its pre-training, where stored.

    Args:
        tied: the decoder of the language head is the embedding. It reads the transformed stream where the embedding
            writes the residual stream, so that both are one axis.
    """
    residual: Nest = (RESIDUAL,)
    return Architecture(
        "bert",
        (
            TensorSpec("bert.embeddings.word_embeddings.weight", ((VOCABULARY,), residual)),
            TensorSpec("bert.embeddings.position_embeddings.weight", ((POSITION,), residual)),
            TensorSpec("bert.embeddings.token_type_embeddings.weight", ((TOKEN_TYPE,), residual)),
            *_norm("bert.embeddings.LayerNorm", residual),
            *_linear(f"{BLOCK}attention.self.query", KEYS, residual),
            *_linear(f"{BLOCK}attention.self.key", KEYS, residual),
            *_linear(f"{BLOCK}attention.self.value", VALUES, residual),
            *_linear(f"{BLOCK}attention.output.dense", residual, VALUES),
            *_norm(f"{BLOCK}attention.output.LayerNorm", residual),
            *_linear(f"{BLOCK}intermediate.dense", (FFN,), residual),
            *_linear(f"{BLOCK}output.dense", residual, (FFN,)),
            *_norm(f"{BLOCK}output.LayerNorm", residual),
            *_linear("bert.pooler.dense", (POOLED,), residual, optional="pooler"),
            *_language_head((RESIDUAL if tied else TRANSFORMED,), tied=tied),
            *_linear("cls.seq_relationship", (SENTENCE_ORDER,), (POOLED,), optional="sentence order head"),
        ),
        # Positions 0, 1, ...; and, where the decoder is not tied, a bias that nothing reads.
        buffers=("bert.embeddings.position_ids", *(() if tied else ("cls.predictions.bias",))),
        twins=_twins() if tied else {},
        prefix="bert.",
        renamed={
            ".LayerNorm.weight": ".LayerNorm.gamma",
            ".LayerNorm.bias": ".LayerNorm.beta",
            **({} if tied else {"cls.predictions.decoder.bias": "cls.predictions.bias"}),
        },
    )


def _twins() -> dict[str, str]:
    """Return the second names under which some writers store a tied decoder and its bias."""
    return {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }


def _language_head(stream: Nest, *, tied: bool) -> tuple[TensorSpec, ...]:
    """Declare the head that predicts masked tokens."""
    group, decoder = "language head", "cls.predictions.decoder"
    bias = "cls.predictions.bias" if tied else f"{decoder}.bias"
    return (
        *_linear("cls.predictions.transform.dense", stream, (RESIDUAL,), optional=group),
        *_norm("cls.predictions.transform.LayerNorm", stream, optional=group),
        *(() if tied else (TensorSpec(f"{decoder}.weight", ((VOCABULARY,), stream), optional=group),)),
        TensorSpec(bias, ((VOCABULARY,),), optional=group),
    )


def _linear(name: str, outputs: Nest, inputs: Nest, optional: str = "") -> tuple[TensorSpec, ...]:
    """Declare a matrix with its bias."""
    weight = TensorSpec(f"{name}.weight", (outputs, inputs), optional=optional)
    return weight, TensorSpec(f"{name}.bias", (outputs,), optional=optional)


def _norm(name: str, stream: Nest, optional: str = "") -> tuple[TensorSpec, ...]:
    """Declare gain and bias of a LayerNorm."""
    return tuple(TensorSpec(f"{name}.{kind}", (stream,), optional=optional) for kind in ("weight", "bias"))


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout that a Hugging Face `config.json` of `model_type` bert describes.

    Raises:
        CheckpointError: a size is missing or is no whole number, the heads do not divide the width, or it has
            cross-attention.
    """
    refuse_flag(config, "add_cross_attention")
    residual, heads, head_dim = divide_heads(config, "hidden_size", "num_attention_heads")
    tied = read_flag(config, "tie_word_embeddings", default=True)
    sizes = {
        RESIDUAL.name: residual,
        VOCABULARY.name: read_whole(config, "vocab_size"),
        POSITION.name: read_whole(config, "max_position_embeddings"),
        TOKEN_TYPE.name: read_whole(config, "type_vocab_size"),
        FFN.name: read_whole(config, "intermediate_size"),
        HEAD.name: heads,
        KEY_DIM.name: head_dim,
        VALUE_DIM.name: head_dim,
        POOLED.name: residual,
        SENTENCE_ORDER.name: 2,
        **({} if tied else {TRANSFORMED.name: residual}),
    }
    return bert(tied=tied).layout(sizes, read_whole(config, "num_hidden_layers"))
