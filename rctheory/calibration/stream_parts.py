"""The parts of a model along its residual stream: a norm, the matrices that read it, and the one that writes back."""

from collections.abc import Collection
from dataclasses import dataclass

from rctheory.architectures.axes import Role
from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.architectures.norms import NormKind
from rctheory.architectures.storage import Naming
from rctheory.errors import UsageError

_Found = tuple[int | None, str, list[str], list[str]]  # layer, gain, readers, writers


@dataclass(frozen=True)
class Part:
    """A norm of the stream with what follows it: `gain`, its `readers`, and the `writer` back into the stream.

    Behind the last norm stands no writer; its layer is None. Where the head is tied no matrix of its own reads there,
    but `tied`, the embedding.
    """

    layer: int | None
    gain: str
    readers: tuple[str, ...]
    writer: str | None
    tied: str = ""


def parts_of(layout: Layout) -> list[Part]:
    """Return the parts of a model whose stream can be turned, in the order of the forward pass.

    Raises:
        UsageError: norms that see a rotation, embeddings that the software rescales, or parts that are not norm,
            readers, writer, one after the other.
    """
    norms = [norm for norm in layout.norms if norm.gain in layout.tensors and is_stream(layout.tensors[norm.gain], 0)]
    if not norms or layout.rooted or any(norm.kind is not NormKind.RMS for norm in norms):
        found = f"the residual stream of {layout.architecture}, which its norms do not leave free to turn"
        raise UsageError(found, "norms by the root mean square alone, as in Llama", "use rctheory transfer")
    gains = {norm.gain for norm in norms}
    parts = [part for layer in (*range(layout.layers), None) for part in _parts_in(layout, layer, gains)]
    uses = [name for _, _, readers, writers in parts for name in (*readers, *writers)]
    tied = {norm.gain: norm.feeds for norm in norms}
    plain = all(
        (readers or tied[gain]) and len(writers) == (layer is not None) for layer, gain, readers, writers in parts
    )
    if not plain or any(len(layout.place(name, Naming.TRANSFORMERS).pieces) != 1 for name in uses):
        found = f"the residual stream of {layout.architecture}, which is not read and written in turn"
        raise UsageError(found, "in every part a norm, matrices that read and one that writes", "use rctheory transfer")
    return [
        Part(layer, gain, tuple(readers), next(iter(writers), None), tied[gain])
        for layer, gain, readers, writers in parts
    ]


def _parts_in(layout: Layout, layer: int | None, gains: Collection[str]) -> list[_Found]:
    """Return by norm, in the order of the declaration, what reads and writes the stream in a layer."""
    parts: list[_Found] = []
    for name, tensor in layout.tensors.items():
        if tensor.layer != layer:
            continue
        if name in gains:
            parts.append((layer, name, [], []))
        elif parts and len(tensor.nests) > 1:
            if is_stream(tensor, tensor.reads):
                parts[-1][2].append(name)
            elif is_stream(tensor, 1 - tensor.reads):
                parts[-1][3].append(name)
    return parts


def is_stream(tensor: TensorLayout, dimension: int) -> bool:
    """Return whether a dimension of a tensor is the stream."""
    return tensor.nests[dimension][-1].axis.role is Role.RESIDUAL
