"""Rotary position: a pair of coordinates turned by an angle, and what two turned pairs add to a score."""

from sympy import Expr, cos, sin

Pair = tuple[Expr, Expr]


def turned(pair: Pair, angle: Expr) -> Pair:
    """Return both members of a pair, turned by an angle."""
    first, second = pair
    return first * cos(angle) - second * sin(angle), first * sin(angle) + second * cos(angle)


def product(left: Pair, right: Pair) -> Expr:
    """Return the product of two pairs of coordinates: what they add to a score."""
    return left[0] * right[0] + left[1] * right[1]
