"""Distances of empirical laws: axioms, closed forms, invariances, and agreement with SciPy."""

import math
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from rctheory.errors import LawError, NumericsError, RcError, ShapeError
from rctheory.measures import (
    directions,
    signature_law,
    sliced_wasserstein,
    squared_energy,
    squared_mmd,
    wasserstein,
    wasserstein_line,
)
from tests.helpers import SEEDS, stream

Distance = Callable[[Tensor, Tensor], Tensor]


def _sliced(x: Tensor, y: Tensor) -> Tensor:
    return sliced_wasserstein(x, y, directions(16, x.shape[-1], stream(3)))


def _mmd(x: Tensor, y: Tensor) -> Tensor:
    return squared_mmd(x, y, 0.8).clamp_(min=0).sqrt()


def _energy(x: Tensor, y: Tensor) -> Tensor:
    return squared_energy(x, y).clamp_(min=0).sqrt()


DISTANCES = {"wasserstein": wasserstein, "sliced": _sliced, "mmd": _mmd, "energy": _energy}
NAMES = st.sampled_from(sorted(DISTANCES))


def _samples(count: int, n: int, dimension: int, seed: int) -> Tensor:
    return torch.randn(count, n, dimension, generator=stream(seed), dtype=torch.float64)


# A square root turns a rounding error of 1e-15 in the squared distance into 1e-7.
SLACK = 1e-7


@given(NAMES, st.integers(1, 7), st.integers(1, 4), SEEDS)
def test_metric_axioms(name: str, n: int, dimension: int, seed: int) -> None:
    distance, (x, y, z) = DISTANCES[name], _samples(3, n, dimension, seed)
    xy, yz, xz = distance(x, y), distance(y, z), distance(x, z)
    assert float(xy) > 0
    torch.testing.assert_close(xy, distance(y, x))
    assert float(distance(x, x)) <= SLACK
    assert float(xz) <= float(xy + yz) + SLACK


@given(NAMES, st.integers(2, 7), st.integers(1, 4), SEEDS)
def test_order_of_the_points_does_not_matter(name: str, n: int, dimension: int, seed: int) -> None:
    x, y = _samples(2, n, dimension, seed)
    order = torch.randperm(n, generator=stream(seed))
    torch.testing.assert_close(DISTANCES[name](x[order], y), DISTANCES[name](x, y))
    assert float(DISTANCES[name](x, x[order])) <= SLACK


@given(st.sampled_from(["wasserstein", "energy", "mmd"]), st.integers(1, 6), st.integers(2, 4), SEEDS)
def test_distances_are_free_of_the_frame(name: str, n: int, dimension: int, seed: int) -> None:
    x, y = _samples(2, n, dimension, seed)
    frame = torch.linalg.qr(_samples(1, dimension, dimension, seed + 1)[0]).Q
    torch.testing.assert_close(DISTANCES[name](x @ frame + 2, y @ frame + 2), DISTANCES[name](x, y))


