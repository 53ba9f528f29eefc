"""Arrays, sampling, fluctuations, time: every printed step in float64, at random points, at two and three units."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Expr, Limit

from proofs.chain import Checked
from proofs.notation import Expectation
from tests.proofs.oracle import argument, falsified, require
from tests.proofs.spaces import gap
from tests.proofs.statistical_worlds import WORLDS


def steps(claim: str) -> list[Checked]:
    """Return the steps that numbers can decide: an expectation at infinite width has its own test."""
    return [checked for checked in argument(claim).checked if not _infinite(checked.relation)]


def _infinite(relation: Expr) -> bool:
    return any(limit.has(Expectation) for limit in relation.atoms(Limit))


@pytest.mark.parametrize("claim", WORLDS)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from((2, 3)))
@settings(max_examples=2)
def test_every_step_holds_in_float64_at_random_points(claim: str, seed: int, size: int) -> None:
    """Sums are loops, derivatives autograd, expectations sums over every outcome."""
    world = WORLDS[claim](seed, size)
    for checked in steps(claim):
        require(claim, checked, *gap(checked, world), limits=1e-5)


@pytest.mark.parametrize("claim", WORLDS)
def test_the_oracle_sees_a_wrong_relation(claim: str) -> None:
    """A wrong right-hand side is refuted at every step: the oracle is not vacuous."""
    world = WORLDS[claim](1, 3)
    for checked in falsified(argument(claim)):
        if not _infinite(checked.relation):
            error, scale = gap(checked, world)
            assert abs(error) > 1e-3 * scale, f"step {checked.number} of {claim}"
