"""The header of a GGUF file: metadata and the table of its tensors, nothing else touched.

Versions 2 and 3, little endian. Numbers in the file are promises: each is held against the size of the file before
anything is made of it, so that a malformed file costs neither memory nor time beyond its own length.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from rctheory.checkpoints.block_types import BlockType, block_type
from rctheory.errors import CheckpointError

MAGIC, VERSIONS = b"GGUF", (2, 3)
ALIGNMENT = 32
MOST_DIMENSIONS = 4
STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class MalformedError(Exception):
    """What is wrong with a file, in a few words."""


@dataclass(frozen=True)
class StoredArray:
    """An array of the metadata, not read yet: the number of its `kind`, how many entries, and where they start."""

    kind: int
    count: int
    start: int


@dataclass(frozen=True)
class TableEntry:
    """A tensor of the table: `shape` slowest dimension first, its `kind`, its place in the file in bytes."""

    shape: tuple[int, ...]
    kind: BlockType
    start: int
    n_bytes: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself: scalars, strings and arrays by key, and tensors by name."""

    metadata: dict[str, Any]
    tensors: dict[str, TableEntry]


def read_header(path: Path) -> Header:
    """Return the header of a GGUF file.

    Raises:
        CheckpointError: no GGUF file of version 2 or 3, or one that is cut short or contradicts itself.
        MissingExtraError: a type of tensor that only the package `gguf` knows, and it is not installed.
    """
    with _cursor(path) as cursor:
        tensors, fields = _start(cursor)
        metadata = {}
        for key in _names(cursor, fields, "metadata key"):
            metadata[key] = _value(cursor, cursor.take("<I"))
        table = {name: _entry(cursor, name) for name in _names(cursor, tensors, "tensor")}
        return Header(metadata, _place(table, cursor, metadata.get("general.alignment", ALIGNMENT)))


def read_array(path: Path, array: StoredArray) -> list[Any]:
    """Return the entries of an array of the metadata, such as the tokens of a tokenizer.

    Raises:
        CheckpointError: the file cannot be read, or has changed since its header was.
    """
    with _cursor(path) as cursor:
        cursor.position = array.start
        if array.kind == STRING:
            return [cursor.string() for _ in range(array.count)]
        code = SCALARS[array.kind][1:]
        return list(cursor.unpack(f"<{array.count}{code}", array.count * struct.calcsize(code)))


class Cursor:
    """A place in a mapped file; every step is checked against its end."""

    def __init__(self, data: mmap.mmap) -> None:
        """Start at the first byte."""
        self.data, self.position, self.size = data, 0, len(data)

    def skip(self, n_bytes: int) -> int:
        """Step over bytes; return where they start."""
        start = self.position
        if n_bytes > self.size - start:
            raise MalformedError(f"it ends {n_bytes - (self.size - start)} bytes too early")
        self.position += n_bytes
        return start

    def unpack(self, code: str, n_bytes: int) -> tuple[Any, ...]:
        """Read numbers."""
        return struct.unpack_from(code, self.data, self.skip(n_bytes))

    def take(self, code: str) -> Any:
        """Read one number."""
        return self.unpack(code, struct.calcsize(code))[0]

    def string(self) -> str:
        """Read a string: its length and its bytes."""
        start = self.skip(self.take("<Q"))
        return str(self.data[start : self.position], encoding="utf-8")

    def skip_strings(self, count: int) -> None:
        """Step over strings; of 98,000 tokens and merges in some 20 ms."""
        position, last, length = self.position, self.size - 8, struct.Struct("<Q").unpack_from
        for _ in range(count):
            if position > last:
                break
            position += 8 + length(self.data, position)[0]
        else:
            self.skip(position - self.position)
            return
        raise MalformedError("it ends inside a list of strings")


@contextmanager
def _cursor(path: Path) -> Iterator[Cursor]:
    """Map a file; whatever is wrong with it becomes one line."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield Cursor(data)
    except (MalformedError, OSError, ValueError, OverflowError) as error:
        found = f"{path.name} cannot be read as GGUF ({error})"
        raise CheckpointError(found, "a complete GGUF file, version 2 or 3, little endian", "fetch it again") from error


def _start(cursor: Cursor) -> tuple[int, int]:
    """Return the numbers of tensors and of metadata entries."""
    if cursor.data[:4] != MAGIC:
        raise MalformedError(f"it starts with {bytes(cursor.data[:4])!r}")
    cursor.skip(4)
    version = cursor.take("<I")
    if version not in VERSIONS:
        swapped = version & 0xFFFF == 0
        raise MalformedError("it is big endian" if swapped else f"it is of version {version}")
    return cursor.take("<Q"), cursor.take("<Q")


def _names(cursor: Cursor, count: int, what: str) -> Iterator[str]:
    """Yield `count` names, each in front of what it names; a second time the same is an error."""
    seen: set[str] = set()
    for _ in range(count):
        name = cursor.string()
        if name in seen:
            raise MalformedError(f"{what} {name} stands there twice")
        seen.add(name)
        yield name


def _value(cursor: Cursor, kind: int) -> Any:
    """Return a value of the metadata, and step over it."""
    if kind in SCALARS:
        return cursor.take(SCALARS[kind])
    if kind == STRING:
        return cursor.string()
    if kind != ARRAY:
        raise MalformedError(f"metadata of the unknown kind {kind}")
    kind, count = cursor.take("<I"), cursor.take("<Q")
    array = StoredArray(kind, count, cursor.position)
    if kind == STRING:
        cursor.skip_strings(count)
    elif kind in SCALARS:
        cursor.skip(count * struct.calcsize(SCALARS[kind]))
    else:
        raise MalformedError(f"an array of the unknown kind {kind}")
    return array


def _entry(cursor: Cursor, name: str) -> TableEntry:
    """Return a tensor, its place still counted from the start of the data."""
    dimensions = cursor.take("<I")
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise MalformedError(f"tensor {name} has {dimensions} dimensions")
    shape = cursor.unpack(f"<{dimensions}Q", 8 * dimensions)[::-1]  # stored fastest dimension first
    kind, start = block_type(cursor.take("<I")), cursor.take("<Q")
    if 0 in shape or shape[-1] % kind.entries:
        raise MalformedError(f"tensor {name} of shape {shape} is no whole number of {kind.name} blocks")
    return TableEntry(shape, kind, start, prod(shape) // kind.entries * kind.n_bytes)


def _place(table: dict[str, TableEntry], cursor: Cursor, alignment: Any) -> dict[str, TableEntry]:
    """Return the tensors with their places counted from the start of the file: inside of it, and none over another."""
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise MalformedError(f"general.alignment is {alignment!r}")
    data = -(-cursor.position // alignment) * alignment
    placed = {name: TableEntry(t.shape, t.kind, data + t.start, t.n_bytes) for name, t in table.items()}
    end, before = data, ""
    for name, tensor in sorted(placed.items(), key=lambda item: item[1].start):
        if tensor.start % alignment:
            raise MalformedError(f"tensor {name} starts at byte {tensor.start}, not aligned to {alignment}")
        if tensor.start < end:
            raise MalformedError(f"tensor {name} lies over {before}")
        end, before = tensor.start + tensor.n_bytes, name
        if end > cursor.size:
            raise MalformedError(f"tensor {name} ends {end - cursor.size} bytes behind the file")
    return placed
