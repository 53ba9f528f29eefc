"""A checkpoint: stored tensors under the names of their declaration, read one block of rows at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.architectures.storage import Naming, Piece, Place
from rctheory.checkpoints.pieces import read_blocks
from rctheory.checkpoints.store import Store, StoredTensor
from rctheory.errors import CheckpointError, ShapeError

BLOCK_BYTES = 4 << 20  # float32 bytes of one block: large enough for speed, small enough for the caches


class Checkpoint:
    """The tensors of one model, lazily.

    Names, pieces and the order of rows are those of the declaration, whatever the format: a tensor that is stored as a
    part of another one is read as that part alone.

    Args:
        source: what the user asked for.
        layout: the declared tensors, whose places the stored ones must fill.
        store: the stored tensors.
        naming: whose names the stored tensors have.
        config: the configuration that the layout was read from; of a GGUF file, what its metadata stand for.
        path: the folder or GGUF file that also holds what else belongs to the model, such as its tokenizer.

    Raises:
        CheckpointError: stored and declared tensors differ, or a dtype stands for no weights.
    """

    def __init__(
        self,
        source: str,
        layout: Layout,
        store: Store,
        naming: Naming = Naming.TRANSFORMERS,
        *,
        config: Mapping[str, Any] | None = None,
        path: Path | None = None,
    ) -> None:
        """Compare what is stored with what is declared."""
        stored = store.tensors()
        self.source, self.naming, self.config, self.path = source, naming, dict(config or {}), path
        self.stored_names = frozenset(stored)
        self.layout = layout.found_in(stored) if naming is Naming.TRANSFORMERS else layout
        self._store: Store | None = store
        try:
            self.layout.require_stored({name: tensor.shape for name, tensor in stored.items()}, naming)
        except ShapeError as error:
            remedy = "dequantise the checkpoint" if self.quantised else error.remedy
            found = f"{source}{f', quantised by {self.quantised}' if self.quantised else ''}: {error.found}"
            raise CheckpointError(found, error.expected, remedy) from error
        self._places = {name: self.layout.place(name, naming) for name in self.layout.tensors}
        for stored_name in dict.fromkeys(name for place in self._places.values() for name in place.names):
            store.require_readable(stored_name)
        self._twins = {
            name: twin for twin, name in self.layout.twins.items() if twin in stored and name in self.layout.tensors
        }
        for name, twin in self._twins.items():
            store.require_readable(twin)
            if stored[twin].shape != self.layout.tensors[name].shape:
                found = f"{source}: tensor {twin} has shape {stored[twin].shape}"
                raise CheckpointError(found, f"that of {name}, to which it is tied", "untie them in config.json")
        self.buffers = {name: stored[name] for name in self.layout.buffers if name in stored}
        self.tensors: dict[str, StoredTensor] = {
            name: _part(stored[self._places[name].names[0]], tensor) for name, tensor in self.layout.tensors.items()
        }

    @property
    def quantised(self) -> str:
        """Return the method by which the configuration says that the weights are quantised; empty where it does not."""
        said = self.config.get("quantization_config")
        return str(said.get("quant_method", "some method") if isinstance(said, dict) else said) if said else ""

    def __enter__(self) -> "Checkpoint":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the stored tensors."""
        self._store = None

    def blocks(self, name: str, block_bytes: int = BLOCK_BYTES) -> Iterator[Tensor]:
        """Yield a tensor as float32 blocks of whole rows, in order.

        Args:
            name: declared name.
            block_bytes: most bytes of one block; a single row, or a single head of a rotary projection stored as
                pairs, may be larger.

        Raises:
            CheckpointError: no such tensor, a file that ends early, a second copy (a stored head that is tied) that
                differs, or NaN or infinite entries: then nothing more is yielded, and the error counts all of them.
        """
        bad = 0
        for block in self._raw_blocks(name, block_bytes):
            here = 0 if torch.isfinite(block.sum()) else int((~torch.isfinite(block)).sum())
            bad += here
            if not bad:
                yield block
        if bad:
            found = f"{self.source}: tensor {name} has {bad} NaN or infinite entries"
            raise CheckpointError(found, "finite weights", "repair or fetch the checkpoint again")

    def tensor(self, name: str) -> Tensor:
        """Return one whole tensor in float32; raises like `blocks`."""
        whole, filled = torch.empty(0), 0
        for block in self.blocks(name):
            if not filled:
                whole = torch.empty(self.layout.tensors[name].shape)
            whole[filled : filled + len(block)] = block  # filled as it is read: no second copy of a large tensor
            filled += len(block)
        return whole

    def buffer(self, name: str) -> Tensor:
        """Return one stored tensor that carries no weights, in float32; `buffers` says which there are.

        Raises:
            CheckpointError: it is closed, or the tensor is no float.
        """
        if self._store is None:
            raise CheckpointError(f"{self.source} is closed", "an open checkpoint", "read inside the with block")
        self._store.require_readable(name)
        shape = self.buffers[name].shape
        return torch.cat(list(self._store.blocks(name, [(0, shape[0])])))

    def _raw_blocks(self, name: str, block_bytes: int) -> Iterator[Tensor]:
        """Yield blocks in the order of the declaration, finite or not."""
        if self._store is None:
            raise CheckpointError(f"{self.source} is closed", "an open checkpoint", "read inside the with block")
        if name not in self.layout.tensors:
            found = f"tensor {name!r} of {self.source}"
            raise CheckpointError(found, f"a tensor of {self.layout.architecture}", "name a declared tensor")
        tensor = self.layout.tensors[name]
        rows = max(1, block_bytes // (4 * max(1, prod(tensor.shape[1:]))))
        blocks = read_blocks(self._store, self._places[name], rows, tensor.shape[0])
        if name not in self._twins:
            yield from blocks
            return
        twin = self._twins[name]
        again = read_blocks(self._store, Place(0, (Piece(twin, 0, tensor.shape[0]),)), rows, tensor.shape[0])
        for block, other in zip(blocks, again, strict=True):
            if not torch.equal(block, other) and not torch.equal(block.nan_to_num(), other.nan_to_num()):
                found = f"{self.source}: {twin} is stored and differs from {name}, to which the configuration ties it"
                raise CheckpointError(found, "one tensor for both", "untie them in config.json, or remove the copy")
            yield block


def _part(stored: StoredTensor, tensor: TensorLayout) -> StoredTensor:
    """Return what is stored of a declared tensor; of one that is split, under the dtype and file of its first part."""
    n_bytes = stored.n_bytes * prod(tensor.shape) // max(1, prod(stored.shape))
    return replace(stored, shape=tensor.shape, n_bytes=n_bytes)
