"""A derivation as a chain of relations, each verified when it is added."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sympy as sp
from sympy import Expr, Indexed, KroneckerDelta, Rational, Symbol

from proofs.algebra import canonical, difference, gradient
from proofs.moments import Law, expectation
from proofs.notation import Expectation, Partial
from proofs.terms import freshen
from rctheory.errors import DerivationError, RegistryError, UsageError
from rctheory.suite.derivation import Derivation, Scope, Step

REGISTRY = Path(__file__).with_name("claims.toml")
AGREE = "unfolded, collapsed and renamed, the two sides are the same sum"
_LONG = 240


def registered_rate(claim: str, gate: str = "slope") -> Rational:
    """Return the rate that the registry states for a claim, as an exact fraction.

    Raises:
        RegistryError: there is no such claim, gate or rate.
    """
    table = tomllib.loads(REGISTRY.read_text(encoding="utf-8"))
    try:
        return Rational(table[claim]["gates"][gate]["rate"])
    except KeyError as error:
        found = f"no key {error} on the way to the rate of {claim}.gates.{gate}"
        raise RegistryError(found, "a claim with a rate in claims.toml", "correct the claim or the proof") from error


Definition = tuple[tuple[Expr, ...], frozenset[Expr], Expr]
"""Indices of the defined entry, those of them that are placeholders, and the meaning."""


@dataclass(frozen=True)
class Checked:
    """A relation that was verified, with the definitions of its moment: a numerical oracle evaluates it again."""

    number: int
    relation: Any
    definitions: Mapping[Expr, tuple[Definition, ...]]


@dataclass
class Chain:
    """Builds a Derivation; a step that does not hold never gets into it.

    A definition gives a symbol or an entry of an array its meaning; every relation is unfolded to undefined symbols,
    its derivatives and expectations are carried out, and the two sides are compared in canonical form. What is
    printed is what is checked.

    Args:
        claim: id of the claim.
        scope: how far the derivation reaches.
        assumptions: what it supposes.
        laws: of the random arrays, where there are any.
        planted: name of the planted error, or None.
        plants: the planted errors that this derivation knows.
    """

    claim: str
    scope: Scope
    assumptions: tuple[str, ...]
    planted: str | None = None
    plants: Mapping[str, str] = field(default_factory=dict)
    laws: Sequence[Law] = ()
    steps: list[Step] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    definitions: dict[Expr, list[Definition]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a planted error that nobody planted: it could never be caught."""
        if self.planted is not None and self.planted not in self.plants:
            known = ", ".join(sorted(self.plants)) or "none"
            found = f"planted error {self.planted!r} of {self.claim}"
            raise UsageError(found, f"one of {known}", "choose one of these")

    def define(self, sentence: str, left: Expr, right: Expr, *, fixed: Sequence[Expr] = (), why: str = "") -> Expr:
        """Give `left`, a symbol or an entry of an array, the meaning `right`; its indices are placeholders.

        A later definition of the same pattern takes the place of an earlier one.

        Args:
            sentence: what is defined or supposed.
            left: symbol or entry.
            right: its meaning; may use earlier definitions.
            fixed: indices of `left` that are no placeholders: the definition holds for these only.
            why: "definition" when left out, else e.g. "hypothesis of the induction".

        Raises:
            UsageError: the array has definitions with other literal indices, so that it would depend on the order
                of unfolding which of them an entry with a symbolic index gets.
        """
        head, slots = (left.base, tuple(left.indices)) if isinstance(left, Indexed) else (left, ())
        placeholders = frozenset(slot for slot in slots if isinstance(slot, Symbol) and slot not in fixed)
        known = self.definitions.setdefault(head, [])
        if any(_literal(pattern, free) != _literal(slots, placeholders) for pattern, free, _ in known):
            found = f"a definition of {left} beside one of {head}[{', '.join(map(str, known[0][0]))}]"
            raise UsageError(found, "one kind of pattern for each array", "define another array")
        known.insert(0, (slots, placeholders, sp.sympify(right)))
        self.steps.append(Step(sentence, sp.Eq(left, right, evaluate=False), why or "definition"))
        return left

    def step(self, sentence: str, left: Expr, right: Expr, *, method: str = AGREE) -> None:
        """Add left = right.

        Raises:
            DerivationError: their difference does not vanish.
        """
        left, right = sp.sympify(left), sp.sympify(right)
        gap = difference(self.unfold(left), self.unfold(right))
        if gap != 0:
            raise self._failure(sentence, left, right, f"the difference {_short(gap)}", "a difference of 0")
        self._add(sentence, sp.Eq(left, right, evaluate=False), method)

    def differ(self, sentence: str, left: Expr, right: Expr) -> None:
        """Add left != right, for explicit numbers.

        Raises:
            DerivationError: they are equal, or the difference is no number.
        """
        gap = difference(self.unfold(left), self.unfold(right))
        if not (gap.is_number and gap.is_zero is False):
            raise self._failure(sentence, left, right, f"the difference {_short(gap)}", "a number other than 0")
        self._add(sentence, sp.Ne(left, right, evaluate=False), f"explicit counterexample, difference {gap}")

    def order(self, sentence: str, small: Expr, large: Expr) -> None:
        """Add small <= large.

        Raises:
            DerivationError: the difference is not seen to be nonnegative.
        """
        small, large = sp.sympify(small), sp.sympify(large)
        gap = difference(self.unfold(large), self.unfold(small))
        if not nonnegative(gap):
            raise self._failure(sentence, small, large, f"the difference {_short(gap)}", "a difference of at least 0")
        self._add(sentence, sp.Le(small, large, evaluate=False), f"the difference {_short(gap)} is not negative")

    def unfold(self, expr: Expr) -> Expr:
        """Replace what is defined by its meaning and carry out derivatives, expectations and limits."""
        meaning = self.meaning(expr)
        if meaning is not None:
            return self.unfold(meaning)
        if isinstance(expr, Partial):
            inner = self.unfold(expr.args[0])
            if inner.has(KroneckerDelta):  # SymPy cannot differentiate a ranged delta: collapse those of a first one
                inner = canonical(inner)
            return gradient(inner, expr.args[1])
        if isinstance(expr, Expectation):
            return expectation(self.unfold(expr.args[0]), self.laws)
        if not expr.args or isinstance(expr, Indexed):
            return expr
        rebuilt = expr.func(*(self.unfold(part) for part in expr.args))
        if hasattr(rebuilt, "carried_out"):
            return rebuilt.carried_out()
        return rebuilt.doit() if isinstance(rebuilt, sp.Limit | sp.Integral) else rebuilt

    def meaning(self, expr: Expr) -> Expr | None:
        """Return what one symbol or entry is defined to be, with fresh bound indices; None when it is not defined."""
        head, slots = (expr.base, tuple(expr.indices)) if isinstance(expr, Indexed) else (expr, ())
        for pattern, placeholders, body in self.definitions.get(head, ()):
            if all(a in placeholders or a == b for a, b in zip(pattern, slots, strict=True)):
                return freshen(body).xreplace(dict(zip(pattern, slots, strict=True)))
        return None

    def derivation(self) -> Derivation:
        """Return the checked steps."""
        return Derivation(self.claim, self.scope, self.assumptions, tuple(self.steps))

    def _add(self, sentence: str, relation: Any, method: str) -> None:
        self.steps.append(Step(sentence, relation, method))
        known = {head: tuple(definitions) for head, definitions in self.definitions.items()}
        self.checked.append(Checked(len(self.steps), relation, known))

    def _failure(self, sentence: str, left: Expr, right: Expr, found: str, expected: str) -> DerivationError:
        where = f"step {len(self.steps) + 1} of {self.claim} ({sentence})"
        found = f"{where}: {found} of {_short(left)} and {_short(right)}"
        return DerivationError(found, expected, "correct the formula, or the definitions that it unfolds to")


