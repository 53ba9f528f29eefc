"""The algebra of sums against expansion at concrete widths, where no sum and no bound index is left."""

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Expr, Integer, KroneckerDelta, Sum, Symbol

from proofs.algebra import at_widths, canonical, difference, gradient
from proofs.chain import Chain
from proofs.network import RISK, Network, define_forward, define_risk, network
from proofs.notation import Activation, Relabelling, array, index, total, width
from proofs.terms import freshen
from rctheory.suite.derivation import Scope

N, M = width("n"), width("m")
i, j, k = index("i"), index("j"), index("k")
A, B, W = array("a"), array("b"), array("W")
NAMES = (i, j, k)


@st.composite
def sums(draw: st.DrawFn, depth: int = 2, free: tuple[Symbol, ...] = (i,)) -> Expr:
    """Draw a polynomial of nested sums over an axis of width n; bound names may repeat, free indices are in `free`."""
    kind = draw(st.sampled_from(("leaf", "sum", "product", "add", "activation", "square"))) if depth else "leaf"
    if kind == "leaf":
        slot = draw(st.sampled_from(free))
        return draw(st.sampled_from((A[slot], B[slot], W[slot, draw(st.sampled_from(free))])))
    inner = sums(depth - 1, free)
    if kind == "sum":
        bound = draw(st.sampled_from(NAMES))
        return total(draw(sums(depth - 1, (*free, bound))), (bound, N))
    if kind == "activation":
        return Activation(draw(inner))
    if kind == "square":
        return draw(inner) ** 2
    return draw(inner) * draw(inner) if kind == "product" else draw(inner) + draw(inner)


@given(expr=sums(depth=3), size=st.sampled_from((2, 3)))
@settings(max_examples=40)
def test_canonical_form_keeps_the_value(expr: Expr, size: int) -> None:
    written_out = at_widths(expr, {N: size})
    assert sp.expand(at_widths(canonical(expr), {N: size}) - sp.expand(written_out, deep=True)).equals(0)


@given(expr=sums(depth=3), size=st.sampled_from((2, 3)), slot=st.sampled_from((1, 2)))
@settings(max_examples=40)
def test_gradient_then_widths_is_widths_then_gradient(expr: Expr, size: int, slot: int) -> None:
    """Differentiate, then set n = 2 or 3; or set n, then differentiate: the same. The names i, j, k are all bound."""
    for target, concrete in ((A[i], A[slot]), (W[i, j], W[slot, 1]), (W[j, j], W[slot, slot])):
        values = {i: Integer(slot), j: Integer(concrete.indices[-1])}
        ours = at_widths(canonical(gradient(freshen(expr), target)).xreplace(values), {N: size})
        written_out = at_widths(freshen(expr).xreplace(values), {N: size})
        assert sp.expand(ours - written_out.diff(concrete)).equals(0)


@given(expr=sums(depth=3))
@settings(max_examples=40)
def test_renaming_bound_indices_changes_nothing(expr: Expr) -> None:
    assert difference(freshen(expr), expr) == 0
    assert difference(expr, expr + A[i]) == -A[i]


def test_a_captured_index_is_not_a_gradient() -> None:
    """The derivative of sum_i a_i^2 in a_i is 2 a_i; SymPy's own, which captures the index, is not."""
    square = total(A[i] ** 2, (i, N))
    assert difference(gradient(square, A[i]), 2 * A[i]) == 0
    assert difference(square.diff(A[i]), 2 * A[i]) != 0


def test_equal_sums_with_other_names_and_orders_agree() -> None:
    left = total(A[i] * W[i, j] * B[j], (i, N), (j, M))
    right = total(A[k] * total(W[k, i] * B[i], (i, M)), (k, N))
    assert difference(left, right) == 0
    assert difference(left, total(A[j] * W[i, j] * B[i], (j, N), (i, M))) != 0
    assert difference(left, total(A[i] * W[i, j] * B[j], (i, M), (j, N))) != 0


def test_a_delta_collapses_only_inside_its_range() -> None:
    assert difference(total(KroneckerDelta(i, j) * A[i], (i, N)), A[j]) == 0
    across = total(KroneckerDelta(i, j) * A[i], (i, N), (j, M))
    assert difference(across, total(A[i], (i, N))) != 0
    assert difference(across, total(A[i], (i, M))) != 0


def test_counting_and_dependent_bounds() -> None:
    copies = array("C")
    assert difference(total(Integer(1), (i, N)), N) == 0
    assert difference(total(A[i] / copies[i], (j, copies[i]), (i, N)), total(A[i], (i, N))) == 0
    assert difference(total(A[i], (j, copies[i]), (i, N)), total(A[i], (i, N))) != 0


def test_a_sum_over_time_splits_off_its_last_step() -> None:
    path = Sum(A[i], (i, 0, N - 1))
    assert difference(Sum(A[i], (i, 0, N)), path + A[N]) == 0
    assert difference(Sum(A[i], (i, 0, N + 1)), path + A[N] + A[N + 1]) == 0
    assert difference(Sum(A[i], (i, 0, N)), path) == A[N]
    assert difference(Sum(A[i], (i, 0, -1)), Integer(0)) == 0


def test_a_relabelling_vanishes_only_when_every_use_is_relabelled() -> None:
    image = Relabelling(i, N)
    assert difference(total(A[image] * Activation(B[image]), (i, N)), total(A[i] * Activation(B[i]), (i, N))) == 0
    assert difference(total(A[image] * B[i], (i, N)), total(A[i] * B[i], (i, N))) != 0
    assert difference(A[image], A[i]) != 0
    part = [total(entry, (i, N - 1)) for entry in (A[image], A[i])]
    assert difference(*part) != 0  # a bijection of the axis, not of a part of it


def test_powers_and_roots_of_sums() -> None:
    assert difference(total(A[i], (i, N)) ** 2, total(A[i] * A[j], (i, N), (j, N))) == 0
    assert difference(total(A[i], (i, N)) ** 2, total(A[i] ** 2, (i, N))) != 0
    root = 1 / sp.sqrt(total(A[i] ** 2, (i, N)))
    assert difference(root, 1 / sp.sqrt(total(A[j] ** 2, (j, N)))) == 0
    assert difference(root, 1 / sp.sqrt(total(A[j], (j, N)))) != 0


def _risk(depth: int) -> tuple[Expr, Network]:
    chain, net = Chain("gradient.factorizes", Scope.DERIVED, ()), network(depth)
    define_forward(chain, net)
    define_risk(chain, net)
    return chain.unfold(RISK), net


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("depth", [2, 3])
def test_gradient_of_the_risk_at_concrete_widths(size: int, depth: int) -> None:
    """The nested sums of a network, fully expanded at n = 2 and 3, in every layer."""
    risk, net = _risk(depth)
    sizes = {layer.width: size for layer in net.hidden} | {width("N"): 1, width("d"): 2, width("K"): 2}
    values = {i: Integer(2), j: Integer(1)}
    written_out = at_widths(risk, sizes)
    for weight in (*(layer.weight for layer in net.hidden), net.readout):
        symbolic = at_widths(canonical(gradient(risk, weight[i, j])).xreplace(values), sizes)
        concrete = at_widths(freshen(written_out).diff(weight[2, 1]), sizes)
        assert difference(symbolic, concrete) == 0
        assert difference(symbolic, 2 * concrete) != 0
