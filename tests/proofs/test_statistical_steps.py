"""Arrays, sampling, fluctuations, time: every printed step in float64, at random points, at two and three units."""

import importlib
import tomllib
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latex2mathml.converter import convert
from sympy import Eq, Expr, Le, Limit, Rational

from proofs.chain import REGISTRY, Chain, Checked
from proofs.notation import Expectation
from rctheory.errors import DerivationError
from rctheory.suite.derivation import Scope
from tests.proofs.spaces import gap
from tests.proofs.statistical_worlds import WORLDS

REGISTERED = tomllib.loads(REGISTRY.read_text(encoding="utf-8"))
MODULES = {claim: importlib.import_module(REGISTERED[claim]["proof"].partition(":")[0]) for claim in WORLDS}
PLANTS = [(claim, name) for claim, module in MODULES.items() for name in module.PLANTS]


@cache
def argument(claim: str) -> Chain:
    """Return the argument of a claim, with its definitions; made once."""
    return MODULES[claim].argue()


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
        error, scale = gap(checked, world)
        if isinstance(checked.relation, Eq):
            tolerance = 1e-5 if checked.relation.has(Limit) else 1e-10
            holds = abs(error) <= tolerance * scale
        else:
            holds = error <= 1e-10 * scale if isinstance(checked.relation, Le) else abs(error) > 1e-3
        assert holds, f"step {checked.number} of {claim}: {checked.relation}, gap {error}"


@pytest.mark.parametrize("claim", WORLDS)
def test_the_oracle_sees_a_wrong_relation(claim: str) -> None:
    """Twice the right-hand side, plus 17/10, is refuted at every step: the oracle is not vacuous."""
    world = WORLDS[claim](1, 3)
    for checked in steps(claim):
        if isinstance(checked.relation, Eq):
            wrong = Eq(checked.relation.lhs, 2 * checked.relation.rhs + Rational(17, 10), evaluate=False)
            error, scale = gap(replace(checked, relation=wrong), world)
            assert abs(error) > 1e-3 * scale, f"step {checked.number} of {claim}"


@pytest.mark.parametrize("claim", WORLDS)
def test_every_step_prints(claim: str) -> None:
    derivation = argument(claim).derivation()
    assert (derivation.claim, derivation.scope) == (claim, Scope.DERIVED)
    for step in derivation.steps:
        assert step.sentence.strip()
        assert not any(part in step.text() for part in ("Dummy", "\n", "_i_"))
        assert convert(step.latex()).startswith("<math")


@pytest.mark.parametrize(("claim", "name"), PLANTS)
def test_a_planted_error_breaks_a_step(claim: str, name: str) -> None:
    with pytest.raises(DerivationError, match=rf"step \d+ of {claim}"):
        MODULES[claim].derive(planted=name)
