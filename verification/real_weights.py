"""The three models whose weights are examined: the packaged Llama and BERT, and a GPT-2 that is trained here."""

import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint, require_packaged
from rctheory.statistics.permutation import PermutationTest
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


def require_both() -> None:
    """Check that both packaged models are installed."""
    require_packaged(LLAMA)
    require_packaged(BERT)


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
    rows = tuple(sorted(set(layers)))
    found = {(layer, pattern): value for layer, pattern, value in zip(layers, patterns, values, strict=True)}
    cells = tuple(tuple(found.get((layer, pattern), math.nan) for pattern in columns) for layer in rows)
    names = tuple(pattern.partition("{layer}.")[2].replace(".weight", "") for pattern in columns)
    return Table(title, tuple(f"layer {layer}" for layer in rows), names, cells, kind)


def p_value_map(title: str, tests: Iterable[PermutationTest]) -> Table:
    """Arrange the exact p-value of every dimension of every tensor of a layer as layers by kinds.

    Args:
        title: of the table.
        tests: permutation tests whose arrays are named by tensor and dimension.
    """
    found = {label: p for test in tests for label, p in test.p_values.items()}
    layers = {label: match for label in found if (match := re.search(r"\.(\d+)\.", label))}
    patterns = [f"{m.string[: m.start(1)]}{{layer}}{m.string[m.end(1) :]}" for m in layers.values()]
    numbers = [int(match[1]) for match in layers.values()]
    return layer_map(title, patterns, numbers, [found[label] for label in layers], "p-value")