@given(NAMES, st.integers(1, 5), st.integers(1, 3), SEEDS)
def test_a_batch_is_its_members(name: str, n: int, dimension: int, seed: int) -> None:
    x, y = _samples(4, n, dimension, seed), _samples(4, n, dimension, seed + 1)
    alone = torch.stack([DISTANCES[name](a, b) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(DISTANCES[name](x, y), alone)


@given(st.integers(1, 9), st.integers(1, 9), SEEDS)
def test_line_agrees_with_scipy_also_for_unequal_sizes_and_ties(n: int, m: int, seed: int) -> None:
    x = torch.randint(4, (n,), generator=stream(seed)).double() / 3
    y = torch.randn(m, generator=stream(seed + 1), dtype=torch.float64).round(decimals=1)
    want = stats.wasserstein_distance(x.numpy(), y.numpy())
    assert math.isclose(float(wasserstein_line(x, y)), want, rel_tol=1e-12, abs_tol=1e-14)
    energy = stats.energy_distance(x.numpy(), y.numpy())
    got = float(squared_energy(x[:, None], y[:, None]))
    assert math.isclose(got, energy**2, rel_tol=1e-9, abs_tol=1e-13)


@given(st.integers(1, 5), st.integers(2, 3), SEEDS)
def test_exact_distance_is_the_best_of_all_matchings(n: int, dimension: int, seed: int) -> None:
    x, y = _samples(2, n, dimension, seed)
    best = min(float((x - y[list(order)]).norm(dim=-1).mean()) for order in permutations(range(n)))
    assert math.isclose(float(wasserstein(x, y)), best, rel_tol=1e-12)


@given(st.integers(2, 12), st.integers(1, 4), SEEDS)
def test_a_translation_costs_its_length(n: int, dimension: int, seed: int) -> None:
    (x,) = _samples(1, n, dimension, seed)
    shift = torch.arange(1.0, dimension + 1, dtype=torch.float64)
    torch.testing.assert_close(wasserstein(x, x + shift), shift.norm())
    slices = directions(64, dimension, stream(seed))
    torch.testing.assert_close(sliced_wasserstein(x, x + shift, slices), (slices @ shift).abs().mean())


@pytest.mark.parametrize("dimension", [1, 3])
def test_gaussians_have_their_closed_form_mmd(dimension: int) -> None:
    # E k(x, y) for x - y ~ N(v, 2 I): (b^2 / (b^2 + 2))^(d/2) exp(-|v|^2 / (2 (b^2 + 2))).
    bandwidth, shift = 1.3, 0.7
    spread = bandwidth**2 + 2
    factor = (bandwidth**2 / spread) ** (dimension / 2)
    want = 2 * factor * (1 - math.exp(-dimension * shift**2 / (2 * spread)))
    x, y = _samples(400, 64, dimension, 1), _samples(400, 64, dimension, 2) + shift
    values = squared_mmd(x, y, bandwidth, unbiased=True)
    assert abs(float(values.mean()) - want) <= 6 * float(values.std()) / 20
    # The V-statistic adds (1 - E k(x, x')) / n for each of the two samples: a bias far beyond that noise.
    bias = float(squared_mmd(x, y, bandwidth).mean()) - want
    assert math.isclose(bias, 2 * (1 - factor) / 64, rel_tol=0.2)


def test_gaussians_on_the_line_have_their_closed_form_w1_and_energy() -> None:
    # Quantiles of N(0, 1) and N(0, s^2): W1 = (s - 1) E|x|; energy^2 = (2 sqrt(2 (1 + s^2)) - 2 - 2 s) / sqrt(pi).
    levels = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    x = torch.special.ndtri(levels)[:, None]
    s = 1.5
    assert math.isclose(float(wasserstein(x, s * x)), (s - 1) * math.sqrt(2 / math.pi), rel_tol=1e-3)
    want = (2 * math.sqrt(2 * (1 + s**2)) - 2 - 2 * s) / math.sqrt(math.pi)
    assert math.isclose(float(squared_energy(x, s * x)), want, rel_tol=1e-3)


@given(st.integers(1, 4), st.integers(1, 5), SEEDS)
def test_signatures_are_labelled_by_inputs_not_by_neurons(inputs: int, n: int, seed: int) -> None:
    a, d = _samples(2, inputs, n, seed)
    law = signature_law(a, d)
    assert law.shape == (n, 2 * inputs)
    for i in range(n):
        assert law[i].tolist() == [*a[:, i].tolist(), *d[:, i].tolist()]
    order = torch.randperm(n, generator=stream(seed))
    assert float(wasserstein(signature_law(a[:, order], d[:, order]), law)) <= 1e-12


POINTS = torch.zeros(3, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: wasserstein(POINTS, POINTS[:2]), ShapeError, "equal sizes"),
        (lambda: wasserstein(POINTS, POINTS[:, :1]), ShapeError, "dimension 2 against 1"),
        (lambda: squared_energy(POINTS, torch.zeros(0, 2)), ShapeError, "a sample of shape"),
        (lambda: wasserstein_line(torch.zeros(2, 3), torch.zeros(3)), ShapeError, "samples against"),
        (lambda: squared_mmd(POINTS, POINTS, 0.0), LawError, "bandwidth 0.0"),
        (lambda: squared_mmd(POINTS, POINTS, math.nan), LawError, "bandwidth nan"),
        (lambda: squared_mmd(POINTS[:1], POINTS, 1.0, unbiased=True), LawError, "one point"),
        (lambda: squared_energy(POINTS, POINTS * math.nan), NumericsError, "a sample"),
        (lambda: sliced_wasserstein(POINTS, POINTS, torch.ones(4, 3)), ShapeError, "directions of shape"),
        (lambda: directions(0, 3, stream(0)), LawError, "0 directions"),
        (lambda: signature_law(POINTS, POINTS[:2]), ShapeError, "one shape"),
    ],
)
def test_bad_input_is_one_line(call: Callable[[], object], kind: type[RcError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
