"""Tensors in PyTorch state dicts: read as data, so that nothing in the file is ever executed.

A `.pt` or `.bin` file is a pickle beside raw numbers, in a zip archive. The pickle is given to PyTorch's restricted
reader (`weights_only`), which builds tensors and plain containers and refuses every other name; the numbers are mapped.
"""

import re
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory.checkpoints.json_files import join_shards
from rctheory.checkpoints.store import Range, Store, StoredTensor
from rctheory.errors import CheckpointError

INDEX = "pytorch_model.bin.index.json"
SINGLE = "pytorch_model.bin"
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")  # where training programs keep the weights
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MAPPED_BYTES = 64 << 20  # read from one mapping before it is renewed: pages of a mapping add up
SAVE_AGAIN = "load it where you trust it, and save its state dict as safetensors"


class TorchStore(Store):
    """Tensors of a list of PyTorch files; with an index, exactly the tensors that it names.

    Args:
        files: the files, each read once for its pickle.
        index: tensor name to file, where an index says so.

    Raises:
        CheckpointError: a file that is no complete zip archive of PyTorch, that asks for more than tensors and plain
            containers, or that is no state dict; a tensor stored twice, or one that index and files disagree on.
    """

    def __init__(self, files: Iterable[Path], index: Mapping[str, Path] | None = None) -> None:
        """Read the pickles; numbers stay on disk."""
        self._dtypes: dict[str, torch.dtype] = {}
        self._mapped: dict[Path, Mapping[str, Tensor]] = {}
        self._read_bytes = 0
        self._lock = threading.Lock()
        self._tensors = join_shards({file: self._header(file) for file in files}, index)

    def tensors(self) -> Mapping[str, StoredTensor]:
        """Return what the pickles say."""
        return self._tensors

    def require_readable(self, name: str) -> None:
        """Refuse integers and 8 bits or fewer."""
        if self._dtypes[name] not in FLOATS:
            found = f"tensor {name} has dtype {self._tensors[name].dtype}"
            expected = f"one of {', '.join(_name(dtype) for dtype in FLOATS)}"
            raise CheckpointError(found, expected, "dequantise the checkpoint")

    def blocks(self, name: str, ranges: Iterable[Range], columns: Range | None = None) -> Iterator[Tensor]:
        """Yield blocks of rows; the mapping of the file is renewed now and then, so that pages do not add up."""
        self.require_readable(name)
        tensor = self._renewed(self._tensors[name])[name]
        for start, stop in ranges:
            block = tensor[start:stop] if columns is None else tensor[start:stop, columns[0] : columns[1]]
            # Always a copy, row by row: a transposed tensor is stored as columns, a mapping goes away.
            yield block.to(torch.float32, copy=True, memory_format=torch.contiguous_format)

    def _header(self, file: Path) -> dict[str, StoredTensor]:
        """Return shapes and dtypes of one file."""
        tensors = load_state_dict(file)
        self._dtypes |= {name: tensor.dtype for name, tensor in tensors.items()}
        return {
            name: StoredTensor(tuple(tensor.shape), _name(tensor.dtype), file, tensor.numel() * tensor.element_size())
            for name, tensor in tensors.items()
        }

    def _renewed(self, stored: StoredTensor) -> Mapping[str, Tensor]:
        """Return a mapping of a file in which one more tensor is about to be read; several threads may ask."""
        with self._lock:
            self._read_bytes += stored.n_bytes
            if stored.file not in self._mapped or self._read_bytes > MAPPED_BYTES:
                self._mapped = {stored.file: load_state_dict(stored.file)}
                self._read_bytes = stored.n_bytes
            return self._mapped[stored.file]


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch file, mapped, under their names.

    Raises:
        CheckpointError: as for `TorchStore`.
    """
    _require_stored_zip(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a malformed pickle can make its reader raise anything
        found = f"{path.name} is refused by PyTorch's reader of weights ({_reason(error)})"
        raise CheckpointError(found, "tensors in plain dictionaries", SAVE_AGAIN) from error
    tensors = {name: tensor.detach() for name, tensor in _unwrapped(path, value).items()}
    for name, tensor in tensors.items():
        _require_dense(path, name, tensor)
    return tensors


def _require_stored_zip(path: Path) -> None:
    """Refuse what cannot be mapped: another format, or an archive that is compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        size = path.stat().st_size
        # Before anything is unpacked: an entry that is compressed could become larger than any memory.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise zipfile.BadZipFile("its entries are compressed")
        if sum(entry.file_size for entry in entries) > size:
            raise zipfile.BadZipFile("its entries are larger than the file")
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if _starts_as_pickle(path):
            found = f"{path.name} is a bare pickle, as PyTorch wrote it before version 1.6"
            raise CheckpointError(found, "the zip archive of torch.save, which can be mapped", SAVE_AGAIN) from error
        found = f"{path.name} cannot be read ({error})"
        raise CheckpointError(found, "a complete file of torch.save", "fetch or save it again") from error


def _starts_as_pickle(path: Path) -> bool:
    """Return whether a file has the first byte of a binary pickle."""
    try:
        with path.open("rb") as file:
            return file.read(1) == b"\x80"
    except OSError:
        return False


def _reason(error: Exception) -> str:
    """Return the point of an error of PyTorch's reader, whose messages run over several paragraphs."""
    text = str(error)
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        return f"it asks for {named[1]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = next((line for line in lines if "WeightsUnpickler" in line or "Unsupported" in line), *lines[:1] or [""])
    return line[:150] or type(error).__name__


def _unwrapped(path: Path, value: Any) -> Mapping[str, Tensor]:
    """Return the state dict: the whole file, or the only wrapper in it that holds tensors alone."""
    if _is_state_dict(value):
        return value  # type: ignore[no-any-return]  # looked at entry by entry
    found = f"{path.name} holds a {type(value).__name__}"
    if isinstance(value, Mapping):
        wrapped = [key for key in WRAPPERS if _is_state_dict(value.get(key))]
        if len(wrapped) == 1:
            return value[wrapped[0]]  # type: ignore[no-any-return]  # likewise
        found = f"{path.name} holds {', '.join(map(repr, list(value)[:6])) or 'nothing'}"
        if wrapped:
            found = f"{path.name} holds several state dicts: {', '.join(wrapped)}"
    expected = f"a dictionary of tensors, or one such in {', '.join(WRAPPERS)}"
    raise CheckpointError(found, expected, "save the state dict alone")


def _is_state_dict(value: Any) -> bool:
    """Return whether this is a dictionary of named tensors, at least one."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _require_dense(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a tensor whose entries are not all in the file: sparse, or one number shown many times."""
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        found = f"tensor {name} of {path.name} is sparse or repeated"
        raise CheckpointError(found, "dense tensors", SAVE_AGAIN)


def _name(dtype: torch.dtype) -> str:
    """Return `float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")
