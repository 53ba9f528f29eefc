"""The claims that come with the library: every link resolves, every experiment is guarded."""

import pytest

from rctheory.suite.claims import load_suite
from rctheory.suite.experiment import Experiment

CLAIMS = load_suite().claims


@pytest.mark.parametrize("name", CLAIMS)
def test_every_link_resolves(name):
    claim = CLAIMS[name]
    for where, link in claim.links(tests=True).items():
        target = link.resolve(where)
        if ": proof" in where or ": tests" in where:
            assert callable(target), where
        else:
            assert isinstance(target, Experiment), where


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_has_tests_and_every_experiment_controls(name):
    claim = CLAIMS[name]
    assert claim.tests
    assert claim.assumptions
    assert claim.experiment is None or claim.controls


@pytest.mark.parametrize("name", [name for name, claim in CLAIMS.items() if claim.proof])
def test_every_proof_names_planted_errors(name):
    proof = CLAIMS[name].proof
    plants = type(proof)(proof.module, "PLANTS").resolve(name)
    assert plants
    assert all(isinstance(sentence, str) and sentence for sentence in plants.values())


def test_every_test_link_is_a_test():
    for claim in CLAIMS.values():
        assert all(link.attribute.startswith("test_") for link in claim.tests)
