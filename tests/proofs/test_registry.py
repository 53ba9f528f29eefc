"""Every derivation of the registry: readable, and broken by each of its planted errors."""

import pytest
from latex2mathml.converter import convert

from rctheory.errors import DerivationError, UsageError
from rctheory.suite.derivation import Derivation, Scope
from tests.proofs.oracle import REGISTERED, argument, module

PLANTS = [(claim, name) for claim in REGISTERED for name in module(claim).PLANTS]
INSTANCES = {"limit.quadrature"}  # Gauss rules are shown for the numbers of nodes that the steps name


@pytest.mark.parametrize("claim", REGISTERED)
def test_derive_returns_readable_steps_of_its_claim(claim: str) -> None:
    derivation = argument(claim).derivation()
    assert isinstance(derivation, Derivation)
    assert derivation.claim == claim == module(claim).derive.__self__.claim
    assert derivation.scope == (Scope.INSTANCE if claim in INSTANCES else Scope.DERIVED)
    assert derivation.assumptions
    for step in derivation.steps:
        assert step.sentence.strip()
        assert step.text().strip()
        assert not any(part in step.text() for part in ("Dummy", "\n", "_i_"))
        assert convert(step.latex()).startswith("<math")


@pytest.mark.parametrize(("claim", "name"), PLANTS)
def test_a_planted_error_breaks_a_step(claim: str, name: str) -> None:
    with pytest.raises(DerivationError, match=rf"step \d+ of {claim}"):
        module(claim).derive(planted=name)


@pytest.mark.parametrize("claim", REGISTERED)
def test_an_unknown_plant_is_refused(claim: str) -> None:
    with pytest.raises(UsageError, match="no such error"):
        module(claim).derive(planted="no such error")


def test_every_derivation_has_plants() -> None:
    assert {claim for claim, _ in PLANTS} == set(REGISTERED)
