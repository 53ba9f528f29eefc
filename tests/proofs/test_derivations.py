"""Every derivation: its steps hold in float64 at random points, and its planted errors break it."""

import importlib
import time
import tomllib
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latex2mathml.converter import convert
from sympy import Eq, Le, Limit, Symbol

from proofs.chain import REGISTRY, Chain
from rctheory.errors import DerivationError, UsageError
from rctheory.suite.derivation import Derivation, Scope
from tests.proofs.evaluator import World, relative_gap
from tests.proofs.outcomes import draw_outcomes, latent_outcomes

FIRST = (
    "gradient.factorizes",
    "closure.gd",
    "width.lln",
    "limit.quadrature",
    "sampling.variance",
    "transfer.duplication",
    "mlp.zero-shot",
    "weights.exchangeable-axes",
)
REGISTERED = tomllib.loads(REGISTRY.read_text(encoding="utf-8"))
CLAIMS = {claim: REGISTERED[claim]["proof"].partition(":")[0] for claim in FIRST}
PLANTS = [(claim, name) for claim, module in CLAIMS.items() for name in importlib.import_module(module).PLANTS]
LATENT_AXES = {"mu": "1", "a": "1", "phi": "1", "D": "11", "m": "21", "c": "2", "psi": "2"}


@cache
def argument(claim: str) -> Chain:
    """Return the argument of a claim, with its definitions; made once."""
    return importlib.import_module(CLAIMS[claim]).argue()


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
        gap, scale = relative_gap(checked, world_of(claim, seed, size))
        if isinstance(checked.relation, Eq):
            tolerance = 1e-6 if checked.relation.has(Limit) else 1e-10
            holds = abs(gap) <= tolerance * scale
        else:
            holds = gap <= 1e-10 * scale if isinstance(checked.relation, Le) else abs(gap) > 1e-3
        assert holds, f"step {checked.number} of {claim}: {checked.relation}, gap {gap}"


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_oracle_sees_a_wrong_relation(claim: str) -> None:
    """Twice the right-hand side, plus one, is refuted at every step: the oracle is not vacuous."""
    for checked in argument(claim).checked:
        if isinstance(checked.relation, Eq):
            wrong = Eq(checked.relation.lhs, 2 * checked.relation.rhs + 1, evaluate=False)
            gap, scale = relative_gap(replace(checked, relation=wrong), world_of(claim, 1, 3))
            assert abs(gap) > 1e-3 * scale, f"step {checked.number} of {claim}"


@pytest.mark.parametrize("claim", CLAIMS)
def test_derive_returns_the_checked_derivation_of_its_claim(claim: str) -> None:
    derivation = importlib.import_module(CLAIMS[claim]).derive()
    assert isinstance(derivation, Derivation)
    assert derivation.claim == claim
    assert derivation.scope == (Scope.INSTANCE if claim == "limit.quadrature" else Scope.DERIVED)
    assert derivation.assumptions
    for step in derivation.steps:
        assert step.sentence.strip()
        assert any(sign in step.text() for sign in (" = ", " <= ", " != "))
        assert step.latex().strip()
        assert "Dummy" not in step.text()
        assert "\n" not in step.text()


@pytest.mark.parametrize(("claim", "name"), PLANTS)
def test_a_planted_error_breaks_a_step(claim: str, name: str) -> None:
    with pytest.raises(DerivationError, match=rf"step \d+ of {claim}"):
        importlib.import_module(CLAIMS[claim]).derive(planted=name)


@pytest.mark.parametrize("claim", CLAIMS)
def test_an_unknown_plant_is_refused(claim: str) -> None:
    with pytest.raises(UsageError, match="no such error"):
        importlib.import_module(CLAIMS[claim]).derive(planted="no such error")


def test_every_derivation_has_plants() -> None:
    assert {claim for claim, _ in PLANTS} == set(CLAIMS)


def test_all_derivations_take_less_than_twenty_seconds() -> None:
    start = time.process_time()
    for module in CLAIMS.values():
        importlib.import_module(module).derive()
    assert time.process_time() - start < 20


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_formula_converts_to_mathml(claim: str) -> None:
    for step in argument(claim).steps:
        assert convert(step.latex()).startswith("<math")
