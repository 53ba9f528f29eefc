"""Holm's adjustment."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rctheory.statistics.multiplicity import holm
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
