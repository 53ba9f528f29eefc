"""A checkpoint: stored tensors under the names of their declaration, read one block of rows at a time."""

from collections.abc import Iterator, Mapping
from types import TracebackType

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.checkpoints.store import Store, StoredTensor
from rctheory.errors import CheckpointError, ShapeError

BLOCK_BYTES = 4 << 20  # float32 bytes of one block: large enough for speed, small enough for the caches


class Checkpoint:
    """The tensors of one model, lazily.

    Names are those of the declaration (safetensors names), whatever the format; the rows of rotary projections are in
    the order of the declaration too.

    Args:
        source: what the user asked for.
        layout: the declared tensors, whose shapes the stored ones must have.
        store: the stored tensors.
        stored_names: stored name by declared name.

    Raises:
        CheckpointError: stored and declared tensors differ.
    """

    def __init__(self, source: str, layout: Layout, store: Store, stored_names: Mapping[str, str]) -> None:
        """Compare what is stored with what is declared."""
        self.source, self.layout = source, layout
        self._store: Store | None = store
        self._stored_names = stored_names
        stored = store.tensors()
        declared = {name_in_store: name for name, name_in_store in stored_names.items()}
        tensors = {declared.get(name, name): tensor for name, tensor in stored.items()}
        try:
            layout.require_shapes({name: tensor.shape for name, tensor in tensors.items()})
        except ShapeError as error:
            raise CheckpointError(f"{source}: {error.found}", error.expected, error.remedy) from error
        self.tensors: dict[str, StoredTensor] = {name: tensors[name] for name in layout.tensors}

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
            CheckpointError: no such tensor, a dtype that cannot be read, a file that ends early, or NaN or infinite
                entries: then nothing more is yielded, and the error counts all of them.
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
        return torch.cat(list(self.blocks(name)))

    def _raw_blocks(self, name: str, block_bytes: int) -> Iterator[Tensor]:
        """Yield blocks in the order of the declaration, finite or not."""
        if self._store is None:
            raise CheckpointError(f"{self.source} is closed", "an open checkpoint", "read inside the with block")
        if name not in self.layout.tensors:
            found = f"tensor {name!r} of {self.source}"
            raise CheckpointError(found, f"a tensor of {self.layout.architecture}", "name a declared tensor")
        tensor = self.layout.tensors[name]
        rows = max(1, block_bytes // (4 * max(1, _row_entries(tensor))))
        stored_name = self._stored_names[name]
        if stored_name == name or not tensor.gguf_interleaved:
            yield from self._store.blocks(stored_name, rows)
            return
        head_dim = tensor.nests[0][-1].size
        for block in self._store.blocks(stored_name, max(1, rows // head_dim) * head_dim):
            yield separate_pairs(block, head_dim)


def separate_pairs(rows: Tensor, head_dim: int) -> Tensor:
    """Undo the rotary order of GGUF: (0, d/2, 1, d/2 + 1, ...) inside each head becomes (0, 1, ..., d - 1).

    GGUF rotates neighbouring coordinates, the declaration the coordinates j and j + d/2; both see the same angle.

    Args:
        rows: whole heads, (heads x head_dim, ...).
        head_dim: coordinates d of one head, even.
    """
    return rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def _row_entries(tensor: TensorLayout) -> int:
    """Return the number of entries of one row; a vector has one in each."""
    return tensor.shape[1] if len(tensor.shape) > 1 else 1
