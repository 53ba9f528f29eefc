"""The header of a safetensors file, held against the size of the file before a weight is read.

`json` keeps the last of two entries of one name, and readers differ in what they make of offsets that overlap: what a
file means should not depend on who reads it, so both are refused here.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch

from rctheory.checkpoints.json_files import MOST_BYTES, parse_object
from rctheory.checkpoints.store import StoredTensor
from rctheory.errors import CheckpointError

FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The types that stand for weights; others are refused when they are declared weights."""
LENGTH = 8  # bytes in front of the header that say how long it is


@dataclass(frozen=True)
class PlacedTensor(StoredTensor):
    """A stored tensor, and the byte of its file where it starts."""

    start: int


def read_header(path: Path) -> dict[str, PlacedTensor]:
    """Return the tensors of one file.

    Raises:
        CheckpointError: the header is no header, or its tensors do not tile the rest of the file.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(LENGTH), "little")
            if not 2 <= length <= min(MOST_BYTES, size - LENGTH):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            entries = parse_object(file.read(length))
        entries.pop("__metadata__", None)
        places = {name: _place(name, entry) for name, entry in entries.items()}
        _require_tiling(places, size - LENGTH - length)
    except (OSError, ValueError) as error:
        found = f"{path.name} cannot be read ({error})"
        raise CheckpointError(found, "a complete safetensors file", "fetch or save it again") from error
    return {
        name: PlacedTensor(
            tuple(entries[name]["shape"]), entries[name]["dtype"], path, end - begin, LENGTH + length + begin
        )
        for name, (begin, end) in places.items()
    }


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor begins and ends, in bytes behind the header."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        raise ValueError(f"no dtype of tensor {name}")
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"no shape and offsets of tensor {name}")
    begin, end = offsets
    dtype = FLOATS.get(entry["dtype"])
    if begin > end or (dtype is not None and end - begin != dtype.itemsize * prod(shape)):
        raise ValueError(f"tensor {name} of shape {tuple(shape)} and dtype {entry['dtype']} in {end - begin} bytes")
    return begin, end


def _are_counts(values: Any) -> bool:
    """Return whether these are whole numbers from 0 on."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _require_tiling(places: dict[str, tuple[int, int]], size: int) -> None:
    """Check that the tensors follow each other without overlap or gap, from the header to the end of the file."""
    ordered = [("the header", (0, 0)), *sorted(places.items(), key=lambda item: item[1]), ("the end", (size, size))]
    for (before, (_, end)), (name, (begin, _)) in pairwise(ordered):
        if begin < end:
            raise ValueError(
                f"tensor {before} ends {end - size} bytes behind the file"
                if name == "the end"
                else f"tensor {name} lies over {before}"
            )
        if begin > end:
            raise ValueError(f"{begin - end} bytes between {before} and {name} belong to no tensor")