@dataclass(frozen=True)
class Argument:
    """The argument for a claim, written once, run with or without a planted error.

    Args:
        write: adds the definitions and steps to a chain; it may ask `chain.planted`.
        claim: id of the claim.
        scope: how far the derivation reaches.
        assumptions: what it supposes.
        plants: the planted errors that it knows.
        laws: of the random arrays, where there are any.
    """

    write: Callable[[Chain], None]
    claim: str
    scope: Scope
    assumptions: tuple[str, ...]
    plants: Mapping[str, str]
    laws: Sequence[Law] = ()

    def __call__(self, planted: str | None = None) -> Chain:
        """Return the chain of checked steps; `planted` names an error to plant.

        Raises:
            DerivationError: a step does not hold, as for every planted error.
        """
        chain = Chain(self.claim, self.scope, self.assumptions, planted, self.plants, self.laws)
        self.write(chain)
        return chain

    def derive(self, planted: str | None = None) -> Derivation:
        """Return the checked derivation.

        Raises:
            DerivationError: a step does not hold, as for every planted error.
        """
        return self(planted).derivation()


def argument(
    claim: str, scope: Scope, assumptions: tuple[str, ...], plants: Mapping[str, str], laws: Sequence[Law] = ()
) -> Callable[[Callable[[Chain], None]], Argument]:
    """Make an `Argument` of the function that writes it."""
    return lambda write: Argument(write, claim, scope, assumptions, plants, laws)


def _literal(pattern: tuple[Expr, ...], placeholders: frozenset[Expr]) -> tuple[int, ...]:
    """Return the places of a pattern that are no placeholders (and its length)."""
    return (len(pattern), *(place for place, slot in enumerate(pattern) if slot not in placeholders))


def nonnegative(expr: Expr) -> bool:
    """Say whether `expr` is seen to be at least 0: by its assumptions, or as a sum or product of such parts."""
    if expr.is_nonnegative:
        return True
    if isinstance(expr, sp.Sum):
        return nonnegative(expr.function)
    return isinstance(expr, sp.Add | sp.Mul) and all(nonnegative(part) for part in expr.args)


def _short(expr: Expr) -> str:
    text = str(sp.sstr(expr))
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
