"""Declared tensors out of stored ones, and back: pieces of fused tensors, tensors split over several, rotary pairs."""

from collections.abc import Iterator, Mapping, MutableMapping
from itertools import groupby
from operator import attrgetter

import torch
from torch import Tensor

from rctheory.architectures.storage import Place
from rctheory.checkpoints.store import Range, Store


def read_blocks(store: Store, place: Place, rows: int, extent: int) -> Iterator[Tensor]:
    """Yield a declared tensor as float32 blocks of at most `rows` whole rows (one head, where heads are reordered).

    Args:
        store: the stored tensors.
        place: where the declared tensor lies.
        rows: most rows of one block.
        extent: number of rows of the declared tensor.
    """
    if place.dimension:
        yield from _side_by_side(store, place, list(_ranges(0, extent, rows)))
        return
    whole_heads = max(1, rows // place.pairs) * place.pairs if place.pairs else rows
    for name, pieces in groupby(place.pieces, key=attrgetter("name")):
        ranges = (r for piece in pieces for r in _ranges(piece.start, piece.stop, whole_heads))
        for block in store.blocks(name, ranges):
            yield separate_pairs(block, place.pairs) if place.pairs else block


def gather(stored: Mapping[str, Tensor], place: Place) -> Tensor:
    """Return a declared tensor out of stored ones that are in memory."""
    parts = [stored[p.name].narrow(place.dimension, p.start, p.stop - p.start) for p in place.pieces]
    joined = torch.cat(parts, dim=place.dimension) if len(parts) > 1 else parts[0]
    return separate_pairs(joined, place.pairs) if place.pairs else joined


def scatter(declared: Tensor, place: Place, stored: MutableMapping[str, Tensor]) -> None:
    """Write a declared tensor into the stored ones that hold it: the inverse of `gather`."""
    ordered = interleave_pairs(declared, place.pairs) if place.pairs else declared
    start = 0
    for piece in place.pieces:
        size = piece.stop - piece.start
        target = stored[piece.name].narrow(place.dimension, piece.start, size)
        target.copy_(ordered.narrow(place.dimension, start, size))
        start += size


def separate_pairs(rows: Tensor, head_dim: int) -> Tensor:
    """Undo the rotary order of GGUF: (0, d/2, 1, d/2 + 1, ...) inside each head becomes (0, 1, ..., d - 1).

    GGUF rotates neighbouring coordinates, the declaration the coordinates j and j + d/2; both see the same angle.

    Args:
        rows: whole heads, (heads x head_dim, ...).
        head_dim: coordinates d of one head, even.
    """
    return rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def interleave_pairs(rows: Tensor, head_dim: int) -> Tensor:
    """Return whole heads in the rotary order of GGUF: the inverse of `separate_pairs`."""
    return rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def _side_by_side(store: Store, place: Place, ranges: list[Range]) -> Iterator[Tensor]:
    """Yield blocks whose columns come from several places."""
    parts = [store.blocks(piece.name, ranges, (piece.start, piece.stop)) for piece in place.pieces]
    for blocks in zip(*parts, strict=True):
        yield torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]


def _ranges(start: int, stop: int, rows: int) -> Iterator[Range]:
    """Cut start..stop - 1 into ranges of at most `rows`."""
    for first in range(start, stop, rows):
        yield first, min(first + rows, stop)
