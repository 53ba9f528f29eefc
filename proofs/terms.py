"""Sums over axes as products under multiple sums: renaming, multiplying out, collapsing.

* A substitution or derivative under a sum captures its bound index: `freshen` renames every bound index first.
* A Kronecker delta collapses only inside the range that it declares. A free index lies inside its axis.
* A sum over an axis does not see a relabelling of it, when every use of the index is relabelled.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sympy import Add, Dummy, Expr, Function, Indexed, KroneckerDelta, Lambda, Mul, Pow, Sum, Symbol

from proofs.notation import Expectation, Loss, LossSlope, Relabelling

Limit = tuple[Symbol, Expr, Expr]


@dataclass(frozen=True)
class Term:
    """One product under one multiple sum; the limits stand innermost first."""

    factors: tuple[Expr, ...]
    limits: tuple[Limit, ...]

    def substituted(self, names: Mapping[Expr, Expr]) -> "Term":
        """Return the term with `names` substituted in factors and bounds; the limits' own indices stay."""
        limits = tuple((bound, low.xreplace(names), high.xreplace(names)) for bound, low, high in self.limits)
        return Term(tuple(factor.xreplace(names) for factor in self.factors), limits)


def freshen(expr: Expr) -> Expr:
    """Rename every bound index of `expr` to a new symbol, so that no substitution can capture it."""
    if isinstance(expr, Indexed) or not expr.args:
        return expr
    if isinstance(expr, Sum):
        names = {limit[0]: Dummy(limit[0].name, integer=True) for limit in expr.limits}
        limits = [tuple(freshen(part).xreplace(names) for part in limit) for limit in expr.limits]
        return Sum(freshen(expr.function).xreplace(names), *limits)
    if isinstance(expr, Lambda):
        names = {slot: Dummy(slot.name, integer=True) for slot in expr.signature}
        return Lambda(tuple(names.values()), freshen(expr.expr).xreplace(names))
    return expr.func(*(freshen(part) for part in expr.args))


# --- multiplying out -------------------------------------------------------------------------------------------------


def terms(expr: Expr) -> list[Term]:
    """Multiply `expr` out to products under multiple sums; bound indices must be distinct (`freshen` first)."""
    if isinstance(expr, Add):
        return [term for part in expr.args for term in terms(part)]
    if isinstance(expr, Mul):
        return [_product(parts) for parts in itertools.product(*(terms(part) for part in expr.args))]
    if isinstance(expr, Sum):
        limits = tuple(tuple(limit) for limit in expr.limits)
        return [Term(term.factors, term.limits + limits) for term in terms(expr.function)]
    if isinstance(expr, Pow) and _multiplies_out(expr):
        copies = [terms(freshen(expr.base)) for _ in range(int(expr.exp))]
        return [_product(parts) for parts in itertools.product(*copies)]
    if isinstance(expr, KroneckerDelta) and expr.args[0] == expr.args[1]:
        return [Term((), ())]
    return [Term((expr,), ())]


def _product(parts: Iterable[Term]) -> Term:
    chosen = list(parts)
    return Term(tuple(f for term in chosen for f in term.factors), tuple(x for term in chosen for x in term.limits))


def _multiplies_out(power: Pow) -> bool:
    whole = power.exp.is_Integer and power.exp > 1
    return bool(whole and isinstance(power.base, Add | Sum | Mul) and not is_scalar(power.base))


def is_scalar(expr: Expr) -> bool:
    """Say whether `expr` is a rational expression of plain symbols: widths, rates, moments, no arrays or sums."""
    return not expr.has(Indexed, Sum, Function, Loss, LossSlope, Expectation, KroneckerDelta)


# --- collapsing ------------------------------------------------------------------------------------------------------


def settled(expr: Expr) -> list[Term]:
    """Multiply out, collapse deltas, undo relabellings of summed indices and count indices that nothing uses."""
    return [_settle(part) for term in terms(freshen(expr)) for part in _peeled(term)]


def _peeled(term: Term) -> list[Term]:
    """Split the last steps off a sum over time, 0 <= t <= T + c with c >= 0, down to t <= T - 1; drop an empty sum."""
    for place, (bound, low, high) in enumerate(term.limits):
        beyond, _ = high.as_coeff_Add()
        if high - low == -1:
            return []
        if low != 0 or not beyond.is_Integer or beyond < 0:
            continue
        before, after = term.limits[:place], term.limits[place + 1 :]
        shorter = Term(term.factors, (*before, (bound, low, high - 1), *after))
        last = Term(term.factors, (*before, *after)).substituted({bound: high})
        return _peeled(shorter) + _peeled(last)
    return [term]


def _settle(term: Term) -> Term:
    while True:
        factors = Mul.make_args(Mul(*term.factors))
        term = Term(tuple(factors), term.limits)
        for limit in term.limits:
            changed = _collapse(term, limit) or _reindex(term, limit) or _count(term, limit)
            if changed is not None:
                term = changed
                break
        else:
            return term


def _collapse(term: Term, limit: Limit) -> Term | None:
    """Use a delta that ties the bound index of `limit` to something else in the same range."""
    bound, low, high = limit
    others = tuple(entry for entry in term.limits if entry != limit)
    ranges = {entry[0]: entry[1:] for entry in others}
    for position, factor in enumerate(term.factors):
        if not isinstance(factor, KroneckerDelta) or bound not in factor.args[:2]:
            continue
        other = factor.args[1] if factor.args[0] == bound else factor.args[0]
        span = (low, high)
        declared = factor.delta_range or span
        if other.has(bound) or tuple(declared) != span or ranges.get(other, span) != span:
            continue  # outside the declared range the delta may be zero: leave it
        rest = term.factors[:position] + term.factors[position + 1 :]
        return Term(rest, others).substituted({bound: other})
    return None


def _reindex(term: Term, limit: Limit) -> Term | None:
    """Replace pi(u) by u when the summed index u occurs in no other way: pi is a bijection of the axis."""
    images = {image for factor in term.factors for image in factor.atoms(Relabelling) if image.args[0] == limit[0]}
    if len(images) != 1:
        return None
    image, marker = images.pop(), Dummy("image")
    if limit[1:] != (1, image.args[1]):
        return None  # a bijection of its axis, not of a part of it
    marked = [factor.xreplace({image: marker}) for factor in term.factors]
    if any(factor.has(limit[0]) for factor in marked):
        return None
    return Term(tuple(factor.xreplace({marker: limit[0]}) for factor in marked), term.limits)


def _count(term: Term, limit: Limit) -> Term | None:
    """Replace the sum over an index that nothing uses by its number of values."""
    others = tuple(entry for entry in term.limits if entry != limit)
    used = [*term.factors, *(bound for entry in others for bound in entry[1:])]
    if any(part.has(limit[0]) for part in used):
        return None
    return Term((*term.factors, limit[2] - limit[1] + 1), others)
