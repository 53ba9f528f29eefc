"""Tensors in a GGUF file: quantised blocks are dequantised a few rows at a time."""

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from rctheory.checkpoints.gguf_header import STRING, StoredArray, read_array, read_header
from rctheory.checkpoints.store import Range, Store, StoredTensor, read_bytes
from rctheory.errors import CheckpointError

MOST_NUMBERS = 4096  # of an array that has one for each layer or coordinate


class GgufStore(Store):
    """Tensors of one GGUF file, under the names that it gives them.

    Only the header is mapped, and let go at once; rows are read with plain file reads, so that no mapped page stays
    behind.

    Args:
        path: the file.

    Raises:
        CheckpointError: the file is malformed or cut short.
        MissingExtraError: a type of tensor that only the package `gguf` knows, and it is not installed.
    """

    def __init__(self, path: Path) -> None:
        """Read the header."""
        self._path, self._header = path, read_header(path)
        self._tensors = {
            name: StoredTensor(tensor.shape, tensor.kind.name, path, tensor.n_bytes)
            for name, tensor in self._header.tensors.items()
        }

    @property
    def metadata(self) -> dict[str, Any]:
        """Return scalars, strings, short arrays of numbers as lists; of any other array its length alone.

        Those are the tokenizer's: of them only the number says something of the weights.
        """
        return {key: self._summary(value) for key, value in self._header.metadata.items()}

    def array(self, key: str) -> list[Any]:
        """Return an array of the metadata in full, such as `tokenizer.ggml.tokens`.

        Raises:
            CheckpointError: there is no such array, or the file can no longer be read.
        """
        value = self._header.metadata.get(key)
        if not isinstance(value, StoredArray):
            found = f"no array {key!r} in the metadata of {self._path.name}"
            raise CheckpointError(found, "a key of an array", "see which keys the file has")
        return read_array(self._path, value)

    def tensors(self) -> Mapping[str, StoredTensor]:
        """Return what the table of contents says."""
        return self._tensors

    def require_readable(self, name: str) -> None:
        """Refuse integers and other types that stand for no weights."""
        self._header.tensors[name].kind.require_decoder(name)

    def blocks(self, name: str, ranges: Iterable[Range], columns: Range | None = None) -> Iterator[Tensor]:
        """Yield dequantised blocks of rows; a row is read as a whole, since its quantised blocks are."""
        tensor = self._header.tensors[name]
        kind, row = tensor.kind, prod(tensor.shape[1:])
        decode = kind.require_decoder(name)
        with self._path.open("rb") as file:
            for start, stop in ranges:
                # Whole quantised blocks; only of a vector can they reach beyond the rows.
                first, last = start * row // kind.entries, -(-stop * row // kind.entries)
                data = read_bytes(file, tensor.start + first * kind.n_bytes, (last - first) * kind.n_bytes, name)
                entries = decode(data.view(-1, kind.n_bytes)).view(-1)
                skipped = start * row - first * kind.entries
                block = entries[skipped : skipped + (stop - start) * row].view(stop - start, *tensor.shape[1:])
                yield block if columns is None else block[:, columns[0] : columns[1]]

    def _summary(self, value: Any) -> Any:
        """Return a value of the metadata in short."""
        if not isinstance(value, StoredArray):
            return value
        is_long = value.kind == STRING or value.count > MOST_NUMBERS
        return value.count if is_long else read_array(self._path, value)
