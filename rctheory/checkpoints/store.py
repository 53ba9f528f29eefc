"""What every stored format offers: names and shapes without loading, and the rows of one tensor block by block."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from rctheory.errors import CheckpointError

Range = tuple[int, int]
"""First index, and the index after the last."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it is stored.

    Args:
        shape: its shape, slowest dimension first.
        dtype: the name that its format gives to the type of its entries.
        file: the file that holds it.
        n_bytes: bytes that it takes there.
    """

    shape: tuple[int, ...]
    dtype: str
    file: Path
    n_bytes: int


class Store(ABC):
    """Tensors on disk under the names of their format."""

    @abstractmethod
    def tensors(self) -> Mapping[str, StoredTensor]:
        """Return what is stored, from headers alone."""

    @abstractmethod
    def require_readable(self, name: str) -> None:
        """Check, without reading it, that a tensor can become float32.

        Raises:
            CheckpointError: a dtype that stands for no weights (integers) or that cannot be read.
        """

    @abstractmethod
    def blocks(self, name: str, ranges: Iterable[Range], columns: Range | None = None) -> Iterator[Tensor]:
        """Yield one float32 block for each range of rows, of a matrix only the given columns; nothing else is read.

        Args:
            name: stored name.
            ranges: first row and the row after the last; a vector counts as one row for each entry.
            columns: first column and the column after the last; None for whole rows.
        """


def read_bytes(file: BinaryIO, start: int, n_bytes: int, what: str) -> Tensor:
    """Return bytes of an open file, as uint8.

    Plain reads leave no mapped page behind, and a file that was cut in the meantime is an error, not a crash.

    Args:
        file: opened for reading.
        start: first byte.
        n_bytes: how many.
        what: the tensor that they belong to.

    Raises:
        CheckpointError: the file ends before.
    """
    data = torch.empty(n_bytes, dtype=torch.uint8)
    file.seek(start)
    read = file.readinto(data.numpy().data)  # type: ignore[attr-defined]  # every buffered file has it
    if read != n_bytes:
        raise CheckpointError(f"{Path(file.name).name} ends in {what}", "a complete file", "fetch it again")
    return data
