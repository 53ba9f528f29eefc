"""Closures, relabelling, linear networks and balance: every printed step in float64, at random points."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard
from sympy import IndexedBase, Integer, Symbol, expand

from proofs.algebra import at_widths, gradient
from proofs.chain import Chain
from proofs.notation import Partial
from proofs.terms import freshen
from rctheory.suite.derivation import Scope
from tests.proofs.evaluator import World, relative_gap
from tests.proofs.oracle import argument, falsified, require
from tests.proofs.outcomes import Outcomes, draw_outcomes

CLAIMS = (
    "symmetry.relabelling",
    "closure.momentum",
    "closure.weight-decay",
    "closure.adam",
    "closure.rmsprop",
    "closure.sign",
    "closure.clipping",
    "closure.muon",
    "closure.langevin",
    "closure.sgd",
    "closure.continuity-equation",
    "closure.linear-gram",
    "linear.universality",
    "invariant.balance",
)
WIDTHS = ("N", "n", "n^-", "n^+", "E", "K", "R", "R^-", "R^+", "d", "Omega")


def noise_outcomes(variance: float) -> Outcomes:
    """Return outcomes of an initial residual and of three steps of noise on 2 x 2 weights.

    The claim speaks of first and second moments alone: columns of a Hadamard matrix are signs that are centred and
    uncorrelated, exactly, over its 32 rows.
    """
    signs = torch.from_numpy(hadamard(32)[:, 1:17]).double()
    arrays = {"xi": variance**0.5 * signs[:, :4].reshape(-1, 2, 2), "zeta": signs[:, 4:].reshape(-1, 3, 2, 2)}
    chances = torch.full((len(signs),), 1 / len(signs), dtype=torch.float64)
    return Outcomes({IndexedBase(name, real=True): values for name, values in arrays.items()}, chances)


def world_of(claim: str, seed: int, size: int) -> World:
    """Return a world whose widths are `size` (2 or 3), one of them smaller, and whose free indices lie inside."""
    size = 2 if claim == "closure.langevin" else size  # the outcomes of the noise are those of 2 x 2 weights
    slots = dict.fromkeys(("i", "j'", "t", "k", "u", "w", "y", "c", "s", "r", "b", "e"), 1)
    slots |= dict.fromkeys(("j", "i'", "x", "v"), 2) | {"T": size}
    sizes = dict.fromkeys(WIDTHS, size) | {"n^-": 2, "m": 2}
    world = World(seed, sizes, slots, counts=frozenset({"B"} if claim == "closure.sgd" else ()))
    if claim == "closure.sgd":
        world.outcomes = draw_outcomes({"J": False}, size, 2)
    if claim == "closure.langevin":
        world.outcomes = noise_outcomes(world.scalar(Symbol("v", positive=True)).item())
    return world


@pytest.mark.parametrize("claim", CLAIMS)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from((2, 3)))
@settings(max_examples=3)
def test_every_step_holds_in_float64_at_random_points(claim: str, seed: int, size: int) -> None:
    """The printed relations, with sums as loops, derivatives by autograd and expectations by enumeration."""
    for checked in argument(claim).checked:
        require(claim, checked, *relative_gap(checked, world_of(claim, seed, size)))


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_oracle_sees_a_wrong_relation(claim: str) -> None:
    """A wrong right-hand side is refuted at every step: the oracle is not vacuous."""
    for checked in falsified(argument(claim)):
        gap, scale = relative_gap(checked, world_of(claim, 1, 3))
        assert abs(gap) > 1e-6 * scale, f"step {checked.number} of {claim}"


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("claim", ["closure.continuity-equation", "closure.linear-gram", "invariant.balance"])
def test_differentiating_and_setting_the_widths_commute(claim: str, size: int) -> None:
    """Every derivative of the claim: the sum differentiated and then written out, and the other way round."""
    sizes = {Symbol(name, integer=True, positive=True): size for name in WIDTHS}
    free = {Symbol(name, integer=True): Integer(value) for value, names in ((1, "iukx"), (2, "jv")) for name in names}
    found = 0
    for checked in argument(claim).checked:
        chain = Chain(claim, Scope.DERIVED, (), definitions={key: list(v) for key, v in checked.definitions.items()})
        for partial in checked.relation.atoms(Partial):
            quantity, target = freshen(chain.unfold(partial.args[0])).xreplace(free), partial.args[1].xreplace(free)
            after = at_widths(gradient(quantity, target), sizes)
            before = at_widths(quantity, sizes).diff(target)
            assert expand(after - before) == 0, f"{partial} in step {checked.number}"
            found += before != 0
    assert found
