"""The chain refuses what does not hold, and reads its rates from the registry."""

from fractions import Fraction

import pytest
from sympy import Integer, Rational, Symbol, floor, nan, oo

from proofs.chain import Chain, nonnegative, registered_rate
from proofs.notation import Activation, Partial, array, index, total, width
from rctheory.errors import DerivationError, RegistryError, UsageError
from rctheory.suite.derivation import Scope

N, J, K, T = width("n"), index("j"), index("k"), width("T")
A, H, W = array("a"), array("h"), array("W")


def chain(planted: str | None = None) -> Chain:
    return Chain("width.lln", Scope.DERIVED, ("none",), planted, {"known": "a known error"})


def test_a_step_that_fails_names_itself() -> None:
    argument = chain()
    argument.step("A sum counts.", total(Integer(1), (J, N)), N)
    with pytest.raises(DerivationError) as caught:
        argument.step("A sum is doubled.", total(A[J], (J, N)), 2 * total(A[K], (K, N)))
    message = str(caught.value)
    assert "step 2 of width.lln (A sum is doubled.)" in message
    assert "difference -Sum(a[" in message
    assert "\n" not in message
    assert len(argument.derivation().steps) == 1


@pytest.mark.parametrize("value", [nan, oo, Symbol("y")])
def test_nothing_but_zero_is_zero(value: object) -> None:
    with pytest.raises(DerivationError):
        chain().step("Not zero.", value, 0)
    with pytest.raises(DerivationError):
        chain().order("Not seen to be nonnegative.", 0, Symbol("y", real=True) if value is not nan else nan)


def test_a_definition_is_unfolded_without_capture() -> None:
    """h_j = sum_k W_jk a_k, read at j = k inside a sum over k."""
    argument = chain()
    argument.define("Reads.", H[J], total(W[J, K] * A[K], (K, N)))
    argument.step("Nested.", total(H[K], (K, N)), total(W[J, K] * A[K], (J, N), (K, N)))
    argument.step("Swapped.", H[K] * H[J], total(W[K, J] * A[J], (J, N)) * total(W[J, K] * A[K], (K, N)))
    argument.step("Slope.", Partial(Activation(H[J]), W[J, K]), Activation(H[J], 1) * A[K])
    with pytest.raises(DerivationError):
        argument.step("Captured.", H[K], total(W[K, K] * A[K], (K, N)))


def test_definitions_for_fixed_indices() -> None:
    argument = chain()
    argument.define("At T.", W[T, J], A[J], fixed=(T,))
    argument.step("Elsewhere it is unknown.", W[T, K] - W[0, K], A[K] - W[0, K])
    with pytest.raises(UsageError, match="one kind of pattern"):
        argument.define("Everywhere.", W[K, J], A[J])


def test_order_and_difference() -> None:
    argument, level = chain(), Symbol("alpha", positive=True)
    argument.order("A floor is below.", floor(level * N) / N, level)
    argument.differ("Numbers differ.", Rational(1, 3), Rational(1, 2))
    with pytest.raises(DerivationError):
        argument.order("A floor is not above.", level, floor(level * N) / N)
    with pytest.raises(DerivationError):
        argument.differ("Equal numbers.", Integer(2), Integer(2))
    with pytest.raises(DerivationError):
        argument.differ("No number.", A[J], Integer(2))
    assert not nonnegative(A[J] ** 2 - 1)


def test_rates_come_from_the_registry() -> None:
    assert registered_rate("width.lln") == Fraction(-1, 2) == registered_rate("mlp.zero-shot")
    with pytest.raises(RegistryError, match="no key"):
        registered_rate("no.such-claim")
    with pytest.raises(RegistryError, match="no key"):
        registered_rate("closure.gd")


def test_an_unknown_plant_could_never_be_caught() -> None:
    assert chain("known").planted == "known"
    with pytest.raises(UsageError, match="one of known"):
        chain("unknown")
