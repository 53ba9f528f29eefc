"""BERT: bidirectional attention, learned positions and token types, LayerNorm after each block."""

from collections.abc import Mapping
from typing import Any

from rctheory.architectures.configs import read_flag, refuse_flag
from rctheory.architectures.spec import Architecture, Axis, Layout, Nest, Norm, NormKind, Role, TensorSpec, Widths
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
POOLED = Axis("pooled", Role.HIDDEN, exchangeable=True, averaged=True)
TRANSFORMED = Axis("transformed", Role.HIDDEN, exchangeable=True, averaged=True)
SENTENCE_ORDER = Axis("sentence_order", Role.OUTPUT, exchangeable=False)

BLOCK = "bert.encoder.layer.{layer}."

NORMS = ("bert.embeddings.LayerNorm", f"{BLOCK}attention.output.LayerNorm", f"{BLOCK}output.LayerNorm")


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
            TensorSpec("bert.embeddings.word_embeddings.weight", ((VOCABULARY,), residual), reads=0),
            TensorSpec("bert.embeddings.position_embeddings.weight", ((POSITION,), residual), reads=0),
            TensorSpec("bert.embeddings.token_type_embeddings.weight", ((TOKEN_TYPE,), residual), reads=0),
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
        widths=_widths(tied=tied),
        norms=(
            *(Norm(name, NormKind.LAYER) for name in NORMS),
            Norm(
                "cls.predictions.transform.LayerNorm",
                NormKind.LAYER,
                feeds="bert.embeddings.word_embeddings.weight" if tied else "",
            ),
        ),
        renamed={
            ".LayerNorm.weight": ".LayerNorm.gamma",
            ".LayerNorm.bias": ".LayerNorm.beta",
            **({} if tied else {"cls.predictions.decoder.bias": "cls.predictions.bias"}),
        },
    )


def _widths(*, tied: bool) -> Widths:
    """Return the entries that hold the sizes."""
    return Widths(
        (
            ("hidden_size", (RESIDUAL,)),
            ("num_attention_heads", (HEAD,)),
            ("hidden_size", (HEAD, KEY_DIM)),
            ("hidden_size", (HEAD, VALUE_DIM)),
            ("hidden_size", (POOLED,)),
            *(() if tied else (("hidden_size", (TRANSFORMED,)),)),
            ("intermediate_size", (FFN,)),
            ("max_position_embeddings", (POSITION,)),
            ("type_vocab_size", (TOKEN_TYPE,)),
            ("vocab_size", (VOCABULARY,)),
        ),
        layers="num_hidden_layers",
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
    architecture = bert(tied=read_flag(config, "tie_word_embeddings", default=True))
    return architecture.configured(config, **{SENTENCE_ORDER.name: 2})
