"""What every stored format offers: names and shapes without loading, and the rows of one tensor block by block."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it is stored: `shape`, `dtype` by the name that its format gives it, and the `file` that holds it."""

    shape: tuple[int, ...]
    dtype: str
    file: Path


class Store(ABC):
    """Tensors on disk under the names of their format."""

    @abstractmethod
    def tensors(self) -> Mapping[str, StoredTensor]:
        """Return what is stored, from headers alone."""

    @abstractmethod
    def blocks(self, name: str, rows: int) -> Iterator[Tensor]:
        """Yield `rows` rows at a time (fewer in the last block) in float32; a vector counts as one row per entry."""
