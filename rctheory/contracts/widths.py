"""Widths at which a contract looks: twice the source's, a part more, and one axis at a time."""

from math import ceil

from rctheory.architectures.layout import Layout
from rctheory.architectures.norms import NormKind
from rctheory.errors import ShapeError


def next_legal(layout: Layout, axis: str) -> dict[str, int] | None:
    """Return the sizes at the next legal width of one axis; None where there is none up to four times the width."""
    size = layout.sizes[axis]
    wider = [n for n in layout.widths.legal(layout.sizes, axis, 4 * size) if n > size]
    return layout.widths.resize(layout.sizes, {axis: wider[0]}) if wider else None


def multiplied(layout: Layout, factor: float) -> dict[str, int]:
    """Return changes that take every averaged axis to a multiple of its width, or to the next legal width above.

    Axes are added one after the other, so that those which an earlier one has moved stay where it has put them. An
    inner axis whose parent grows keeps its size inside of it. A stream that only a LayerNorm without an epsilon leaves
    can be widened by whole multiples alone.
    """
    sizes = layout.sizes
    changes: dict[str, int] = {}
    for name, axis in {i.axis.name: i.axis for i in layout.axes.values() if i.axis.averaged}.items():
        moved = layout.widths.resize(sizes, changes)[name] != sizes[name] if changes else False
        if moved or (axis.parent is not None and axis.parent.averaged):
            continue
        whole = _only_multiples(layout, name)
        for wanted in range(ceil(factor * sizes[name]), 8 * ceil(factor) * sizes[name]):
            if whole and wanted % sizes[name]:
                continue
            if is_legal(layout, changes | {name: wanted}):
                changes[name] = wanted
                break
    return changes


def is_legal(layout: Layout, changes: dict[str, int]) -> bool:
    """Return whether a configuration can say these sizes."""
    try:
        sizes = layout.widths.resize(layout.sizes, changes)
    except ShapeError:
        return False
    return all(sizes[name] % layout.sizes[name] == 0 for name in sizes if _only_multiples(layout, name))


def _only_multiples(layout: Layout, axis: str) -> bool:
    """Return whether a LayerNorm whose output is the stream itself runs over an axis."""
    norms = [n for n in layout.norms if n.kind is NormKind.LAYER and not n.epsilon and n.gain in layout.tensors]
    return any(layout.tensors[norm.gain].nests[0][-1].axis.name == axis for norm in norms)
