"""Every experiment is green at the smoke tier, every planted error red, and nothing depends on the order of runs."""

import pytest
import torch

from rctheory.statistics.gates import judge
from rctheory.statistics.verdicts import Verdict, worst
from rctheory.suite.claims import load_suite
from rctheory.suite.experiment import Context, Experiment, Tier
from verification import digits
from verification.random_networks import largest

CLAIMS = {name: claim for name, claim in load_suite().claims.items() if not claim.on_request}
CONTROLS = [(name, link) for name, claim in CLAIMS.items() for link in claim.controls]
SMOKE = Context(seed=0, tier=Tier.SMOKE)


def _verdict(name: str, experiment: Experiment) -> Verdict:
    findings = judge(name, CLAIMS[name].gates, experiment.run(SMOKE).quantities)
    return worst(finding.verdict for finding in findings)


@pytest.mark.parametrize("name", [name for name, claim in CLAIMS.items() if claim.experiment])
def test_experiment_is_supported(name: str) -> None:
    assert _verdict(name, CLAIMS[name].experiment.resolve(name)) is Verdict.SUPPORTED


@pytest.mark.parametrize(("name", "link"), CONTROLS, ids=[str(link) for _, link in CONTROLS])
def test_planted_error_is_refuted(name: str, link: object) -> None:
    assert _verdict(name, link.resolve(name)) is Verdict.REFUTED


def test_the_same_context_gives_the_same_measurement() -> None:
    for name in ("gradient.factorizes", "closure.gd", "transfer.duplication", "limit.quadrature"):
        experiment = CLAIMS[name].experiment.resolve(name)
        assert experiment.run(SMOKE).quantities == experiment.run(SMOKE).quantities


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["width.lln", "mlp.zero-shot", "width.factored"])
def test_experiment_is_supported_on_cuda(name: str) -> None:
    context = Context(seed=0, tier=Tier.SMOKE, device=torch.device("cuda"))
    quantities = CLAIMS[name].experiment.resolve(name).run(context).quantities
    findings = judge(name, CLAIMS[name].gates, quantities)
    assert worst(finding.verdict for finding in findings) is Verdict.SUPPORTED


def test_largest_keeps_nan_wherever_it_stands() -> None:
    nan = float("nan")
    for errors in ([nan, 1.0], [1.0, nan], [0.0, nan, 2.0], []):
        assert not largest(errors) <= 1e300
    assert largest([1.0, 3.0, 2.0]) == 3.0


def test_held_out_digits_are_not_trained_on() -> None:
    training, held_out = digits.digits()
    assert len(training.x) + len(held_out.x) == 1797
    seen = {tuple(row) for row in training.x.tolist()}
    assert not any(tuple(row) in seen for row in held_out.x.tolist())
    assert training.x[:, :64].mean(dim=0).abs().max() < 1e-5
