"""Regimes are told apart, and nothing is established more often than its level where it is not there."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.statistics.arrays import classify
from rctheory.statistics.multiplicity import holm
from tests.helpers import CUTOFF, stream


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed), dtype=torch.float64)


def test_three_arrays_three_regimes() -> None:
    product = draw(50, 1, seed=1) * draw(1, 60, seed=2)
    W = torch.stack([draw(50, 60), draw(50, 60) + product, draw(50, 60) + product + draw(50, 1, seed=3)])
    W[0, :] = draw(50, 60, seed=5)
    regime = classify(W, seed=0)
    assert regime.names() == ["pure noise", "degenerate interaction", "non-degenerate"]
    assert regime.noise.tolist() == [True, False, False]
    assert regime.degenerate.tolist() == [False, True, False]
    assert regime.non_degenerate.tolist() == [False, False, True]


def test_effects_of_columns_alone_are_enough() -> None:
    assert classify(draw(50, 60) + draw(1, 60, seed=1), seed=0).names() == ["non-degenerate"]


def test_adjusted_by_holm_array_by_array() -> None:
    regime = classify(draw(2, 3, 8, 9), seed=0)
    assert regime.code.shape == (2, 3)
    raw = [float(test.p_value[1, 2]) for test in regime.tests.values()]
    found = [float(p[1, 2]) for p in regime.adjusted.values()]
    assert found == pytest.approx(holm(raw))


def test_degenerate_arrays_are_seldom_called_non_degenerate() -> None:
    """The two tests of means keep their level under interaction: at most `level` of the arrays are mistaken."""
    draws = 1000
    W = draw(draws, 20, 24) + 2 * draw(draws, 20, 1, seed=1) * draw(draws, 1, 24, seed=2)
    regime = classify(W, seed=0, level=0.05)
    mistaken = int(regime.non_degenerate.sum())
    assert stats.binomtest(mistaken, draws, 0.05, alternative="greater").pvalue > CUTOFF
    assert int(regime.degenerate.sum()) > 0.85 * draws


def test_noise_is_seldom_called_anything_else() -> None:
    draws = 1000
    code = classify(draw(draws, 16, 20), seed=0, level=0.05).code
    assert stats.binomtest(int((code > 0).sum()), draws, 0.05, alternative="greater").pvalue > CUTOFF


def test_a_single_array_and_a_constant_one() -> None:
    assert classify(draw(8, 9), seed=0).names() == ["pure noise"]
    assert classify(torch.ones(8, 9), seed=0).names() == ["pure noise"]


def test_bad_input_is_named() -> None:
    with pytest.raises(UsageError, match="level 0"):
        classify(draw(5, 5), seed=0, level=0)
    with pytest.raises(ShapeError, match="m >= 4"):
        classify(draw(3, 5), seed=0)
