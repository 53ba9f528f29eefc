"""Tensors in one or several safetensors files."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rctheory.checkpoints.store import Store, StoredTensor
from rctheory.errors import CheckpointError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
FLOATS = ("F64", "F32", "F16", "BF16")


class SafetensorsStore(Store):
    """Tensors of a list of safetensors files; with an index, exactly the tensors that it names.

    Args:
        files: the files, each read once for its header.
        index: tensor name to file, where an index says so.

    Raises:
        CheckpointError: an unreadable file, a tensor stored twice, or one that the index names and its file lacks.
    """

    def __init__(self, files: list[Path], index: Mapping[str, Path] | None = None) -> None:
        """Read the headers."""
        self._tensors: dict[str, StoredTensor] = {}
        for file in files:
            for name, stored in _read_header(file).items():
                if name in self._tensors:
                    found = f"tensor {name} is stored in {self._tensors[name].file.name} and in {file.name}"
                    raise CheckpointError(found, "each tensor once", "remove the stale file")
                self._tensors[name] = stored
        for name, file in (index or {}).items():
            if name not in self._tensors or self._tensors[name].file != file:
                found = f"tensor {name} is missing from {file.name}, where the index puts it"
                raise CheckpointError(found, "every tensor of the index", "fetch the file again")

    @classmethod
    def of_folder(cls, folder: Path) -> "SafetensorsStore":
        """Read `model.safetensors.index.json` or `model.safetensors`.

        Raises:
            CheckpointError: neither is there, or the index is no index, or it points outside of the folder.
        """
        if (folder / INDEX).is_file():
            index = _read_index(folder)
            return cls(sorted(set(index.values())), index)
        if (folder / SINGLE).is_file():
            return cls([folder / SINGLE])
        raise CheckpointError(f"{folder} holds no weights", f"{SINGLE} or {INDEX}", "save the model as safetensors")

    def tensors(self) -> Mapping[str, StoredTensor]:
        """Return what the headers say."""
        return self._tensors

    def blocks(self, name: str, rows: int) -> Iterator[Tensor]:
        """Yield blocks of rows; the mapping of the file is released after each tensor, so that pages do not add up."""
        stored = self._tensors[name]
        if stored.dtype not in FLOATS:
            found = f"tensor {name} has dtype {stored.dtype}"
            raise CheckpointError(found, f"one of {', '.join(FLOATS)}", "dequantise the checkpoint")
        with _open(stored.file) as file:
            part = file.get_slice(name)
            for start in range(0, stored.shape[0], rows):
                # Always a copy: a view of a float32 file would point into the mapping after it is gone.
                yield part[start : start + rows].to(torch.float32, copy=True)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a safetensors file; its errors become one line."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        found = f"{path.name} cannot be read ({error})"
        raise CheckpointError(found, "a complete safetensors file", "fetch or save it again") from error


def _read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the shapes and dtypes of one file."""
    with _open(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        return {name: StoredTensor(tuple(s.get_shape()), str(s.get_dtype()), path) for name, s in slices.items()}


def _read_index(folder: Path) -> dict[str, Path]:
    """Return the file of each tensor that the index names."""
    path = folder / INDEX
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        found = f"{path.name} without a weight_map of tensor names to file names"
        raise CheckpointError(found, "the index that save_pretrained writes", "save the model again")
    for name, file in weight_map.items():
        # A bare file name cannot leave the folder.
        if Path(file).name != file or file in ("", ".", ".."):
            found = f"{path.name} points outside of its folder: {name} in {file!r}"
            raise CheckpointError(found, "names of files beside the index", "do not trust this checkpoint")
        if not (folder / file).is_file():
            raise CheckpointError(f"{file} is missing, which {path.name} names", "every shard", "fetch it")
    return {name: folder / file for name, file in weight_map.items()}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        CheckpointError: the file is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})", "a JSON object", "save it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}", "a JSON object", "save it again")
    return value
