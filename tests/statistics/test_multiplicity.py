"""Holm's adjustment, and Westfall and Young's inside families."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.errors import NumericsError, ShapeError
from rctheory.statistics.multiplicity import holm, max_t
from rctheory.statistics.permutation import order_tests
from tests.helpers import SEEDS

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(P_VALUES, st.floats(0.001, 0.5))
def test_adjusted_rejections_are_the_step_down_procedure(p_values: list[float], level: float) -> None:
    """The definition, run by hand: go up the sorted p-values until one exceeds level / (hypotheses left)."""
    k, rejected = len(p_values), set()
    for rank, index in enumerate(sorted(range(k), key=lambda i: p_values[i])):
        if p_values[index] * (k - rank) > level:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected


@given(P_VALUES)
def test_adjusted_values_are_monotone_and_no_smaller(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


@given(P_VALUES)
def test_nan_stays_and_helps_nobody(p_values: list[float]) -> None:
    with_nan, with_one = holm([*p_values, math.nan]), holm([*p_values, 1.0])
    assert math.isnan(with_nan[-1])
    assert with_nan[:-1] == with_one[:-1]


@given(SEEDS)
def test_family_wise_error_is_held_when_all_are_equal(seed: int) -> None:
    """Total dependence: one uniform p-value repeated; Holm rejects exactly when k p <= level."""
    p = float(np.random.default_rng(seed).uniform())
    assert math.isclose(holm([p] * 7)[0], min(1.0, 7 * p))


def replicated(seed: int, count: int, permutations: int = 39) -> dict[str, np.ndarray]:
    """Draw statistics of correlated hypotheses, the first half with a signal."""
    random = np.random.default_rng(seed)
    t = random.standard_normal((permutations + 1, count)) + random.standard_normal((permutations + 1, 1))
    t[0, : count // 2] += 2
    return {f"h{k}": t[:, k] for k in range(count)}


def closed_test(replicates: dict[str, np.ndarray], families: dict[str, str]) -> dict[str, float]:
    """Adjust by the definition: a hypothesis falls when every intersection that holds it falls."""
    u = {name: (t - t.mean()) / t.std() for name, t in replicates.items()}
    adjusted = dict.fromkeys(replicates, 0.0)
    for size in range(1, len(u) + 1):
        for subset in itertools.combinations(u, size):
            local = []
            for family in {families[name] for name in subset}:
                largest = np.max([u[name] for name in subset if families[name] == family], axis=0)
                local.append(float((largest >= largest[0]).mean()))
            p = min(1.0, len(local) * min(local))
            for name in subset:
                adjusted[name] = max(adjusted[name], p)
    return adjusted


@given(SEEDS, st.integers(1, 7), st.integers(1, 4))
def test_max_t_closes_the_test_of_every_intersection(seed: int, count: int, families: int) -> None:
    replicates = replicated(seed, count)
    family = {name: f"f{k % families}" for k, name in enumerate(replicates)}
    adjusted, expected = max_t(replicates, family), closed_test(replicates, family)
    assert list(adjusted) == list(expected)
    for name, p in expected.items():
        assert math.isclose(adjusted[name], p, rel_tol=1e-12)


@given(SEEDS, st.integers(1, 7))
def test_families_of_one_hypothesis_are_holm(seed: int, count: int) -> None:
    replicates = replicated(seed, count)
    single = max_t(replicates, {name: name for name in replicates})
    np.testing.assert_allclose(list(single.values()), holm([float((t >= t[0]).mean()) for t in replicates.values()]))


def test_one_hypothesis_keeps_its_p_value() -> None:
    (t,) = replicated(0, 1).values()
    assert max_t({"h": t})["h"] == float((t >= t[0]).mean())


def test_few_permutations_reject_among_many_hypotheses_where_holm_cannot() -> None:
    """65 hypotheses, one strong: the floor of Holm with B = 1999 is 65/2000 > 1%, that of max-T 1/2000."""
    random = np.random.default_rng(0)
    replicates = {f"h{k}": np.abs(random.standard_normal(2000)) for k in range(65)}
    replicates["h7"][0] = 9.0
    assert max_t(replicates)["h7"] == 1 / 2000
    assert holm([float((t >= t[0]).mean()) for t in replicates.values()])[7] > 0.03


def test_a_hypothesis_of_many_arrays_does_not_set_the_threshold() -> None:
    """The largest of 2,000 normals lies near 3.7; a lone array at 3.6 stands out in its own law and must be seen."""
    random = np.random.default_rng(1)
    many = np.abs(random.standard_normal((1000, 2000))).max(axis=1)
    lone = np.abs(random.standard_normal(1000))
    lone[0] = 3.6
    assert max_t({"many": many, "lone": lone})["lone"] <= 0.01


def _orders_of_three_axes() -> list[dict[str, np.ndarray]]:
    """Return, for each of 24 x 24 data sets, statistics over the whole group: all orders of two axes of four units.

    Hypotheses a and b concern one axis, with arrays of their own; c another; the fourth array is ordered and its
    hypothesis false: the same order in every data set.
    """
    group = [np.array(order) for order in itertools.permutations(range(4))]
    x, y, z = np.random.default_rng(5).standard_normal((3, 4))

    def lag(values: np.ndarray) -> float:
        return abs(float(values[:-1] @ values[1:]))

    false = np.array([9.0, *np.linspace(0, 1, len(group) ** 2 - 1)])
    data = []
    for first in group:
        for second in group:
            pairs = [(g, h) for g in group for h in group]  # the identity comes first
            a = np.array([lag(x[first][g]) for g, _ in pairs])
            b = np.array([lag(y[first][g]) for g, _ in pairs])
            c = np.array([lag(z[second][h]) for _, h in pairs])
            data.append({"a": a, "b": b, "c": c, "false": false})
    return data


def test_family_wise_error_is_held_by_enumeration_of_all_permutations() -> None:
    """Every order of the true axes is equally likely: count, over all of them, how often a true one is rejected."""
    adjusted = [max_t(replicates) for replicates in _orders_of_three_axes()]
    smallest = np.array([min(p["a"], p["b"], p["c"]) for p in adjusted])
    levels = np.unique(smallest)
    assert len(levels) > 10
    for level in levels:
        assert (smallest <= level).mean() <= level + 1e-12
    # Not conservative: the false one falls, and among the rest the smallest p-value of a level is met with equality.
    assert all(p["false"] == 1 / 576 for p in adjusted)
    assert any(math.isclose((smallest <= level).mean(), level, rel_tol=1e-9) for level in levels if level < 0.5)


def test_it_takes_what_order_tests_give_and_loses_little_against_holm() -> None:
    """Over draws of 20 axes, three of them with a drift: as many found as by Holm with ten times the permutations."""
    found = {"max_t": 0, "holm": 0}
    wrong = 0
    for seed in range(12):
        random = torch.Generator().manual_seed(seed)
        sets = {f"h{k}": [{"x": torch.randn(1, 1, 60, generator=random)}] for k in range(20)}
        for k in range(3):
            sets[f"h{k}"][0]["x"] += torch.linspace(-0.9, 0.9, 60)
        few = max_t({h: t.replicates for h, t in order_tests(sets, permutations=199, seed=seed).items()})
        many = order_tests(sets, permutations=1999, seed=seed)
        held = dict(zip(many, holm([t.p_value for t in many.values()]), strict=True))
        found["max_t"] += sum(few[f"h{k}"] <= 0.05 for k in range(3))
        found["holm"] += sum(held[f"h{k}"] <= 0.05 for k in range(3))
        wrong += sum(few[f"h{k}"] <= 0.05 for k in range(3, 20))
    assert found["holm"] > 10
    assert found["max_t"] >= 0.9 * found["holm"]
    assert wrong <= 4  # P(Binomial(12, 0.05) > 4) < 1e-3, at one seed for all time


def test_a_statistic_that_varies_by_rounding_alone_harms_nobody() -> None:
    replicates = replicated(3, 4)
    constant = replicates | {"flat": np.array([np.nextafter(3.0, 4.0), *[3.0] * 39])}
    adjusted = max_t(constant)
    assert adjusted["flat"] == 1.0
    assert min(adjusted.values()) < 0.2


def test_what_max_t_cannot_judge_is_refused() -> None:
    with pytest.raises(ShapeError, match="h1 without a family"):
        max_t({"h0": np.ones(3), "h1": np.ones(3)}, {"h0": "f"})
    with pytest.raises(ShapeError, match="same number of permutations"):
        max_t({"h0": np.ones(3), "h1": np.ones(4)})
    with pytest.raises(NumericsError, match="NaN or infinite"):
        max_t({"h0": np.array([math.nan, 1.0])})
