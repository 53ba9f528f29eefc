"""The first claims: every printed step in float64, at random points, at two and three units."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Symbol

from tests.proofs.evaluator import World, relative_gap
from tests.proofs.oracle import argument, falsified, require
from tests.proofs.outcomes import draw_outcomes, latent_outcomes

CLAIMS = (
    "gradient.factorizes",
    "closure.gd",
    "width.lln",
    "limit.quadrature",
    "sampling.variance",
    "transfer.duplication",
    "mlp.zero-shot",
    "weights.exchangeable-axes",
)
LATENT_AXES = {"mu": "1", "a": "1", "phi": "1", "D": "11", "m": "21", "c": "2", "psi": "2"}


def world_of(claim: str, seed: int, size: int) -> World:
    """Return a world whose widths are `size` (2 or 3) and whose free indices lie inside every axis."""
    slots = dict.fromkeys(("i", "r", "t", "b", "c", "e", "u", "y", "j'", "rank"), 1)
    slots |= dict.fromkeys(("j", "x", "s", "g", "i'"), 2)
    slots["k"] = 3 if claim == "width.lln" else 1  # three distinct neurons; elsewhere an output or a neuron above
    widths = ("n", "n_1", "n_2", "n_3", "n^-", "n^+", "N", "d", "K", "T", "D", "F", "H", "d_h", "B", "Q", "axis")
    sizes = dict.fromkeys(widths, size) | {"m": 2, "g": 2}
    if claim == "mlp.zero-shot":
        sizes["n"] = 3  # more than m
    world = World(seed, sizes, slots, counts=frozenset({"C", "C^-", "C^+"}))
    if claim == "sampling.variance":
        world.outcomes = draw_outcomes({"I": True, "J": False, "I'": True}, size, 2)
    if claim == "mlp.zero-shot":
        world.outcomes = draw_outcomes({"J": False, "J'": False, "I": True, "I'": True}, 3, 2)
    if claim == "width.lln":
        deviation = world.scalar(Symbol("s", positive=True)).item()
        world.outcomes = latent_outcomes(LATENT_AXES, ("xi", "zeta"), deviation, seed)
    return world


@pytest.mark.parametrize("claim", CLAIMS)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from((2, 3)))
@settings(max_examples=6)
def test_every_step_holds_in_float64_at_random_points(claim: str, seed: int, size: int) -> None:
    """The printed relations, with sums as loops, derivatives by autograd and expectations by enumeration."""
    for checked in argument(claim).checked:
        require(claim, checked, *relative_gap(checked, world_of(claim, seed, size)))


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_oracle_sees_a_wrong_relation(claim: str) -> None:
    """A wrong right-hand side is refuted at every step: the oracle is not vacuous."""
    for checked in falsified(argument(claim)):
        gap, scale = relative_gap(checked, world_of(claim, 1, 3))
        assert abs(gap) > 1e-3 * scale, f"step {checked.number} of {claim}"
