"""Run a derivation, and the errors planted in it, which must break it.

A proof is a function `derive()` that returns a `Derivation` and raises `DerivationError` at the first step that does
not hold. Its module may name planted errors, `PLANTS: dict[name, sentence]`: `derive(planted=name)` must raise.
"""

import importlib
import time
from collections.abc import Callable, Mapping
from typing import cast

from rctheory.errors import DerivationError, RcError, RegistryError
from rctheory.suite.claim import Claim
from rctheory.suite.derivation import Derivation
from rctheory.suite.links import Link
from rctheory.suite.record import ControlRecord, ControlStatus, ProofRecord, ProofStatus, StepRecord


def prove(claim: Claim) -> ProofRecord:
    """Derive the claim; a step that does not hold makes the proof `failed`, with the message of that step.

    Raises:
        RegistryError: the link dangles, or returns something else than a derivation of this claim.
    """
    if claim.proof is None:
        return ProofRecord()
    start = time.perf_counter()
    try:
        derivation = _derive(claim)()
    except DerivationError as error:
        return ProofRecord(ProofStatus.FAILED, message=str(error), seconds=time.perf_counter() - start)
    _check(claim, derivation)
    steps = tuple(StepRecord(step.sentence, step.text(), step.latex(), step.method) for step in derivation.steps)
    status = ProofStatus(derivation.scope.value)
    return ProofRecord(status, tuple(derivation.assumptions), steps, seconds=time.perf_counter() - start)


def run_plants(claim: Claim) -> tuple[ControlRecord, ...]:
    """Plant every error that the module of the proof names; each must raise `DerivationError`."""
    if claim.proof is None:
        return ()
    plants = _plants(claim)
    return tuple(_run_plant(claim, claim.proof, name, sentence) for name, sentence in plants.items())


def _run_plant(claim: Claim, link: Link, name: str, sentence: str) -> ControlRecord:
    start = time.perf_counter()
    status, message = ControlStatus.GREEN, "every step still holds"
    try:
        _derive(claim)(planted=name)
    except DerivationError as error:
        status, message = ControlStatus.CAUGHT, str(error)
    except Exception as error:  # another error is no refutation
        status = ControlStatus.ERROR
        message = str(error) if isinstance(error, RcError) else f"{type(error).__name__}: {error}"
    identity = f"{link.module}:{link.attribute}({name})"
    return ControlRecord(identity, sentence, status, gate="proof", message=message, seconds=time.perf_counter() - start)


def _derive(claim: Claim) -> Callable[..., Derivation]:
    link = cast("Link", claim.proof)
    target = link.resolve(f"claim {claim.id}: proof")
    if not callable(target):
        raise RegistryError(f"claim {claim.id}: proof = {link} is not callable", "a function", "correct the link")
    return cast("Callable[..., Derivation]", target)


def _plants(claim: Claim) -> Mapping[str, str]:
    """Return the planted errors that the module of the proof names; none when it names none."""
    module = cast("Link", claim.proof).module
    plants = getattr(importlib.import_module(module), "PLANTS", {})
    if not isinstance(plants, Mapping):
        found = f"{module}:PLANTS is a {type(plants).__name__}"
        raise RegistryError(found, "a dict of names to sentences", "correct it")
    return plants


def _check(claim: Claim, derivation: object) -> None:
    """Refuse what is no derivation of this claim: an empty one proves nothing."""
    found = None
    if not isinstance(derivation, Derivation):
        found = f"the proof returned a {type(derivation).__name__}"
    elif derivation.claim != claim.id:
        found = f"the proof derives {derivation.claim!r}"
    elif not derivation.steps:
        found = "the proof has no step"
    if found:
        raise RegistryError(f"claim {claim.id}: {found}", "a Derivation of this claim with steps", "correct derive()")
