"""Places on a flat axis that stands for nested ones: offsets counted from 0, and division with remainder.

A mixed-radix place such as (h 3 + p) d + c is undone by divisions: quotient and remainder are unique when the
remainder is at least 0 and less than the divisor. Each offset brings its size with it, size = offset + 1 + rest with
rest >= 0, so that both bounds are seen from the assumptions on the symbols.
"""

from dataclasses import dataclass

from sympy import Expr, Integer, Symbol

from proofs.chain import Chain


@dataclass(frozen=True)
class Offset:
    """A place on one axis, counted from 0, and the number of places after it."""

    place: Symbol
    rest: Symbol

    @classmethod
    def named(cls, name: str) -> "Offset":
        """Return the offset with this letter: name_0, followed by name' places."""
        place, rest = (Symbol(f"{name}{mark}", integer=True, nonnegative=True) for mark in ("_0", "'"))
        return cls(place, rest)

    @property
    def size(self) -> Expr:
        """Return the length of the axis."""
        return self.place + 1 + self.rest


def division(chain: Chain, sentence: str, place: Expr, divisor: Expr, quotient: Expr) -> None:
    """Add that `place` divided by `divisor` leaves a remainder between 0 and divisor - 1 beside `quotient`."""
    remainder = place - divisor * quotient
    chain.order(f"{sentence} the remainder is not negative", Integer(0), remainder)
    chain.order("and less than the divisor.", remainder, divisor - 1)
