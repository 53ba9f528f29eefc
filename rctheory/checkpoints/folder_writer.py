"""Write a Hugging Face folder of safetensors, block by block, all or nothing.

The header of a safetensors file states every shape and offset, so it can be written before the first weight is there:
no tensor has to be held as a whole. Everything goes to a hidden folder beside the target, which takes the name of the
target only when it is complete.
"""

import errno
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from rctheory.checkpoints.safetensors_store import INDEX, SINGLE
from rctheory.errors import CheckpointError, ShapeError, UsageError

SHARD_BYTES = 5_000_000_000  # as transformers does by default
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to be written: stored `name`, `shape`, and `dtype` by its safetensors name (F32, F16, BF16, F64)."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "F32"

    def __post_init__(self) -> None:
        """Refuse a dtype that cannot be written."""
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype {self.dtype!r} of {self.name}", f"one of {', '.join(DTYPES)}", "choose one")

    @property
    def n_bytes(self) -> int:
        """Return its size on disk."""
        return prod(self.shape) * DTYPES[self.dtype].itemsize


class FolderWriter:
    """A Hugging Face folder in the making; use it in a `with` block, which completes it or leaves nothing.

    Args:
        target: the folder to make; its parent is made too.
        tensors: every tensor, in the order in which they will be written.
        shard_bytes: most bytes of one file; a single larger tensor still goes into one file.

    Raises:
        CheckpointError: the target exists, cannot be made, or the disk has not enough room.
        UsageError: a tensor named twice.
    """

    def __init__(self, target: Path, tensors: Sequence[OutputTensor], shard_bytes: int = SHARD_BYTES) -> None:
        """Check the target before any work."""
        self._target, self._tensors = target, {tensor.name: tensor for tensor in tensors}
        if len(self._tensors) != len(tensors):
            names = [tensor.name for tensor in tensors]
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"tensor {twice} named twice", "each tensor once", "rename one")
        self._shards = _plan_shards(tensors, shard_bytes)
        self._place = {name: shard for shard, names in enumerate(self._shards) for name in names}
        require_free(target)
        self._written: set[str] = set()
        self._open: int | None = None

    def __enter__(self) -> "FolderWriter":
        """Make the hidden folder and write the header of every file."""
        with _told(self._target):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            needed = sum(tensor.n_bytes for tensor in self._tensors.values())
            free = shutil.disk_usage(self._target.parent).free
            if free < needed:
                found = f"{free / 1e9:.2f} GB free for {self._target}"
                raise CheckpointError(found, f"at least {needed / 1e9:.2f} GB", "free some space, or choose --dtype")
            self.folder = Path(tempfile.mkdtemp(prefix=f".{self._target.name}.", dir=self._target.parent))
            self.folder.chmod(0o755)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the folder its name, or remove it."""
        try:
            if error is None:
                self._complete()
        finally:
            if self.folder.exists():
                shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name: str, blocks: Iterable[Tensor]) -> None:
        """Append one tensor, given as blocks of whole rows, which must stay as they are; values are cast to its dtype.

        Raises:
            ShapeError: a tensor that was not announced or comes out of turn, or blocks that do not fill its shape.
            CheckpointError: the disk is full, or cannot be written.
        """
        self._require_turn(name)
        tensor, shard = self._tensors[name], self._place[name]
        rows = 0
        with _told(self._target), (self.folder / self._file(shard)).open("ab") as file:
            if self._open != shard:
                file.write(_header([self._tensors[n] for n in self._shards[shard]]))
                self._open = shard
            with ThreadPoolExecutor(1) as pool:  # one block is written while the next one is made
                waiting: Future[int] | None = None
                for block in blocks:
                    if tuple(block.shape[1:]) != tensor.shape[1:]:
                        found = f"a block of shape {tuple(block.shape)} of tensor {name}"
                        raise ShapeError(found, f"rows of {tensor.shape}", "write whole rows")
                    rows += len(block)
                    data = _bytes_of(block, DTYPES[tensor.dtype])
                    if waiting is not None:
                        waiting.result()
                    waiting = pool.submit(file.write, data)
                if waiting is not None:
                    waiting.result()
        if rows != tensor.shape[0]:
            raise ShapeError(f"{rows} rows of tensor {name}", f"{tensor.shape[0]}", "write every row")
        self._written.add(name)

    def write_text(self, name: str, text: str) -> None:
        """Write a small file beside the weights."""
        with _told(self._target):
            (self.folder / name).write_text(text, encoding="utf-8")

    def write_json(self, name: str, value: Any) -> None:
        """Write an object as JSON beside the weights."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def copy(self, path: Path) -> None:
        """Copy a file beside the weights."""
        with _told(self._target):
            shutil.copyfile(path, self.folder / path.name)

    def _require_turn(self, name: str) -> None:
        """Refuse a tensor out of turn: offsets are already in the header."""
        turn = next((n for n in self._tensors if n not in self._written), None)
        if name != turn:
            raise ShapeError(f"tensor {name}", f"tensor {turn} to be next", "write tensors in the order announced")

    def _file(self, shard: int) -> str:
        """Return the name of a file, as transformers names it."""
        total = len(self._shards)
        return SINGLE if total == 1 else f"model-{shard + 1:05d}-of-{total:05d}.safetensors"

    def _complete(self) -> None:
        """Check that everything is there, write the index and rename."""
        missing = [name for name in self._tensors if name not in self._written]
        if missing:
            found = f"{len(missing)} tensors were not written, {missing[0]} first"
            raise ShapeError(found, "every tensor announced", "write them all")
        if len(self._shards) > 1:
            total = sum(tensor.n_bytes for tensor in self._tensors.values())
            weight_map = {name: self._file(shard) for name, shard in self._place.items()}
            self.write_json(INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
        require_free(self._target)
        with _told(self._target):
            self.folder.rename(self._target)


def require_free(target: Path) -> None:
    """Check that a target folder does not exist yet.

    Raises:
        CheckpointError: it exists; nothing is ever overwritten.
    """
    with _told(target):
        exists = target.is_symlink() or target.exists()
    if exists:
        raise CheckpointError(f"target {target} exists", "a folder that does not", "remove it or choose another")


def _plan_shards(tensors: Sequence[OutputTensor], shard_bytes: int) -> list[list[str]]:
    """Fill files in order."""
    shards: list[list[str]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.n_bytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor.name)
        size += tensor.n_bytes
    return shards


def _header(tensors: Sequence[OutputTensor]) -> bytes:
    """Return the length and the JSON header of one file, padded to eight bytes so that the data are aligned."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.n_bytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(block: Tensor, dtype: torch.dtype) -> memoryview:
    """Return the bytes of a block in its stored dtype; NumPy has no bfloat16, so they are viewed as integers."""
    cast = block.detach().to("cpu", dtype).contiguous()
    return cast.reshape(-1).view(torch.uint8).numpy().data


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Turn errors of the file system into one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space, or choose a smaller --dtype" if full else "choose another target"
        found = f"{target} cannot be written ({error.strerror or error})"
        raise CheckpointError(found, "a folder with room that may be written", remedy) from error
