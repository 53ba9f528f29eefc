"""New widths as the shell gives them: `--set ffn=3072 --set groups=6`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rctheory.errors import UsageError

if TYPE_CHECKING:
    from rctheory.architectures.layout import Layout

MOST_DIGITS = 18  # of a width


def read_change(text: str) -> tuple[str, int | None]:
    """Read `axis=width`, or `axis` alone.

    Raises:
        UsageError: the width is no whole number of at least 1.
    """
    name, equals, width = text.partition("=")
    digits = width.strip()
    if not equals and name.strip():
        return name.strip(), None
    if not digits.isdecimal() or len(digits) > MOST_DIGITS or int(digits) < 1:
        found = f"--set {text[:40]!r}"
        raise UsageError(found, "AXIS=WIDTH with a whole number >= 1", "write it like ffn=3072")
    return name.strip(), int(digits)


def read_changes(texts: Sequence[str]) -> dict[str, int | None]:
    """Read several changes.

    Raises:
        UsageError: no change, or an axis with two widths.
    """
    read = [read_change(text) for text in texts]
    for name, _ in read:
        if len({width for other, width in read if other == name}) > 1:
            raise UsageError(f"--set {name} to several widths", "one", "name each axis once")
    return dict(read)


def read_widths(texts: Sequence[str], layout: "Layout") -> dict[str, int]:
    """Read several changes, each of which needs a width; the plural of an axis is understood.

    Raises:
        UsageError: a change without a width, or an axis with two.
    """
    named: dict[str, int] = {}
    for name, width in read_changes(texts).items():
        axis = layout.singular(name)
        if width is None:
            raise UsageError(f"--set {name!r}", "AXIS=WIDTH with a whole number >= 1", "write it like ffn=3072")
        if named.setdefault(axis, width) != width:
            raise UsageError(f"--set {axis} to several widths", "one", "name each axis once")
    return named
