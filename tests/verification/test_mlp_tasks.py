"""Designs and growth on real tasks: their parts, and all of it on synthesised data sets."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats

from rctheory.dynamics import train
from rctheory.measures import Rule
from rctheory.suite.claims import load_suite
from rctheory.suite.experiment import Context, Tier
from tests.helpers import stream
from tests.verification import test_cifar10, test_fashion
from verification import cifar10, fashion, growth_lab, mlp_designs, tasks
from verification.growth_lab import move
from verification.mlp_designs import compensated, draw_rules, shrink
from verification.mlp_growth import interval
from verification.random_networks import random_data, random_network

NAMES = (*mlp_designs.BLIND, *mlp_designs.SEEING, mlp_designs.COMPENSATION)


@pytest.fixture(scope="module")
def source() -> mlp_designs._Source:
    """Return a small source on the digits."""
    return mlp_designs._source(tasks.DIGITS, tasks.line, 32, 0, torch.device("cpu"))


@pytest.mark.parametrize("name", NAMES)
def test_all_units_are_the_source_and_half_of_them_are_a_network(source: mlp_designs._Source, name: str) -> None:
    outputs = source.network.outputs(source.x)
    half = shrink(source.network, draw_rules(source, name, 16, stream(0)))
    assert half.widths[1:-1] == (16, 16)
    assert 0 < float((half.outputs(source.x) - outputs).norm()) < 2 * float(outputs.norm())
    if name not in mlp_designs.WITH_REPLACEMENT:
        whole = shrink(source.network, draw_rules(source, name, 32, stream(0)))
        torch.testing.assert_close(whole.outputs(source.x), outputs, rtol=1e-3, atol=1e-3)


def test_compensation_brings_outputs_back_on_its_inputs(source: mlp_designs._Source) -> None:
    rules = draw_rules(source, "without_replacement", 16, stream(1))
    small, x = shrink(source.network, rules), source.calibration
    fitted = compensated(source.network, small, rules, x)
    wanted = source.network.outputs(x)
    before, after = (float((net.outputs(x) - wanted).norm()) for net in (small, fitted))
    assert after < before / 2
    torch.testing.assert_close(fitted.weights[0], small.weights[0])


def test_the_first_order_is_the_derivative(source: mlp_designs._Source) -> None:
    n = source.width
    rules = []
    for layer in range(2):
        step = torch.randn(n, generator=stream(layer), dtype=torch.float64)
        rules.append(Rule(n, torch.arange(n), 1 / n + 1e-4 * (step - step.mean()) / n))
    network = replace(source.network, weights=tuple(w.double() for w in source.network.weights))
    network = replace(network, masses=tuple(p.double() for p in network.masses))
    x = source.x.double()
    change = (shrink(network, rules).outputs(x) - network.outputs(x)).flatten()
    linear = mlp_designs._linear(source, rules)
    torch.testing.assert_close(linear, change, rtol=0, atol=2e-3 * float(change.abs().max()), check_dtype=False)


def test_shuffled_features_belong_to_other_units(source: mlp_designs._Source) -> None:
    plain, wrong = (draw_rules(source, "herding", 8, stream(0), shuffled=shuffled) for shuffled in (False, True))
    assert plain[0].indices.tolist() != wrong[0].indices.tolist()


@pytest.mark.parametrize("width", [12, 15])
def test_grown_networks_keep_function_and_trajectory(width: int) -> None:
    network = random_network([3, 6, 6, 2], stream(0), uniform=True)
    x, y = random_data(3, 2, 5, stream(1))
    grown = move(network, width, 0)
    assert grown.widths == (3, width, width, 2)
    assert float(grown.masses[1].sum()) == pytest.approx(1)
    torch.testing.assert_close(grown.outputs(x), network.outputs(x))
    ends = [train(net, x, y, step=0.1, steps=20).outputs(x) for net in (network, grown)]
    torch.testing.assert_close(ends[1], ends[0])
    assert float((move(network, width, 0, tied=False).outputs(x) - network.outputs(x)).norm()) > 1e-2


def test_shrunk_networks_are_sub_networks() -> None:
    network = random_network([3, 6, 6, 2], stream(0), uniform=True)
    small = move(network, 4, 0)
    assert small.widths == (3, 4, 4, 2)
    assert set(small.weights[1].flatten().tolist()) <= set(network.weights[1].flatten().tolist())


def test_the_interval_is_students() -> None:
    values = [0.3, 0.5, 0.1, 0.4]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx((expected.low, expected.high))


def test_batches_do_not_depend_on_where_a_run_starts() -> None:
    whole = list(tasks.batches(100, 0, 0, 5))
    assert [b.tolist() for b in tasks.batches(100, 0, 3, 2)] == [b.tolist() for b in whole[3:]]


@pytest.fixture(params=["fashion-mnist", "cifar-10"])
def synthesised(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write a data set, make everything small, and drop what is cached in the process before and after."""
    if request.param == "fashion-mnist":
        monkeypatch.setenv(fashion.VARIABLE, str(tmp_path))
        test_fashion.write_data_set(tmp_path)
    else:
        monkeypatch.setenv(cifar10.VARIABLE, str(tmp_path / "data"))
        monkeypatch.setattr(cifar10, "PER_BATCH", test_cifar10.SIZE)
        test_cifar10.archive(tmp_path / "data", test_cifar10.all_files())
    monkeypatch.setattr(mlp_designs, "WIDTHS", dict.fromkeys(Tier, 32))
    monkeypatch.setattr(mlp_designs, "DRAWS", dict.fromkeys(Tier, (2, 2)))
    monkeypatch.setattr(mlp_designs, "STEPS", 3)
    monkeypatch.setitem(growth_lab.PLANS, Tier.SMOKE, growth_lab.Plan((4, 8), (4, 6, 8), 3, 2, 32, steps=8, more=2))
    caches = (fashion.fashion, cifar10.cifar10, tasks.trained, mlp_designs._source, growth_lab.trained)
    for one in caches:
        one.cache_clear()
    yield request.param
    for one in caches:
        one.cache_clear()


@pytest.mark.parametrize("area", ["mlp.designs", "mlp.growth"])
def test_the_experiments_run_on_synthesised_data(synthesised: str, area: str) -> None:
    claim = load_suite().claims[f"{area}-{synthesised}"]
    assert claim.on_request
    for link in (claim.experiment, *claim.controls):
        experiment = link.resolve("test")
        experiment.requires()
        assert set(experiment.run(Context(tier=Tier.SMOKE)).quantities) == set(claim.gates)
