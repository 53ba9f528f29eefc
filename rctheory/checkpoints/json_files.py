"""JSON beside the weights: configurations, and indices that say which file holds which tensor."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from rctheory.checkpoints.store import StoredTensor
from rctheory.errors import CheckpointError

T = TypeVar("T", bound=StoredTensor)

MOST_BYTES = 100_000_000
"""Of any JSON text in a checkpoint; safetensors allows its headers no more."""


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Return the object that a JSON text stands for; names that stand there twice are an error, not the last of them.

    Raises:
        ValueError: no JSON object.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; `json` would keep the last of several entries of one name and say nothing."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice!r} twice")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        CheckpointError: the file is no JSON object, or names an entry twice.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"it is {size} bytes long")
        return parse_object(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})", "a JSON object", "save it again") from error


def read_index(path: Path) -> dict[str, Path]:
    """Return the file of each tensor that an index names.

    Raises:
        CheckpointError: no index, or it points outside of its folder, or to a file that is not there.
    """
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        found = f"{path.name} without a weight_map of tensor names to file names"
        raise CheckpointError(found, "the index that save_pretrained writes", "save the model again")
    for name, file in weight_map.items():
        # A bare file name cannot leave the folder.
        if Path(file).name != file or file in ("", ".", "..") or "\\" in file or "\0" in file:
            found = f"{path.name} points outside of its folder: {name} in {file!r}"
            raise CheckpointError(found, "names of files beside the index", "do not trust this checkpoint")
        if not _is_file(path.parent / file):
            raise CheckpointError(f"{file[:255]} is missing, which {path.name} names", "every shard", "fetch it")
    return {name: path.parent / file for name, file in weight_map.items()}


def _is_file(path: Path) -> bool:
    """Return whether there is such a file; none has a name that the system refuses."""
    try:
        return path.is_file()
    except OSError:
        return False


def join_shards(shards: Mapping[Path, Mapping[str, T]], index: Mapping[str, Path] | None) -> dict[str, T]:
    """Return the tensors of several files under their names.

    Args:
        shards: the tensors of each file.
        index: file of each tensor; None where nothing says so.

    Raises:
        CheckpointError: a tensor stored twice, or one that the index puts elsewhere or does not name.
    """
    joined: dict[str, T] = {}
    for file, tensors in shards.items():
        for name, stored in tensors.items():
            if name in joined:
                found = f"tensor {name} is stored in {joined[name].file.name} and in {file.name}"
                raise CheckpointError(found, "each tensor once", "remove the stale file")
            if index is not None and name not in index:
                found = f"tensor {name} of {file.name} is missing from the index"
                raise CheckpointError(found, "every tensor in the index", "save the model again")
            joined[name] = stored
    for name, file in (index or {}).items():
        if name not in joined or joined[name].file != file:
            found = f"tensor {name} is missing from {file.name}, where the index puts it"
            raise CheckpointError(found, "every tensor of the index", "fetch the file again")
    return joined
