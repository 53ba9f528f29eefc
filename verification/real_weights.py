"""The three models whose weights are examined: the packaged Llama and BERT, and a GPT-2 that is trained here."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.suite.experiment import Table
from verification.gpt import Gpt, save

LLAMA = "smollm2"
BERT = "minilm"


@contextmanager
def open_gpt(model: Gpt) -> Iterator[Checkpoint]:
    """Write a GPT-2 to a folder and read it as any checkpoint; nothing is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder))
        with open_checkpoint(folder) as checkpoint:
            yield checkpoint


def matrices(layout: Layout) -> list[TensorLayout]:
    """Return the matrices of the layers of a model, embeddings left out."""
    return [tensor for tensor in layout.tensors.values() if tensor.layer is not None and len(tensor.shape) == 2]


def layer_map(
    title: str, patterns: Sequence[str], layers: Sequence[int], values: Sequence[float], kind: str = "value"
) -> Table:
    """Arrange one number for each tensor as layers by kinds of tensors.

    Args:
        title: of the table.
        patterns: kind of each tensor, its name with `{layer}`.
        layers: its layer.
        values: its number.
        kind: how the table is drawn.
    """
    columns = tuple(dict.fromkeys(patterns))
    rows = tuple(dict.fromkeys(layers))
    found = {(layer, pattern): value for layer, pattern, value in zip(layers, patterns, values, strict=True)}
    cells = tuple(tuple(found.get((layer, pattern), math.nan) for pattern in columns) for layer in rows)
    names = tuple(pattern.partition("{layer}.")[2].replace(".weight", "") for pattern in columns)
    return Table(title, tuple(f"layer {layer}" for layer in rows), names, cells, kind)
