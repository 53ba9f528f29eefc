"""Sums over axes of symbolic width: gradients, one canonical form, expansion at concrete widths.

What SymPy 1.14 gets wrong and how it is met here:

* A derivative of a sum with respect to an entry whose index is also the bound one captures it: every bound index is
  renamed to a new symbol before anything is differentiated or substituted (`freshen`).
* A Kronecker delta without a range stalls or brings Piecewise conditions: `gradient` gives each delta the range of
  the sum that binds it, and `canonical` collapses a delta only inside that range. A free index lies inside its axis.
* Equal sums whose bound indices have other names compare unequal: `canonical` multiplies sums out and renames the
  bound indices in one way, so that the difference of equal expressions is the number zero.
"""

import itertools
from collections.abc import Iterator, Mapping
from functools import cache

import sympy as sp
from sympy import Add, Dummy, Expr, Function, Indexed, Integer, KroneckerDelta, Lambda, Mul, Pow, Sum, Symbol, Tuple

from proofs.notation import Expectation, Loss, LossSlope
from proofs.terms import Limit, Term, freshen, is_scalar, settled


def gradient(expr: Expr, target: Expr) -> Expr:
    """Return the derivative of `expr` with respect to one entry of an array (or a symbol).

    The bound indices are renamed first, and every delta that the derivative brings carries the range of the sum
    that binds its index; `canonical` collapses them.
    """
    return _ranged(freshen(expr).diff(target), {})


def _ranged(expr: Expr, ranges: Mapping[Symbol, tuple[Expr, Expr]]) -> Expr:
    if isinstance(expr, KroneckerDelta):
        span = next((ranges[slot] for slot in expr.args[:2] if slot in ranges), None)
        return expr if span is None else KroneckerDelta(expr.args[0], expr.args[1], span)
    if isinstance(expr, Indexed) or not expr.args:
        return expr
    if isinstance(expr, Sum):
        inner = dict(ranges) | {bound: (low, high) for bound, low, high in expr.limits}
        return Sum(_ranged(expr.function, inner), *expr.limits)
    return expr.func(*(_ranged(part, ranges) for part in expr.args))


def at_widths(expr: Expr, sizes: Mapping[Symbol, int]) -> Expr:
    """Write every sum out at concrete widths: no sum and no bound index is left (the oracle of `canonical`)."""
    return _written_out(expr, {size: Integer(value) for size, value in sizes.items()})


def _written_out(expr: Expr, sizes: dict[Symbol, Expr]) -> Expr:
    if isinstance(expr, Indexed) or not expr.args:
        return expr.xreplace(sizes)
    if isinstance(expr, Sum):
        *inner, (bound, low, high) = expr.limits
        body = Sum(expr.function, *inner) if inner else expr.function
        span = range(int(low.xreplace(sizes)), int(high.xreplace(sizes)) + 1)
        return Add(*(_written_out(freshen(body).xreplace({bound: Integer(value)}), sizes) for value in span))
    return expr.func(*(_written_out(part, sizes) for part in expr.args))


# --- one name for each bound index -----------------------------------------------------------------------------------


@cache
def canonical_index(depth: int, position: int) -> Dummy:
    """Return the canonical bound index at a nesting depth; a Dummy, so that no user symbol can equal it."""
    return Dummy(f"i_{depth}{position}", integer=True)


def canonical(expr: Expr, depth: int = 0) -> Expr:
    """Return the one form that all rewritings of a sum share: multiplied out, collapsed, canonically renamed."""
    return Add(*(_canonical_term(term, depth) for term in settled(expr)))


def _canonical_term(term: Term, depth: int) -> Expr:
    bound = {limit[0] for limit in term.limits}
    factors = [part for factor in term.factors for part in _split_power(factor, bound)]
    outside = [factor for factor in factors if not factor.free_symbols & bound]
    inside = [factor for factor in factors if factor.free_symbols & bound]
    kept = Mul(*(canonical_parts(factor, depth + 1) for factor in outside))
    if not term.limits:
        return kept
    forms = [_renamed(inside, order, depth) for order in _orders(term.limits)]
    return kept * (forms[0] if len(forms) == 1 else min(forms, key=sp.default_sort_key))


