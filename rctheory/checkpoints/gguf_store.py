"""Tensors in a GGUF file: quantised blocks are dequantised a few rows at a time."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rctheory.checkpoints.store import Store, StoredTensor
from rctheory.errors import CheckpointError, MissingExtraError


class GgufStore(Store):
    """Tensors of one GGUF file, under the names that it gives them.

    The reader of the `gguf` package maps the whole file; only its table of contents is kept, and rows are read with
    plain file reads, so that no mapped page stays behind.

    Args:
        path: the file.

    Raises:
        CheckpointError: the file cannot be read or is cut short.
        MissingExtraError: the `gguf` package is not installed.
    """

    def __init__(self, path: Path) -> None:
        """Read the table of contents and the metadata."""
        try:
            from gguf import GGUFReader
        except ImportError as error:
            raise MissingExtraError.of("gguf", "gguf") from error
        try:
            reader = GGUFReader(path)
            self.metadata: dict[str, Any] = {name: _value(field) for name, field in reader.fields.items()}
        except (ValueError, KeyError, IndexError, OSError, TypeError, OverflowError) as error:
            reason = str(error) or type(error).__name__
            found = f"{path.name} cannot be read ({reason})"
            raise CheckpointError(found, "a complete GGUF file", "fetch it again") from error
        self._tensors: dict[str, StoredTensor] = {}
        self._types: dict[str, Any] = {}
        self._offsets: dict[str, tuple[int, int]] = {}
        for tensor in reader.tensors:
            shape = tuple(int(size) for size in reversed(tensor.shape))  # stored fastest dimension first
            self._tensors[tensor.name] = StoredTensor(shape, tensor.tensor_type.name, path)
            self._types[tensor.name] = tensor.tensor_type
            self._offsets[tensor.name] = (int(tensor.data_offset), int(tensor.n_bytes))

    def tensors(self) -> Mapping[str, StoredTensor]:
        """Return what the table of contents says."""
        return self._tensors

    def blocks(self, name: str, rows: int) -> Iterator[Tensor]:
        """Yield dequantised blocks of rows."""
        from gguf import dequantize

        stored, (offset, size) = self._tensors[name], self._offsets[name]
        row_bytes = size // stored.shape[0]
        with stored.file.open("rb") as file:
            file.seek(offset)
            for start in range(0, stored.shape[0], rows):
                count = min(rows, stored.shape[0] - start)
                data = np.frombuffer(file.read(count * row_bytes), dtype=np.uint8)
                if len(data) != count * row_bytes:
                    raise CheckpointError(
                        f"{stored.file.name} ends in {name}", "a complete GGUF file", "fetch it again"
                    )
                try:
                    values = dequantize(data.reshape(count, row_bytes), self._types[name])
                except NotImplementedError as error:
                    found = f"tensor {name} has dtype {stored.dtype}"
                    raise CheckpointError(
                        found, "a type that gguf can dequantise", "use another quantisation"
                    ) from error
                yield torch.from_numpy(np.array(values, dtype=np.float32)).reshape(count, *stored.shape[1:])


def _value(field: Any) -> Any:
    """Return a scalar or string; of an array only its length: the tokenizer's lists are large and of no use here."""
    from gguf import GGUFValueType

    return len(field.data) if field.types[0] == GGUFValueType.ARRAY else field.contents()
