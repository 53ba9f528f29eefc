"""Tensors in one or several safetensors files."""

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from rctheory.checkpoints.json_files import join_shards
from rctheory.checkpoints.safetensors_header import FLOATS, read_header
from rctheory.checkpoints.store import Range, Store, StoredTensor, read_bytes
from rctheory.errors import CheckpointError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class SafetensorsStore(Store):
    """Tensors of a list of safetensors files; with an index, exactly the tensors that it names.

    Args:
        files: the files, each read once for its header.
        index: tensor name to file, where an index says so.

    Raises:
        CheckpointError: an unreadable file, one whose offsets overlap, a tensor stored twice, or one that the index
            names and its file lacks, or the other way round.
    """

    def __init__(self, files: Iterable[Path], index: Mapping[str, Path] | None = None) -> None:
        """Read the headers."""
        self._tensors = join_shards({file: read_header(file) for file in files}, index)

    def tensors(self) -> Mapping[str, StoredTensor]:
        """Return what the headers say."""
        return self._tensors

    def require_readable(self, name: str) -> None:
        """Refuse integers, and 8 bits or fewer, whose scales are in other tensors."""
        self._dtype(name)

    def blocks(self, name: str, ranges: Iterable[Range], columns: Range | None = None) -> Iterator[Tensor]:
        """Yield blocks of rows."""
        tensor, dtype = self._tensors[name], self._dtype(name)
        shape, row_bytes = tensor.shape[1:], prod(tensor.shape[1:]) * dtype.itemsize
        with tensor.file.open("rb") as file:
            for start, stop in ranges:
                data = read_bytes(file, tensor.start + start * row_bytes, (stop - start) * row_bytes, name)
                block = data.view(dtype).view(stop - start, *shape)
                yield (block if columns is None else block[:, columns[0] : columns[1]]).to(torch.float32)

    def _dtype(self, name: str) -> torch.dtype:
        """Return the type of the entries of a tensor."""
        stored = self._tensors[name]
        if stored.dtype not in FLOATS:
            found = f"tensor {name} has dtype {stored.dtype}"
            raise CheckpointError(found, f"one of {', '.join(FLOATS)}", "dequantise the checkpoint")
        return FLOATS[stored.dtype]
