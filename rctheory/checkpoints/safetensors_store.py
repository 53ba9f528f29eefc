"""Tensors in one or several safetensors files."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rctheory.checkpoints.json_files import join_shards
from rctheory.checkpoints.safetensors_header import BITS, read_header
from rctheory.checkpoints.store import Range, Store, StoredTensor
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
        stored = self._tensors[name]
        if stored.dtype not in BITS:
            found = f"tensor {name} has dtype {stored.dtype}"
            raise CheckpointError(found, f"one of {', '.join(BITS)}", "dequantise the checkpoint")

    def blocks(self, name: str, ranges: Iterable[Range], columns: Range | None = None) -> Iterator[Tensor]:
        """Yield blocks of rows; the mapping of the file is released after each tensor, so that pages do not add up."""
        self.require_readable(name)
        with _open(self._tensors[name].file) as file:
            part = file.get_slice(name)
            for start, stop in ranges:
                block = part[start:stop] if columns is None else part[start:stop, columns[0] : columns[1]]
                # Always a copy: a view of a float32 file would point into the mapping after it is gone.
                yield block.to(torch.float32, copy=True)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a safetensors file; its errors become one line."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        found = f"{path.name} cannot be read ({error})"
        raise CheckpointError(found, "a complete safetensors file", "fetch or save it again") from error
