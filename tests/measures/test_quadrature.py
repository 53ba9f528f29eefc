"""Designs that see what units do: rules that are exact on all units, equivariant, and better where they should be."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.errors import LawError, NumericsError, ShapeError
from rctheory.measures import (
    FeatureDesign,
    Herding,
    Importance,
    Quantisation,
    Reweighted,
    Rule,
    TreeStrata,
    compensate,
)
from rctheory.measures.features import UnitKernel, centred_features
from rctheory.measures.quadrature import principal_coordinates, tree_order
from tests.helpers import SEEDS, stream

DESIGNS: dict[str, FeatureDesign] = {
    "strata": TreeStrata(),
    "sorted": TreeStrata(coordinates=1),
    "herding": Herding(),
    "gaussian herding": Herding(bandwidth=1.0),
    "quantisation": Quantisation(),
    "importance": Importance(),
    "reweighted": Reweighted(Herding()),
    "kernel quadrature": Reweighted(Herding(bandwidth=1.0), bandwidth=1.0),
    "reweighted quantisation": Reweighted(Quantisation()),
}
EXACT = sorted(set(DESIGNS) - {"importance"})
POSITIVE = ("strata", "sorted", "herding", "gaussian herding", "quantisation", "importance")


def features(n: int, k: int, seed: int) -> torch.Tensor:
    """Return features in general position."""
    return torch.randn(n, k, generator=stream(seed), dtype=torch.float64)


@given(st.sampled_from(sorted(DESIGNS)), st.integers(1, 30), st.integers(1, 4), st.data(), SEEDS)
def test_a_rule_has_m_units_and_weights_that_add_up_to_one(name, n, k, data, seed) -> None:
    m = data.draw(st.integers(1, n))
    rule = DESIGNS[name].choose(features(n, k, seed), m, stream(seed))
    assert rule.indices.shape == rule.weights.shape == (m,)
    assert rule.indices.dtype == torch.int64
    assert 0 <= int(rule.indices.min()) <= int(rule.indices.max()) < n
    assert float(rule.weights.sum()) == pytest.approx(1, abs=1e-12)
    if name in POSITIVE:
        assert float(rule.weights.min()) > 0
    if name in ("herding", "gaussian herding", "quantisation"):
        assert len(set(rule.indices.tolist())) == m


@given(st.sampled_from(EXACT), st.integers(1, 25), st.integers(1, 4), SEEDS)
def test_of_all_units_every_unit_once(name, n, k, seed) -> None:
    rule = DESIGNS[name].choose(features(n, k, seed), n, stream(seed))
    assert sorted(rule.indices.tolist()) == list(range(n))
    torch.testing.assert_close(rule.weights, torch.full((n,), 1 / n, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    values = features(3, n, seed + 1)
    torch.testing.assert_close(rule.mean(values), values.mean(dim=1), rtol=1e-9, atol=1e-9)


@given(st.sampled_from(EXACT), st.integers(4, 25), st.integers(2, 4), st.data(), SEEDS)  # no ties between units
def test_relabelling_the_units_relabels_the_rule(name, n, k, data, seed) -> None:
    m = data.draw(st.integers(1, n))
    values = features(n, k, seed)
    order = torch.randperm(n, generator=stream(seed + 1))
    plain = DESIGNS[name].choose(values, m, stream(seed))
    renamed = DESIGNS[name].choose(values[order], m, stream(seed))
    masses = [torch.zeros(n, dtype=torch.float64).index_add_(0, r.indices, r.weights) for r in (plain, renamed)]
    if "quantisation" in name:  # two units of a cell are equally near to its centre: either may stand for it
        masses = [rule.weights.sort().values for rule in (plain, renamed)] if name == "quantisation" else []
        order = torch.arange(m)
    for got, wanted in zip(masses[1:], masses, strict=False):
        torch.testing.assert_close(got, wanted[order], rtol=1e-8, atol=1e-10)


@given(st.sampled_from(sorted(DESIGNS)), st.integers(1, 12), st.integers(1, 3), st.data(), SEEDS)
def test_equal_units_are_no_obstacle(name, n, kinds, data, seed) -> None:
    m = data.draw(st.integers(1, n))
    kind = torch.randint(kinds, (n,), generator=stream(seed))
    rule = DESIGNS[name].choose(features(kinds, 2, seed)[kind], m, stream(seed))
    assert len(rule.indices) == m
    if name == "quantisation" and m >= len(set(kind.tolist())):
        shares = torch.zeros(kinds, dtype=torch.float64).index_add_(0, kind[rule.indices], rule.weights)
        torch.testing.assert_close(shares, torch.bincount(kind, minlength=kinds) / n, check_dtype=False)


@given(st.integers(8, 40), st.integers(1, 3), SEEDS)
def test_weights_reproduce_the_mean_of_features(n, k, seed) -> None:
    values = features(n, k, seed)
    rule = TreeStrata().choose(values, k + 4, stream(seed))
    before, after = rule, rule.reweighted(values, ridge=1e-10)
    wanted = values.mean(dim=0)
    assert float((after.mean(values.T) - wanted).norm()) <= 1e-4 * (1 + float((before.mean(values.T) - wanted).norm()))


@given(st.integers(3, 20), st.integers(1, 4), st.floats(1e-3, 10), st.sampled_from([None, 1.0]), st.data(), SEEDS)
def test_no_other_weights_have_a_smaller_criterion(n, k, ridge, bandwidth, data, seed) -> None:
    m = data.draw(st.integers(2, n))
    values = features(n, k, seed)
    rule = Herding().choose(values, m, stream(seed)).reweighted(values, ridge, bandwidth)
    kernel = UnitKernel.of(centred_features(values), bandwidth)
    gram, means = kernel.between(rule.indices, rule.indices), kernel.means()[rule.indices]

    def criterion(weights: torch.Tensor) -> float:
        return float(weights @ gram @ weights - 2 * weights @ means + ridge * (weights - 1 / m).square().sum())

    step = torch.randn(m, generator=stream(seed + 1), dtype=torch.float64)
    step -= step.mean()
    for size in (1e-3, 0.1, 1.0):
        assert criterion(rule.weights) <= criterion(rule.weights + size * step) + 1e-12


def test_herding_is_greedy() -> None:
    values = features(9, 2, 3)
    for bandwidth in (None, 0.7):
        kernel = UnitKernel.of(centred_features(values), bandwidth)
        every = torch.arange(9)
        gram = kernel.between(every, every)
        torch.testing.assert_close(torch.stack([kernel.column(unit) for unit in range(9)]), gram)
        torch.testing.assert_close(kernel.own(), gram.diagonal())
        picked = Herding(bandwidth).choose(values, 5, stream(0)).indices.tolist()
        for t, unit in enumerate(picked):
            distance = {}
            for other in set(range(9)) - set(picked[:t]):
                masses = torch.full((9,), -(t + 1) / 9, dtype=torch.float64)
                masses[[*picked[:t], other]] += 1
                distance[other] = float(masses @ gram @ masses)
            assert distance[unit] == pytest.approx(min(distance.values()), abs=1e-12)


def test_the_tree_halves_what_varies_most() -> None:
    x = torch.tensor([[0.0, 0.1], [3.0, 0.3], [1.0, 0.2], [2.0, 0.0]])
    assert tree_order(x, 4).tolist() == [0, 2, 3, 1]
    wide = torch.tensor([[0.0, 0.0], [0.1, 9.0], [5.0, 8.0], [5.1, 1.0]])
    assert set(tree_order(wide, 2).tolist()[:2]) == {0, 3}


@given(st.integers(1, 40), st.integers(1, 3), st.data(), SEEDS)
def test_the_leaves_of_a_tree_are_cells_of_equal_size(n, k, data, seed) -> None:
    m = data.draw(st.integers(1, n))
    values = features(n, k, seed)
    order = tree_order(values, m)
    assert sorted(order.tolist()) == list(range(n))
    places = [(2 * leaf * n + m) // (2 * m) for leaf in range(m + 1)]
    assert max(b - a for a, b in pairwise(places)) - min(b - a for a, b in pairwise(places)) <= 1
    if k == 1:  # on a line the leaves are intervals, one after the other
        leaves = [values[order[a:b], 0] for a, b in pairwise(places)]
        assert all(float(left.max()) < float(right.min()) for left, right in pairwise(leaves))


def test_principal_coordinates_keep_distances() -> None:
    x = centred_features(features(7, 4, 0))
    torch.testing.assert_close(torch.cdist(principal_coordinates(x), principal_coordinates(x)), torch.cdist(x, x))
    assert principal_coordinates(x, 2).shape == (7, 2)
    assert float(principal_coordinates(x)[:, 0].var()) >= float(principal_coordinates(x)[:, 1].var())


def test_quantisation_finds_separate_cells() -> None:
    cells = torch.arange(12) % 3
    values = 10 * features(3, 2, 1)[cells] + 0.01 * features(12, 2, 2)
    rule = Quantisation().choose(values, 3, stream(0))
    assert sorted(cells[rule.indices].tolist()) == [0, 1, 2]
    torch.testing.assert_close(rule.weights, torch.full((3,), 1 / 3, dtype=torch.float64))


@pytest.mark.parametrize("name", ["strata", "gaussian herding", "kernel quadrature", "quantisation"])
def test_a_smooth_function_on_a_line_is_averaged_better_than_by_random_units(name) -> None:
    z = torch.rand(256, generator=stream(5), dtype=torch.float64)
    values = torch.stack([torch.sin(3 * z), torch.cos(3 * z), z], dim=1)
    smooth = torch.exp(z)
    random = (smooth.var() * (1 / 32 - 1 / 256)).sqrt()
    rule = DESIGNS[name].choose(values, 32, stream(0))
    assert abs(float(rule.mean(smooth) - smooth.mean())) < 0.3 * float(random)


def test_importance_follows_the_size_of_features() -> None:
    values = torch.tensor([[1.0], [-1.0], [4.0], [-4.0]])
    counts = torch.bincount(Importance().choose(values.repeat(50, 1), 200, stream(0)).indices % 4, minlength=4)
    assert 120 < int(counts[2:].sum()) < 195  # 160 in the mean


def test_what_no_rule_can_be_made_of_is_refused() -> None:
    values = features(4, 2, 0)
    for m in (0, 5):
        with pytest.raises(LawError, match=f"{m} units of 4 asked from design herding"):
            Herding().choose(values, m, stream(0))
    with pytest.raises(ShapeError, match=r"features of shape \(4,\)"):
        Herding().choose(values[:, 0], 2, stream(0))
    with pytest.raises(NumericsError, match="a feature"):
        Herding().choose(values / 0, 2, stream(0))
    with pytest.raises(LawError, match="bandwidth -1"):
        Herding(bandwidth=-1.0).choose(values, 2, stream(0))
    with pytest.raises(LawError, match="ridge 0"):
        Reweighted(Herding(), ridge=0.0).choose(values, 2, stream(0))
    with pytest.raises(LawError, match="0 coordinates"):
        TreeStrata(coordinates=0)
    with pytest.raises(LawError, match="floor 0"):
        Importance(floor=0.0)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    with pytest.raises(ShapeError, match="2 units"):
        Rule(2, torch.tensor([0, 2]), half)
    with pytest.raises(ShapeError, match=r"add up to 0\.5"):
        Rule(2, torch.tensor([0, 1]), half / 2)
    with pytest.raises(ShapeError, match="3 values"):
        Rule(2, torch.tensor([0, 1]), half).mean(torch.ones(3))
    with pytest.raises(ShapeError, match=r"expected \(2, K\)"):
        Rule(2, torch.tensor([0, 1]), half).reweighted(values, 1e-3)


@given(st.integers(2, 12), st.integers(1, 5), st.integers(1, 4), st.floats(1e-4, 1), SEEDS)
def test_compensation_is_the_ridge_regression(inputs, m, outputs, ridge, seed) -> None:
    a, y, prior = features(inputs, m, seed), features(inputs, outputs, seed + 1), features(m, outputs, seed + 2)
    fitted = compensate(a, y, prior, ridge).requires_grad_()
    noise = ridge * a.square().sum() / m
    ((a @ fitted - y).square().sum() + noise * (fitted - prior).square().sum()).backward()
    torch.testing.assert_close(fitted.grad, torch.zeros_like(fitted), rtol=0, atol=1e-8)


def test_compensation_recovers_dependent_units_and_keeps_the_prior_where_inputs_tell_nothing() -> None:
    a = features(30, 3, 0)
    full = torch.cat([a, a @ features(3, 2, 1)], dim=1)  # two units that the other three determine
    weights = features(5, 4, 2)
    fitted = compensate(a, full @ weights, weights[:3], 1e-12)
    torch.testing.assert_close(a @ fitted, full @ weights)
    silent = torch.zeros(6, 3, dtype=torch.float64)
    torch.testing.assert_close(compensate(silent, torch.ones(6, 4), weights[:3]), weights[:3])
    with pytest.raises(LawError, match="ridge 0"):
        compensate(a, full @ weights, weights[:3], 0.0)
    with pytest.raises(ShapeError, match="take the same inputs"):
        compensate(a, full @ weights, weights)
