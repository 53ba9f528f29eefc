"""The residual perceptron: every layer reads the stream, maps it through hidden units and adds the result."""

from collections.abc import Mapping
from typing import Any

from rctheory.architectures.spec import Architecture, Axis, Layout, Nest, Role, TensorSpec, Widths
from rctheory.architectures.transformer import FFN, RESIDUAL

INPUT = Axis("input", Role.INPUT, exchangeable=False)
OUTPUT = Axis("output", Role.OUTPUT, exchangeable=False)


def residual_mlp() -> Architecture:
    """Declare x = embed u, then x + write phi(read x) in each layer, then unembed x; biases may be missing."""
    residual: Nest = (RESIDUAL,)
    return Architecture(
        "residual_mlp",
        (
            *_linear("embed", residual, (INPUT,)),
            *_linear("layers.{layer}.read", (FFN,), residual),
            *_linear("layers.{layer}.write", residual, (FFN,)),
            *_linear("unembed", (OUTPUT,), residual),
        ),
        widths=Widths(tuple((axis.name, (axis,)) for axis in (INPUT, RESIDUAL, FFN, OUTPUT)), layers="layers"),
    )


def _linear(name: str, outputs: Nest, inputs: Nest) -> tuple[TensorSpec, ...]:
    """Declare a matrix with its bias."""
    weight = TensorSpec(f"{name}.weight", (outputs, inputs))
    return weight, TensorSpec(f"{name}.bias", (outputs,), optional="biases")


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout of `{"model_type": "residual_mlp", "input": .., "residual": .., "ffn": .., "output": ..,
    "layers": ..}`.

    Raises:
        CheckpointError: a size is missing or is no whole number.
    """
    return residual_mlp().configured(config)
