"""Which axes are inspected: patterns over axis paths and instances."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from rctheory.architectures.axes import AxisInstance
from rctheory.architectures.layout import Layout
from rctheory.errors import UsageError


def choose_axes(layout: Layout, patterns: Sequence[str] | None) -> frozenset[str]:
    """Return the names of the axis instances that a pattern matches; all of them without patterns.

    A pattern is matched against the instance (`layers.3.ffn`), the path (`group/head`) and the name (`head`); `*`
    stands for any characters.

    Raises:
        UsageError: a pattern that matches no axis; the message lists the axes.
    """
    if patterns is None:
        return frozenset(layout.axes)
    chosen: set[str] = set()
    for pattern in patterns or ("",):
        matched = {name for name, instance in layout.axes.items() if _matches(pattern, instance)}
        if not matched:
            known = ", ".join(dict.fromkeys(instance.axis.path for instance in layout.axes.values()))
            found = f"--axes {pattern!r} matches no axis of {layout.architecture}"
            raise UsageError(found, f"{known}, or one layer such as {next(reversed(layout.axes))}", "name one of these")
        chosen |= matched
    return frozenset(chosen)


def restrict(layout: Layout, axes: frozenset[str]) -> Layout:
    """Return the part of a layout that touches any of some axis instances."""
    touched = {
        name: tensor
        for name, tensor in layout.tensors.items()
        if any(instance.name in axes for nest in tensor.nests for instance in nest)
    }
    return replace(layout, tensors=touched)


def _matches(pattern: str, instance: AxisInstance) -> bool:
    """Return whether a pattern matches one of the names of an axis instance."""
    return any(fnmatchcase(name, pattern) for name in (instance.name, instance.axis.path, instance.axis.name))