def _split_power(factor: Expr, bound: set[Symbol]) -> list[Expr]:
    """Split b^(T - t) into b^T b^(-t) where t is summed, so that b^T can leave the sum."""
    if isinstance(factor, Pow) and isinstance(factor.exp, Add) and factor.exp.free_symbols & bound:
        return [factor.base**part for part in factor.exp.args]
    return [factor]


def _renamed(factors: list[Expr], limits: tuple[Limit, ...], depth: int) -> Expr:
    names: dict[Expr, Expr] = {limit[0]: canonical_index(depth, place) for place, limit in enumerate(limits)}
    body = Mul(*(canonical_parts(factor.xreplace(names), depth + 1) for factor in factors))
    return Sum(body, *(tuple(part.xreplace(names) for part in limit) for limit in limits))


def _orders(limits: tuple[Limit, ...]) -> Iterator[tuple[Limit, ...]]:
    """Yield the orders of the limits that a renaming may choose: equal ranges permute, other ranges are sorted."""
    bound = {limit[0]: Symbol("_") for limit in limits}

    def shape(limit: Limit) -> tuple[bool, str]:
        return (
            not any(part.free_symbols & set(bound) for part in limit[1:]),
            str([p.xreplace(bound) for p in limit[1:]]),
        )

    groups = [tuple(group) for _, group in itertools.groupby(sorted(limits, key=shape), key=shape)]
    for choice in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield tuple(itertools.chain.from_iterable(choice))


def canonical_parts(expr: Expr, depth: int) -> Expr:
    """Return an unsummed factor with canonical arguments: what stands inside functions, powers and families."""
    if isinstance(expr, KroneckerDelta):
        return KroneckerDelta(*expr.args[:2])  # the range has done its work: what is left is a plain number 0 or 1
    if isinstance(expr, Indexed | Symbol | Tuple) or not expr.args or is_scalar(expr):
        return expr
    if isinstance(expr, Lambda):
        names = {slot: canonical_index(depth, place) for place, slot in enumerate(expr.signature)}
        return Lambda(tuple(names.values()), canonical(expr.expr.xreplace(names), depth + 1))
    if isinstance(expr, Pow) and expr.exp.is_Integer and not isinstance(expr.base, Add | Mul | Sum):
        return canonical_parts(expr.base, depth) ** expr.exp  # the same names as in a product of equal factors
    if isinstance(expr, Loss | LossSlope | Function | Pow):
        return expr.func(*(part if part.is_Number else _argument(part, depth) for part in expr.args))
    return expr


def _argument(expr: Expr, depth: int) -> Expr:
    return canonical_parts(expr, depth) if isinstance(expr, Lambda) else canonical(expr, depth)


# --- zero or not -----------------------------------------------------------------------------------------------------


def difference(left: Expr, right: Expr) -> Expr:
    """Return left - right in canonical form: the number zero exactly when the algebra here shows them equal."""
    masks: dict[Expr, Dummy] = {}
    gap = sp.expand(_masked(canonical(left - right), masks))
    if gap != 0:
        gap = sp.cancel(sp.together(gap))
    if gap != 0:
        gap = sp.simplify(gap.rewrite(sp.frac))  # floor(y) = y - frac(y)
    return gap.xreplace({mask: original for original, mask in masks.items()})


def _masked(expr: Expr, masks: dict[Expr, Dummy]) -> Expr:
    """Replace everything that is not a rational expression by a symbol, the same one for equal parts."""
    if isinstance(expr, Sum | Indexed | Loss | LossSlope | Expectation | KroneckerDelta) or _opaque(expr):
        return masks.setdefault(expr, Dummy(f"part{len(masks)}"))
    return expr.func(*(_masked(part, masks) for part in expr.args)) if expr.args else expr


def _opaque(expr: Expr) -> bool:
    return isinstance(expr, Function) and expr.has(Indexed, Sum)
