"""Widths: how the entries of a configuration and the sizes of the axes determine each other, and which are legal.

Every entry is a product of axis sizes, `num_attention_heads = group x head`. An entry with several such products ties
the axes together, `hidden_size = residual = head x key_dim`: sizes are legal when all products of an entry agree, and
so the lattice of legal widths is read off the same equations that read and write the configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

from rctheory.architectures.axes import Axis
from rctheory.architectures.configs import REMEDY, read_whole
from rctheory.errors import CheckpointError, ShapeError

Sizes = Mapping[str, int]
MOST_UNITS = 1 << 20  # of an axis that is resized: more than any model has, and a plan lists them one by one


@dataclass(frozen=True)
class Widths:
    """The sizes that a configuration holds.

    Args:
        equations: entry of the configuration, and axes whose sizes multiply to it; in an order in which each equation
            has at most one axis that is not known yet. `widths.2` is place 2 of a list.
        multiples: entry, and an entry that it must be a multiple of, for the sake of the software that reads it.
        even: axes with an even number of units.
        layers: entry with the number of layers; empty where the architecture has one.
    """

    equations: tuple[tuple[str, tuple[Axis, ...]], ...] = ()
    multiples: tuple[tuple[str, str], ...] = ()
    even: tuple[Axis, ...] = ()
    layers: str = ""

    def read(self, config: Mapping[str, Any]) -> dict[str, int]:
        """Return the size of each axis.

        Raises:
            CheckpointError: an entry is missing or is no whole number >= 1, or it contradicts another one.
        """
        sizes: dict[str, int] = {}
        source: dict[str, str] = {}
        for entry, axes in self.equations:
            value = _entry(config, entry)
            unknown = [axis.name for axis in axes if axis.name not in sizes]
            known = prod(sizes[axis.name] for axis in axes if axis.name in sizes)
            if value % known or (not unknown and value != known):
                given = " x ".join(dict.fromkeys(source[axis.name] for axis in axes if axis.name in sizes))
                want = f"a multiple of {given} = {known}" if unknown else f"{given} = {known}"
                raise CheckpointError(f"{entry} = {value} in the configuration", want, REMEDY)
            for name in unknown[:1]:
                sizes[name], source[name] = value // known, entry
        return sizes

    def read_layers(self, config: Mapping[str, Any]) -> int:
        """Return the number of layers; raises like `read`."""
        return _entry(config, self.layers) if self.layers else 1

    def write(self, config: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
        """Return the configuration with the entries that other sizes need.

        Raises:
            ShapeError: the sizes are not legal.
        """
        self.require_legal(sizes)
        written = dict(config)
        for entry, axes in self.equations:
            name, _, place = entry.partition(".")
            value = prod(sizes[axis.name] for axis in axes)
            if place:
                written[name] = [*written[name][: int(place)], value, *written[name][int(place) + 1 :]]
            else:
                written[name] = value
        return written

    def require_legal(self, sizes: Sizes) -> None:
        """Check that a configuration can say these sizes.

        Raises:
            ShapeError: two products of one entry differ, an entry is no multiple of another one, or an axis is odd.
        """
        for reason in self._objections(sizes):
            raise ShapeError(*reason, "choose a legal width")

    def resize(self, sizes: Sizes, changes: Sizes) -> dict[str, int]:
        """Return new sizes: the changes, and what they force on averaged axes that share an entry with them.

        Args:
            sizes: size of each axis.
            changes: new sizes of some averaged axes.

        Raises:
            ShapeError: no such axis, one that is not averaged, or the result is not legal; then the nearest legal sizes
                are named.
        """
        axes = self._axes()
        for name in changes:
            if name not in axes or not axes[name].averaged:
                growing = ", ".join(axis.name for axis in axes.values() if axis.averaged)
                raise ShapeError(f"a new width of axis {name!r}", f"one of {growing}", "name an axis that may grow")
        resized = self._follow(sizes, changes)
        for name, size in resized.items():
            if size > MOST_UNITS and size != sizes[name]:
                raise ShapeError(f"{name} = {size}", f"at most {MOST_UNITS}", "choose a smaller width")
        found = next(self._objections(resized), None)
        if found is None:
            return resized
        near = {name: self.nearest(sizes, name, size, changes) for name, size in changes.items()}
        hint = ", or ".join(f"{name} = {' or '.join(map(str, legal))}" for name, legal in near.items() if legal)
        raise ShapeError(*found, f"choose {hint}" if hint else "choose legal widths together")

    def nearest(self, sizes: Sizes, axis: str, wanted: int, changes: Sizes | None = None) -> list[int]:
        """Return the largest legal size up to a wanted one and the smallest above, where there are such.

        Legal sizes are multiples or divisors of entries, so that none is further away from its neighbour, or from
        zero, than the largest entry: further than that nothing is looked for.

        Args:
            sizes: size of each axis.
            axis: an averaged axis.
            wanted: size of it that is not legal.
            changes: new sizes of others, which stay.
        """
        others = {name: size for name, size in (changes or {}).items() if name != axis}
        moved = self._follow(sizes, others)
        grown = [axes for _, axes in self.equations if any(a.averaged for a in axes)]
        reach = 2 * max((prod(moved[a.name] for a in axes) for axes in grown), default=1)
        low = max(wanted - reach, 0)
        below = chain(range(wanted, low, -1), range(min(low, reach), 0, -1))
        found = (
            next((n for n in candidates if self._is_legal(sizes, {**others, axis: n})), None)
            for candidates in (below, range(wanted + 1, wanted + reach + 1))
        )
        return [n for n in found if n is not None]

    def legal(self, sizes: Sizes, axis: str, most: int) -> list[int]:
        """Return all legal sizes of one averaged axis up to `most`; axes that share an entry with it follow."""
        return [n for n in range(1, most + 1) if self._is_legal(sizes, {axis: n})]

    def _is_legal(self, sizes: Sizes, changes: Sizes) -> bool:
        """Return whether changes lead to legal sizes."""
        return next(self._objections(self._follow(sizes, changes)), None) is None

    def _axes(self) -> dict[str, Axis]:
        """Return every axis of the equations by name."""
        return {axis.name: axis for _, axes in self.equations for axis in axes}

    def _follow(self, sizes: Sizes, changes: Sizes) -> dict[str, int]:
        """Change the one averaged axis that is free in each product whose entry has changed."""
        resized, pinned = {**sizes, **changes}, set(changes)
        for entry in dict.fromkeys(entry for entry, _ in self.equations):
            products = [axes for other, axes in self.equations if other == entry]
            leading = next((axes for axes in products if any(axis.name in pinned for axis in axes)), products[0])
            value = prod(resized[axis.name] for axis in leading)
            for axes in products:
                free = [axis.name for axis in axes if axis.averaged and axis.name not in pinned]
                rest = prod(resized[axis.name] for axis in axes if axis.name not in free)
                if axes is not leading and len(free) == 1 and value % rest == 0:
                    resized[free[0]] = value // rest
                    pinned.add(free[0])
        return resized

    def _objections(self, sizes: Sizes) -> Iterator[tuple[str, str]]:
        """Yield what is found and what is expected of every broken rule."""
        values: dict[str, tuple[int, str]] = {}
        for entry, axes in self.equations:
            product, text = prod(sizes[axis.name] for axis in axes), " x ".join(axis.name for axis in axes)
            if product < 1:
                yield f"{text} = {product}", "at least 1"
            first, first_text = values.setdefault(entry, (product, text))
            if product != first:
                yield f"{first_text} = {first}", f"{text} = {product}, which {entry} says too"
        for entry, divisor in self.multiples:
            if values[entry][0] % values[divisor][0]:
                yield f"{entry} = {values[entry][0]}", f"a multiple of {divisor} = {values[divisor][0]}"
        for axis in self.even:
            if sizes[axis.name] % 2:
                yield f"{axis.name} = {sizes[axis.name]}", "an even number"


def _entry(config: Mapping[str, Any], entry: str) -> int:
    """Return a whole number of a configuration, or of a list in it."""
    name, _, place = entry.partition(".")
    if not place:
        return read_whole(config, name)
    values = config.get(name)
    if not isinstance(values, list) or len(values) <= int(place):
        found = f"{name} = {values!r} in the configuration"
        raise CheckpointError(found, f"a list of at least {int(place) + 1} whole numbers", REMEDY)
    return read_whole({entry: values[int(place)]}, entry)
