"""Expectations of sums of random arrays, by counting the coincidences of their indices.

E of a product under a multiple sum: the summed indices of one axis coincide in some way, a set partition; a
partition with b blocks occurs n (n-1) ... (n-b+1) times, and inside it all indices are distinct, so that the law
gives the expectation. SymPy has no limit or expectation of an indexed sum; this needs none and is exact at every n.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import sympy as sp
from sympy import Dummy, Expr, Indexed, IndexedBase, Integer, KroneckerDelta, Mul, Sum, Symbol
from sympy.utilities.iterables import multiset_partitions

from proofs.algebra import canonical_index
from proofs.notation import Expectation
from proofs.terms import Limit, Term, freshen, settled
from rctheory.errors import DerivationError


class Law(Protocol):
    """How the entries of some arrays are distributed."""

    def owns(self, factor: Expr) -> bool:
        """Say whether the factor is random under this law."""

    def mean(self, factors: Sequence[Expr]) -> Expr:
        """Return the expectation of a product whose distinct index symbols stand for distinct indices."""


@dataclass(frozen=True)
class Neurons:
    """Neurons with independent latents, identically distributed on each axis, and an independent residual.

    Args:
        latent: arrays that are functions of the latents of their indices, such as a mean kernel or an activation.
        residual: arrays of independent centred entries, with the variance of each.
    """

    latent: frozenset[IndexedBase]
    residual: dict[IndexedBase, Expr] = field(default_factory=dict)

    def owns(self, factor: Expr) -> bool:
        """Say whether the factor holds an entry of one of the arrays."""
        return any(entry.base in self.latent or entry.base in self.residual for entry in factor.atoms(Indexed))

    def mean(self, factors: Sequence[Expr]) -> Expr:
        """Return variances of residual cells times one expectation for every component of linked latents."""
        value: Expr = Integer(1)
        latent = []
        for factor in factors:
            cell, power = factor.as_base_exp()
            _require_entry(cell, power)
            if cell.base in self.residual:
                value *= self._cell_moment(cell, int(power))
            else:
                latent.append(factor)
        return value * Mul(*(_named(component) for component in _components(latent)))

    def _cell_moment(self, cell: Indexed, power: int) -> Expr:
        if power > 2:
            raise DerivationError(f"the moment of order {power} of {cell}", "order 1 or 2", "add the moment to the law")
        return self.residual[cell.base] if power == 2 else Integer(0)


@dataclass(frozen=True)
class Draws:
    """Draws I_1, I_2, ... from a population 1..n, with or without replacement; distinct draws, distinct indices."""

    draw: IndexedBase
    population: Expr
    replacement: bool

    def owns(self, factor: Expr) -> bool:
        """Say whether the factor depends on a draw."""
        return any(entry.base == self.draw for entry in factor.atoms(Indexed))

    def mean(self, factors: Sequence[Expr]) -> Expr:
        """Return the sum over the population of the product times the joint probability of the draws in it."""
        body = Mul(*factors)
        drawn = sorted((e for e in body.atoms(Indexed) if e.base == self.draw), key=sp.default_sort_key)
        if not drawn:
            return body
        units = {entry: Dummy("j", integer=True) for entry in drawn}
        probability = self._joint(list(units.values()))
        limits = [(unit, 1, self.population) for unit in units.values()]
        return Sum(body.xreplace(dict(units)) * probability, *limits)

    def _joint(self, units: list[Dummy]) -> Expr:
        if self.replacement:
            return self.population ** (-len(units))
        pairs = itertools.combinations(units, 2)
        distinct = Mul(*(1 - KroneckerDelta(a, b, (1, self.population)) for a, b in pairs))
        return distinct / sp.ff(self.population, len(units))


@dataclass(frozen=True)
class Cells:
    """Independent entries, those of one array identically distributed, with given moments.

    Args:
        moments: for every array, its moments of order 1, 2, ...
    """

    moments: dict[IndexedBase, tuple[Expr, ...]]

    def owns(self, factor: Expr) -> bool:
        """Say whether the factor holds an entry of one of the arrays."""
        return any(entry.base in self.moments for entry in factor.atoms(Indexed))

    def mean(self, factors: Sequence[Expr]) -> Expr:
        """Return the product of the moments of distinct cells."""
        return Mul(*(self._moment(*factor.as_base_exp()) for factor in factors))

    def anywhere(self, factors: Sequence[Expr], moving: Sequence[Expr]) -> Expr:
        """Return the expectation for indices that may coincide, with a delta for every coincidence that counts.

        Indices that are not `moving`, the free ones, are distinct. It is the sum over the set partitions of the
        factors of the products of the cumulants of their blocks.
        """
        copies = []
        for factor in factors:
            cell, power = factor.as_base_exp()
            _require_entry(cell, power)
            copies += [cell] * int(power)
        ways = multiset_partitions(list(range(len(copies))))
        return sp.Add(
            *(Mul(*(self._joint([copies[place] for place in block], moving) for block in way)) for way in ways)
        )

    def _joint(self, cells: Sequence[Indexed], moving: Sequence[Expr]) -> Expr:
        first, *others = cells
        if any(cell.base != first.base for cell in others):
            return Integer(0)
        pairs = [(a, b) for cell in others for a, b in zip(first.indices, cell.indices, strict=True)]
        if any(a != b and a not in moving and b not in moving for a, b in pairs):
            return Integer(0)
        return cumulant(self.moments[first.base], len(cells)) * Mul(*(KroneckerDelta(a, b) for a, b in pairs))

    def _moment(self, cell: Expr, power: Expr) -> Expr:
        _require_entry(cell, power)
        known = self.moments[cell.base]
        if power > len(known):
            raise DerivationError(f"the moment of order {power} of {cell}", f"order 1 to {len(known)}", "add it")
        return known[int(power) - 1]


def cumulant(moments: Sequence[Expr], order: int) -> Expr:
    """Return the cumulant of some order from the moments of order 1, 2, ..."""
    if order > len(moments):
        raise DerivationError(f"the cumulant of order {order}", f"order 1 to {len(moments)}", "add the moment")
    lower = (sp.binomial(order - 1, k - 1) * cumulant(moments, k) * moments[order - k - 1] for k in range(1, order))
    return sp.expand(moments[order - 1] - sp.Add(*lower))


def expectation(expr: Expr, laws: Sequence[Law]) -> Expr:
    """Return the exact expectation of `expr`, a polynomial in the entries of random arrays, at symbolic widths."""
    return sp.Add(*(value for term in settled(expr) for value in _term_expectation(term, laws)))


def _term_expectation(term: Term, laws: Sequence[Law]) -> Iterator[Expr]:
    random = [factor for factor in term.factors if _is_random(factor, laws)]
    fixed = [factor for factor in term.factors if factor not in random]
    moving = [limit for limit in term.limits if any(factor.has(limit[0]) for factor in random)]
    staying = [limit for limit in term.limits if limit not in moving]
    weighted = [factor for factor in fixed if any(factor.has(limit[0]) for limit in moving)]
    if weighted and all(any(isinstance(law, Cells) and law.owns(factor) for law in laws) for factor in random):
        cells = [(law, [part for part in random if law.owns(part)]) for law in laws if isinstance(law, Cells)]
        bounds = [limit[0] for limit in moving]
        yield Sum(Mul(*fixed, *(law.anywhere(parts, bounds) for law, parts in cells)), *term.limits)
        return
    for factor in weighted:
        found = f"the weight {factor} on a random index"
        raise DerivationError(found, "weights that do not depend on the index", "make it part of the random array")
    for count, names in _coincidences(moving):
        product = Mul(*(factor.xreplace(names) for factor in random))
        parts = list(Mul.make_args(product))
        value = Mul(count, *fixed, *(law.mean([part for part in parts if law.owns(part)]) for law in laws))
        yield Sum(value, *staying) if staying else value


def _is_random(factor: Expr, laws: Sequence[Law]) -> bool:
    """Say whether a law owns the factor; an expectation, or a power of one, is a number."""
    return not isinstance(factor.as_base_exp()[0], Expectation) and any(law.owns(factor) for law in laws)


def _coincidences(limits: Sequence[Limit]) -> Iterator[tuple[Expr, dict[Expr, Expr]]]:
    """Yield (number of index choices, renaming to one representative a block) for every way to coincide."""
    axes: dict[tuple[Expr, Expr], list[Symbol]] = {}
    for bound, low, high in limits:
        axes.setdefault((low, high), []).append(bound)
    for choice in itertools.product(*(list(multiset_partitions(bounds)) for bounds in axes.values())):
        count: Expr = Integer(1)
        names: dict[Expr, Expr] = {}
        for (low, high), blocks in zip(axes, choice, strict=True):
            count *= sp.ff(high - low + 1, len(blocks))
            names |= {bound: block[0] for block in blocks for bound in block}
        yield count, names


def _require_entry(cell: Expr, power: Expr) -> None:
    if not isinstance(cell, Indexed) or not (power.is_Integer and power > 0):
        found = f"the random factor {cell**power}"
        raise DerivationError(found, "a product of entries of arrays", "expand it, or define it as an array of its own")


def _components(factors: Sequence[Expr]) -> list[list[Expr]]:
    """Split factors into groups that share no index: their latents are independent."""
    groups: list[tuple[set[Expr], list[Expr]]] = []
    for factor in factors:
        slots = {slot for entry in factor.atoms(Indexed) for slot in entry.indices}
        linked = [group for group in groups if group[0] & slots]
        groups = [group for group in groups if not group[0] & slots]
        groups.append((slots.union(*(g[0] for g in linked)), [factor, *(f for g in linked for f in g[1])]))
    return [group[1] for group in groups]


def _named(component: Sequence[Expr]) -> Expr:
    """Return the expectation of a product with its indices renamed in one way: distinct indices, else nothing.

    Indices that occur in different places are told apart by these; the others are tried in every order.
    """
    body = freshen(Mul(*component))
    places: dict[Expr, list[str]] = {}
    for factor in Mul.make_args(body):
        for entry in factor.atoms(Indexed):
            for place, slot in enumerate(entry.indices):
                places.setdefault(slot, []).append(f"{factor.as_base_exp()[1]} {entry.base} {place}")
    alike: dict[tuple[str, ...], list[Expr]] = {}
    for slot in sorted(places, key=sp.default_sort_key):
        alike.setdefault(tuple(sorted(places[slot])), []).append(slot)
    groups = [alike[key] for key in sorted(alike)]
    names = [canonical_index(9, place) for place in range(len(places))]
    orders = (itertools.chain(*choice) for choice in itertools.product(*map(itertools.permutations, groups)))
    forms = (body.xreplace(dict(zip(order, names, strict=True))) for order in orders)
    return Expectation(min(forms, key=sp.default_sort_key))
