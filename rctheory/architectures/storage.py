"""Storage: where a declared tensor lies in a checkpoint, when it is not one stored tensor under its own name.

Three things happen in checkpoints, and they may happen together: several declared tensors are fused into one stored
tensor (queries, keys and values), one declared tensor is split over several stored ones (one for each expert), and the
rows of a head are stored in another order (rotary pairs). None of them moves a dimension: a declared tensor has the
orientation of the stored one, and its axes say what its rows and columns are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from math import prod

from rctheory.errors import LawError, ShapeError


class Naming(StrEnum):
    """Whose names a checkpoint uses: those of transformers (safetensors, PyTorch), or those of GGUF."""

    TRANSFORMERS = "transformers"
    GGUF = "gguf"


@dataclass(frozen=True)
class Stored:
    """Where a declared tensor is stored.

    Args:
        name: stored name. It may hold `{layer}`, and in braces the name of the outermost axis of `dimension`: then
            every unit of that axis has a stored tensor of its own, and the declared one joins them.
        dimension: the dimension along which stored and declared tensor differ. All declared tensors of one stored name
            lie in it one after the other along that dimension, in the order of their declaration.
        inside: they do so inside each unit of that many outermost axes of the dimension: 0 for [q | k | v], 1 for
            [q | k | v] in each head.
        pairs: the rows of each head are stored as rotary pairs (0, d/2, 1, d/2 + 1, ...).

    Raises:
        LawError: rotary pairs in a part of a tensor.
    """

    name: str
    dimension: int = 0
    inside: int = 0
    pairs: bool = False

    def __post_init__(self) -> None:
        """Refuse what no reader undoes."""
        if self.pairs and (self.dimension or self.inside):
            found = f"{self.name} stores rotary pairs in a part of a tensor"
            raise LawError(found, "pairs of whole rows", "declare the pairs alone")


@dataclass(frozen=True)
class Piece:
    """The entries `start` .. `stop` - 1 of the stored tensor `name`, along the dimension of its place."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Place:
    """Where one concrete tensor is stored.

    Args:
        dimension: the dimension that the pieces share out.
        pieces: what the tensor is joined from, in order.
        pairs: coordinates of one head whose rows are stored as rotary pairs; 0 where they are in order.
    """

    dimension: int
    pieces: tuple[Piece, ...]
    pairs: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Return the stored names, each once, in order."""
        return tuple(dict.fromkeys(piece.name for piece in self.pieces))

    def renamed(self, names: Mapping[str, str]) -> "Place":
        """Return the same place under other stored names, by the old ones."""
        return replace(self, pieces=tuple(replace(p, name=names.get(p.name, p.name)) for p in self.pieces))


@dataclass(frozen=True)
class Request:
    """What asks for a place: a declaration with its concrete stored names, and the sizes of the axes by dimension."""

    stored: Stored
    names: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]

    @property
    def split(self) -> bool:
        """Return whether every unit of the outermost axis has a stored tensor of its own."""
        return len(self.names) > 1

    def extents(self) -> tuple[int, int]:
        """Return the number of pieces, and the extent of each."""
        sizes, inside = self.sizes[self.stored.dimension], 1 if self.split else self.stored.inside
        return prod(sizes[:inside]), prod(sizes[inside:])


def lay_out(requests: Sequence[Request]) -> list[Place]:
    """Return the place of each declared tensor, in order."""
    strides: dict[str, int] = {}
    for request in requests:
        strides[request.names[0]] = strides.get(request.names[0], 0) + request.extents()[1]
    offsets = dict.fromkeys(strides, 0)
    found = []
    for request in requests:
        name, (outer, inner) = request.names[0], request.extents()
        step = 0 if request.split else strides[name]
        names = request.names if request.split else request.names * outer
        starts = [offsets[name] + unit * step for unit in range(outer)]
        pieces = [Piece(n, start, start + inner) for n, start in zip(names, starts, strict=True)]
        offsets[name] += inner
        pairs = request.sizes[0][-1] if request.stored.pairs else 0
        found.append(Place(request.stored.dimension, _join(pieces), pairs))
    return found


def _join(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Join pieces that follow each other in one stored tensor."""
    joined = [pieces[0]]
    for piece in pieces[1:]:
        last = joined[-1]
        if (piece.name, piece.start) == (last.name, last.stop):
            joined[-1] = replace(last, stop=piece.stop)
        else:
            joined.append(piece)
    return tuple(joined)


def join_shapes(tensors: Iterable[tuple[Place, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every stored tensor, from the places and shapes of the declared ones.

    Raises:
        ShapeError: declared tensors overlap in a stored one, leave a gap, or disagree on its other dimensions.
    """
    rest: dict[str, tuple[int, ...]] = {}
    covered: dict[str, list[Piece]] = {}
    for place, shape in tensors:
        open_shape = (*shape[: place.dimension], -1, *shape[place.dimension + 1 :])
        for piece in place.pieces:
            covered.setdefault(piece.name, []).append(piece)
            if rest.setdefault(piece.name, open_shape) != open_shape:
                raise ShapeError(f"stored tensor {piece.name}", "one shape of all that it holds", "correct the sizes")
    return {name: tuple(_extent(covered[name]) if n == -1 else n for n in shape) for name, shape in rest.items()}


def _extent(pieces: Sequence[Piece]) -> int:
    """Return how far the pieces of one stored tensor reach."""
    ordered = sorted(pieces, key=lambda piece: piece.start)
    if ordered[0].start or any(first.stop != second.start for first, second in pairwise(ordered)):
        found = f"pieces of stored tensor {ordered[0].name}"
        raise ShapeError(found, "neither overlap nor gap", "correct the declaration")
    return ordered[-1].stop
