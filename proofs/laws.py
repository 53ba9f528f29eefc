"""Joint laws that the proofs of sampling and fluctuations share, and the exponents that the registry states."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import sympy as sp
from sympy import Dummy, Expr, Indexed, IndexedBase, Integer, Mul, Rational
from sympy.utilities.iterables import multiset_partitions

from proofs.chain import REGISTRY
from proofs.moments import Draws, Neurons
from rctheory.errors import RegistryError


def stated_exponents(claim: str, base: str = "n") -> tuple[Rational, ...]:
    r"""Return the exponents of `base` in the statement of a claim, in order: -3/2 for `n^{-3/2}`.

    Raises:
        RegistryError: there is no such claim, or no exponent in its statement.
    """
    table = tomllib.loads(REGISTRY.read_text(encoding="utf-8")).get(claim, {})
    found = re.findall(rf"(?<![a-z]){re.escape(base)}\^\{{(-?\d+(?:/\d+)?)\}}", str(table.get("statement", "")))
    if not found:
        text = f"no power {base}^{{...}} in the statement of {claim}"
        raise RegistryError(text, "the exponent that the proof derives", "state it in claims.toml")
    return tuple(Rational(text) for text in found)


@dataclass(frozen=True)
class Crossed:
    """Independent draws of several axes of one array of fixed numbers."""

    draws: Sequence[Draws]

    def owns(self, factor: Expr) -> bool:
        """Say whether the factor depends on one of the draws."""
        return any(draw.owns(factor) for draw in self.draws)

    def mean(self, factors: Sequence[Expr]) -> Expr:
        """Return the sum over the units of every axis, one axis after the other."""
        return reduce(lambda value, draw: draw.mean([value]), self.draws, Mul(*factors))


@dataclass(frozen=True)
class Sampled:
    """Units drawn from random neurons: a random draw of a random array.

    Args:
        draws: the design of each draw, independent of one another and of the neurons.
        neurons: the law of the population.
    """

    draws: Sequence[Draws]
    neurons: Neurons

    def owns(self, factor: Expr) -> bool:
        """Say whether the factor holds an entry of a random array; what is drawn is one."""
        return self.neurons.owns(factor)

    def mean(self, factors: Sequence[Expr]) -> Expr:
        """Return the sum over all ways in which the drawn units coincide of probability times expectation."""
        cases = [(Integer(1), Mul(*factors))]
        for draw in self.draws:
            cases = [(a * b, other) for a, body in cases for b, other in _coincidences(body, draw)]
        return sp.Add(*(chance * self._mean(body) for chance, body in cases))

    def _mean(self, body: Expr) -> Expr:
        return self.neurons.mean([] if body == 1 else list(Mul.make_args(body)))


def _coincidences(body: Expr, draw: Draws) -> list[tuple[Expr, Expr]]:
    """Return (probability, product in distinct units) for every way in which the draws in `body` coincide."""
    drawn = sorted((entry for entry in body.atoms(Indexed) if entry.base == draw.draw), key=sp.default_sort_key)
    if not drawn:
        return [(Integer(1), body)]
    size, cases = draw.population, []
    for blocks in multiset_partitions(drawn):
        if not draw.replacement and len(blocks) < len(drawn):
            continue  # without replacement distinct draws hit distinct units
        outcomes = size ** len(drawn) if draw.replacement else sp.ff(size, len(drawn))
        names = {
            entry: unit for block, unit in ((block, Dummy("j", integer=True)) for block in blocks) for entry in block
        }
        cases.append((sp.ff(size, len(blocks)) / outcomes, body.xreplace(names)))
    return cases


OtherNeuron = Callable[[], Expr]
"""A source of indices of neurons that are none of the others."""


def other_neuron() -> Dummy:
    """Return the index of a neuron that is none of the others."""
    return Dummy("u", integer=True)


@dataclass(frozen=True)
class Conditioned(Neurons):
    """Neurons, with functions of one neuron that are integrals over other, independent neurons.

    Args:
        integrated: for an array with one index, the integrand as a function of its neuron and of a source of others.
        higher: for a residual array, its moments of order 3, 4, ...
    """

    integrated: Mapping[IndexedBase, Callable[[Expr, OtherNeuron], Expr]] = field(default_factory=dict)
    higher: Mapping[IndexedBase, tuple[Expr, ...]] = field(default_factory=dict)

    def owns(self, factor: Expr) -> bool:
        """Say whether the factor holds an entry of one of the arrays."""
        return super().owns(factor) or any(entry.base in self.integrated for entry in factor.atoms(Indexed))

    def mean(self, factors: Sequence[Expr]) -> Expr:
        """Return the expectation, each integral replaced by its integrand at a neuron of its own (Fubini)."""
        body = Integer(1)
        for factor in factors:
            cell, power = factor.as_base_exp()
            if isinstance(cell, Indexed) and cell.base in self.integrated:
                integrand = self.integrated[cell.base]
                body *= Mul(*(integrand(cell.indices[0], other_neuron) for _ in range(int(power))))
            else:
                body *= factor
        products = sp.Add.make_args(sp.expand(body))
        return sp.Add(*(self._product(product) for product in products))

    def _cell_moment(self, cell: Indexed, power: int) -> Expr:
        known = self.higher.get(cell.base, ())
        return known[power - 3] if 3 <= power < 3 + len(known) else super()._cell_moment(cell, power)

    def _product(self, product: Expr) -> Expr:
        random = [factor for factor in Mul.make_args(product) if super(Conditioned, self).owns(factor)]
        fixed = [factor for factor in Mul.make_args(product) if factor not in random]
        return Mul(*fixed, super().mean(random))
