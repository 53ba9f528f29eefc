"""Moments by counting coincidences, against closed forms and their own edge cases."""

import pytest
from sympy import Eq, Integer, Symbol, ff

from proofs.algebra import at_widths, difference
from proofs.chain import Checked
from proofs.moments import Draws, Neurons, expectation
from proofs.notation import Activation, Expectation, array, index, total, width
from rctheory.errors import DerivationError
from tests.proofs.evaluator import World, relative_gap
from tests.proofs.outcomes import latent_outcomes

N, M = width("n"), width("m")
J, K = index("j"), index("k")
A, XI, Y, DRAW = array("a"), array("xi"), array("y"), array("I")
S2 = Symbol("s", positive=True) ** 2
LAW = Neurons(frozenset({A}), {XI: S2})


def raw(power: int):
    """Return E[a_j^power] in the normal form of the law."""
    return expectation(A[J] ** power, [LAW])


def test_third_moment_of_a_sum_counts_all_partitions() -> None:
    """E (sum a)^3 = n m3 + 3 n (n-1) m2 m1 + n (n-1) (n-2) m1^3."""
    expected = N * raw(3) + 3 * N * (N - 1) * raw(2) * raw(1) + ff(N, 3) * raw(1) ** 3
    assert difference(expectation(total(A[J], (J, N)) ** 3, [LAW]), expected) == 0


def test_residual_cells_are_centred_and_independent() -> None:
    square = total(XI[J, K], (J, N), (K, M)) ** 2
    assert difference(expectation(square, [LAW]), S2 * N * M) == 0
    assert expectation(XI[J, K] * A[J], [LAW]) == 0


def test_latents_of_distinct_neurons_factorise() -> None:
    assert difference(expectation(A[J] * A[K], [LAW]), raw(1) ** 2) == 0
    assert difference(expectation(A[J] * A[J], [LAW]), raw(1) ** 2) != 0


@pytest.mark.parametrize("replacement", [True, False])
def test_three_draws_hit_triples(replacement: bool) -> None:
    """Without replacement three draws never coincide: with y = 1 on one unit only, their product has mean 0."""
    law = Draws(DRAW, Integer(4), replacement)
    triple = at_widths(expectation(Y[DRAW[1]] * Y[DRAW[2]] * Y[DRAW[3]], [law]), {})
    value = triple.subs({Y[1]: 1, Y[2]: 0, Y[3]: 0, Y[4]: 0})
    assert value == (Integer(1) / 64 if replacement else 0)
    everywhere = triple.subs({Y[unit]: 1 for unit in range(1, 5)})
    assert everywhere == 1


M2 = array("m")
NEURONS = Neurons(frozenset({A, M2}), {XI: S2})
EXPRESSIONS = (
    M2[J, K] * A[K],
    M2[J, K] ** 2 * A[K] * A[K],
    total(M2[J, K] * A[K], (K, N)) ** 2,
    total((M2[J, K] + XI[J, K]) * A[K], (J, M), (K, N)) ** 2,
    total(M2[J, K] * A[K], (J, M), (K, N)) * total(A[K], (K, N)),
)


@pytest.mark.parametrize("place", range(len(EXPRESSIONS)))
@pytest.mark.parametrize("size", [2, 3])
def test_counting_is_the_sum_over_every_outcome(place: int, size: int) -> None:
    """The normal form, evaluated by enumeration, against the expression itself, evaluated by enumeration."""
    slots = {"j": 1, "k": 2, "i_90": 1, "i_91": 2, "i_92": 3, "i_93": 3}
    world = World(place, {"n": size, "m": 2}, slots)
    deviation = world.scalar(Symbol("s", positive=True)).item()
    world.outcomes = latent_outcomes({"a": "1", "m": "21"}, ("xi",), deviation, place)
    expr = EXPRESSIONS[place]
    counted = Eq(Expectation(expr), expectation(expr, [NEURONS]), evaluate=False)
    gap, scale = relative_gap(Checked(1, counted, {}), world)
    assert abs(gap) <= 1e-12 * scale


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(DerivationError, match="product of entries"):
        expectation(Activation(total(A[J], (J, N))), [LAW])
    with pytest.raises(DerivationError, match="weights that do not depend"):
        expectation(total(Y[J] * A[J], (J, N)), [LAW])
    with pytest.raises(DerivationError, match="order 3"):
        expectation(XI[J, K] ** 3, [LAW])


def test_an_expectation_is_a_number() -> None:
    centred = A[J] - Expectation(A[J])
    assert difference(expectation(centred.xreplace({Expectation(A[J]): raw(1)}), [LAW]), Integer(0)) == 0
    assert difference(expectation(centred.xreplace({Expectation(A[J]): raw(1)}) ** 2, [LAW]), raw(2) - raw(1) ** 2) == 0
