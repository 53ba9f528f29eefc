"""Permutation tests: exact under the null, powerful against order, blind to names."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import NumericsError, ShapeError, UsageError
from rctheory.statistics import permutation
from rctheory.statistics.permutation import lag_one_tests
from tests.helpers import CUTOFF, SEEDS, stream


def one(*sets: dict[str, torch.Tensor], permutations: int = 199, seed: int = 0):
    """Test a single hypothesis."""
    return lag_one_tests({"h": sets}, permutations=permutations, seed=seed)["h"]


def row(values: torch.Tensor) -> torch.Tensor:
    """Return a vector as one block with one copy."""
    return values[None, None]


def _null_ranks(shape: tuple[int, int, int], repeats: int, permutations: int) -> np.ndarray:
    """Return p (B + 1) for fresh exchangeable arrays: two tied arrays and one under its own permutation."""
    ranks = []
    for seed in range(repeats):
        random = stream(seed)
        shared = torch.randn(shape, generator=random)
        tied = shared + 0.5 * torch.randn(shape, generator=random)
        other = torch.randn(1, 2, 7, generator=random)
        test = one({"a": shared, "b": tied}, {"c": other}, permutations=permutations, seed=seed)
        ranks.append(test.p_value * (permutations + 1))
    return np.array(ranks)


@pytest.mark.parametrize("permutations", [4, 19])
@pytest.mark.parametrize("shape", [(1, 1, 12), (3, 2, 6), (4, 1, 5)])
def test_p_value_is_exact_under_the_null(shape: tuple[int, int, int], permutations: int) -> None:
    """Each value 1/(B+1) .. 1 of p has probability 1/(B+1): exact binomial tests of all frequencies."""
    repeats = 1500
    ranks = _null_ranks(shape, repeats, permutations)
    np.testing.assert_allclose(ranks, ranks.round(), rtol=1e-12)
    ranks = ranks.round()
    # A drawn order can repeat the observed one or its reverse; such a tie makes p larger. It has probability at most
    # 2/7! a draw here (the array of seven units), far below what these tests resolve.
    levels = permutations + 1
    for rank in range(1, levels + 1):
        assert stats.binomtest(int((ranks == rank).sum()), repeats, 1 / levels).pvalue > CUTOFF / levels
        below = int((ranks <= rank).sum())
        assert stats.binomtest(below, repeats, rank / levels, alternative="greater").pvalue > CUTOFF / levels


def test_nested_units_seen_as_one_flat_axis_are_rejected_too_often() -> None:
    """Blocks of different means are exchangeable inside, not across: only the nested test keeps its level."""
    rejected = 0
    for seed in range(100):
        random = stream(seed)
        blocks = 3 * torch.randn(4, 1, 1, generator=random) + torch.randn(4, 1, 16, generator=random)
        rejected += one({"a": blocks.reshape(1, 1, 64)}, permutations=99, seed=seed).p_value <= 0.05
        assert one({"a": blocks}, permutations=99, seed=seed).p_value > 0.01 / 100
    assert stats.binomtest(rejected, 100, 0.05, alternative="greater").pvalue < CUTOFF


@given(seed=SEEDS, n=st.integers(30, 60))
def test_a_sorted_vector_is_rejected(seed: int, n: int) -> None:
    values = torch.randn(n, generator=stream(seed)).sort().values
    noise = {f"noise {k}": row(torch.randn(n, generator=stream(seed + k + 1))) for k in range(3)}
    test = one({"sorted": row(values), **noise}, seed=seed)
    assert test.p_value == 1 / 200
    assert max(test.scores, key=lambda label: abs(test.scores[label])) == "sorted"


@given(seed=SEEDS)
def test_order_inside_blocks_is_seen_when_every_block_has_it(seed: int) -> None:
    random = stream(seed)
    wave = torch.linspace(0, 4, 16).expand(6, 2, 16)
    ordered = wave + 0.5 * torch.randn(6, 2, 16, generator=random) + torch.randn(6, 1, 1, generator=random)
    assert one({"a": ordered}, seed=seed).p_value == 1 / 200


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_names_scales_and_shifts_do_not_matter(seed: int, scale: float, shift: float) -> None:
    random = stream(seed)
    a, b = torch.randn(2, 2, 3, 9, generator=random, dtype=torch.float64)
    first = one({"a": a, "b": b}, seed=seed)
    second = one({"x": b, "y": scale * a + shift}, seed=seed)
    assert first.scores["a"] == pytest.approx(second.scores["y"], rel=1e-3, abs=1e-3)
    assert first.statistic == pytest.approx(second.statistic, rel=1e-3, abs=1e-3)
    assert abs(first.p_value - second.p_value) <= 2 / 200  # rounding may part two draws that all but tie


def test_any_fixed_array_in_random_order_is_rejected_as_often_as_stated() -> None:
    """Exact for any data, heavy tails included: only the order is random."""
    heavy = torch.linspace(-1.5, 1.5, 15).tan().sort().values
    p_values = np.array(
        [
            one({"a": row(heavy[torch.randperm(15, generator=stream(s))])}, permutations=99, seed=s).p_value
            for s in range(800)
        ]
    )
    for level in (0.01, 0.05, 0.25, 0.5):
        below = int((p_values <= level + 1e-12).sum())
        assert stats.binomtest(below, len(p_values), level).pvalue > CUTOFF


def test_scores_are_those_of_the_exact_permutation_distribution() -> None:
    """Against all 720 orders of six units, by brute force."""
    from itertools import permutations

    x = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.1, -0.7], dtype=torch.float64)
    y = (x - x.mean()).numpy()
    every = np.array([np.dot(y[list(o)][:-1], y[list(o)][1:]) for o in permutations(range(6))]) / np.dot(y, y)
    z = (every - every.mean()) / every.std()
    test = one({"x": row(x)}, permutations=50_000)
    assert test.scores["x"] == pytest.approx(z[0], abs=0.05)
    exact = float(np.mean(np.abs(z) >= abs(z[0]) - 1e-9))
    assert stats.binomtest(round(test.p_value * 50_001), 50_001, exact).pvalue > CUTOFF


def test_units_that_are_all_equal_score_zero() -> None:
    test = one({"flat": torch.full((1, 1, 30), 0.1), "pair": torch.rand(1, 4, 30)})
    assert test.scores["flat"] == 0.0
    assert one({"flat": torch.full((1, 1, 30), 0.1)}).p_value == 1.0


def test_the_same_seed_gives_the_same_test_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"a": torch.randn(2, 2, 8, generator=stream(0))}
    first = one(arrays, seed=3)
    monkeypatch.setattr("rctheory.statistics.replicates.BATCH_BYTES", 1000)
    assert one(arrays, seed=3).p_value == first.p_value
    assert one(arrays, seed=4).scores != first.scores


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_entry_that_is_not_finite_is_refused(value: float) -> None:
    array = torch.randn(1, 2, 8)
    array[0, 1, 3] = value
    with pytest.raises(NumericsError, match="1 of 16 entries of a of h"):
        one({"a": array})


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError):
        one({"a": torch.randn(1, 1, 5)}, permutations=0)
    with pytest.raises(ShapeError):
        one()
    with pytest.raises(ShapeError):
        one({"a": torch.randn(5)})
    with pytest.raises(ShapeError):
        one({"a": torch.randn(1, 1, 5), "b": torch.randn(1, 1, 6)})
    with pytest.raises(ShapeError):
        one({"a": torch.randn(1, 1, 5)}, {"a": torch.randn(1, 1, 6)})


def test_arrays_are_scored_in_groups_that_share_their_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups bound the memory; they may change what is rounded, never what is permuted."""
    random = stream(0)
    hypotheses = {
        "many": [{f"array {k}": row(torch.randn(40, generator=random)) for k in range(7)}],
        "few": [{"array": row(torch.randn(40, generator=random))}, {"other": row(torch.randn(9, generator=random))}],
    }
    together = lag_one_tests(hypotheses, permutations=499, seed=3)
    monkeypatch.setattr(permutation, "SCORE_BYTES", 2 * 8 * 500)
    in_groups = lag_one_tests(hypotheses, permutations=499, seed=3)
    for name, test in together.items():
        assert test.p_value == in_groups[name].p_value
        assert test.p_values == in_groups[name].p_values
        np.testing.assert_allclose(test.replicates, in_groups[name].replicates, rtol=1e-4, atol=1e-5)
