"""Picard's iteration: its quadrature, its fixed point, its first iterates, refusals."""

from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.dynamics import velocity
from rctheory.dynamics.activations import LOSSES, SQUARED
from rctheory.dynamics.flow import flow
from rctheory.dynamics.picard import integration, picard
from rctheory.errors import NumericsError, UsageError
from tests.helpers import SEEDS, networks, stream
from verification.random_networks import random_data, random_network


@given(st.integers(1, 24), st.data())
def test_polynomials_are_integrated_exactly(points: int, data: st.DataObject) -> None:
    power = data.draw(st.integers(0, points))
    times, integral = integration(points)
    assert float(times[0]) == 0.0
    assert float(times[-1]) == 1.0
    torch.testing.assert_close(integral @ times**power, times ** (power + 1) / (power + 1), rtol=0, atol=1e-13)


@given(networks(max_width=4), st.sampled_from(sorted(LOSSES)), SEEDS)
def test_the_fixed_point_is_the_flow_at_every_time(widths: list[int], loss_name: str, seed: int) -> None:
    generator, loss = stream(seed), LOSSES[loss_name]
    network = random_network(widths, generator)
    x, y = random_data(widths[0], widths[-1], 3, generator)
    y = y.softmax(dim=-1) if loss_name == "cross-entropy" else y
    path = next(islice(picard(network, x, y, horizon=0.3, points=16, loss=loss), 30, None))
    for place in (4, 16):
        want = flow(network, x, y, horizon=float(path.times[place]), steps=64, loss=loss)
        for a, b in zip(path.network.weights, want.weights, strict=True):
            torch.testing.assert_close(a[place], b, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(a, b[-1]) for a, b in zip(path.end().weights, path.network.weights, strict=True))


def test_the_first_iterate_is_a_straight_line_and_distance_weighs_by_mass() -> None:
    network = random_network([2, 5, 4, 1], stream(0))
    x, y = random_data(2, 1, 3, stream(1))
    still, line = islice(picard(network, x, y, horizon=0.7, points=6), 2)
    slopes = velocity(network.signatures(x, y, SQUARED))
    for w, v, path in zip(network.weights, slopes, line.network.weights, strict=True):
        torch.testing.assert_close(path, w + line.times[:, None, None] * v, rtol=1e-12, atol=1e-13)
    norms = [
        0.7 * float((v.square() * q[:, None] * p).sum().sqrt())
        for v, (p, q) in zip(slopes, pairwise(network.masses), strict=True)
    ]
    assert line.distance(still) == pytest.approx(max(norms), rel=1e-12)


def test_half_the_way_has_the_same_fixed_point_at_a_geometric_rate() -> None:
    network = random_network([2, 5, 4, 1], stream(0))
    x, y = random_data(2, 1, 3, stream(1))
    full = next(islice(picard(network, x, y, horizon=0.3, points=12), 20, None))
    damped = list(islice(picard(network, x, y, horizon=0.3, points=12, relaxation=0.5), 48))
    for a, b in zip(full.end().weights, damped[-1].end().weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    differences = [a.distance(b) for a, b in pairwise(damped)]
    assert 0.4 < differences[20] / differences[19] < 0.7


@pytest.mark.parametrize("bad", [{"horizon": 0.0}, {"points": 0}, {"relaxation": 0.0}, {"relaxation": float("nan")}])
def test_senseless_arguments_are_refused(bad: dict[str, float]) -> None:
    network = random_network([1, 2, 1], stream(0))
    x, y = random_data(1, 1, 2, stream(1))
    with pytest.raises(UsageError, match="expected horizon > 0"):
        next(picard(network, x, y, **({"horizon": 1.0} | bad)))
    batch = replace(network, weights=tuple(w[None] for w in network.weights))
    with pytest.raises(UsageError, match="3 dimensions"):
        next(picard(batch, x, y, horizon=1.0))


def test_iterates_that_overflow_are_named() -> None:
    network = random_network([3, 8, 2], stream(0))
    x, y = random_data(3, 2, 5, stream(1))
    with pytest.raises(NumericsError, match="of a Picard iterate on"):
        next(islice(picard(network, x, y, horizon=1e6), 200, None))
