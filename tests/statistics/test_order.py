"""Statistics of order: against their definitions, and each against the order that it is made for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import UsageError
from rctheory.statistics.order import LAG_ONE, ORDER_STATISTICS, Columns, Drift, Lag, OrderStatistic, Permuted, Runs
from rctheory.statistics.permutation import PermutationTest, lag_one_tests, order_tests
from tests.helpers import CUTOFF, SEEDS, stream

SMALL: tuple[OrderStatistic, ...] = (Lag(1), Lag(2), Lag(5), Drift(1), Drift(2), Runs(2), Runs(3), Runs(4))


def naive(statistic: OrderStatistic, x: np.ndarray) -> float:
    """Compute a statistic of one array (blocks, copies, n) by its definition, one vector at a time."""
    total, n = 0.0, x.shape[2]
    for vector in x.reshape(-1, n):
        match statistic:
            case Lag(lag=lag):
                total += sum(vector[i] * vector[i + lag] for i in range(n - lag))
            case Drift(power=power):
                total += sum((i - (n - 1) / 2) * vector[i] ** power for i in range(n))
            case Runs(size=size) if n >= 2 * size:
                total += sum(vector[k : k + size].sum() ** 2 for k in range(0, n - size + 1, size))
    return total ** (1 / 3) if isinstance(statistic, Runs) else total


@given(SEEDS, st.integers(1, 3), st.integers(1, 9), st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_every_statistic_is_its_definition(seed: int, blocks: int, n: int, copies: list[int]) -> None:
    random = np.random.default_rng(seed)
    arrays = [random.standard_normal((blocks, c, n)) for c in copies]
    orders = random.permuted(np.tile(np.arange(n), (4, blocks, 1)), axis=2)
    buffer = np.empty((5, blocks, n, sum(copies)), dtype=np.float32)
    batch = Permuted(Columns(arrays), orders + n * np.arange(blocks)[:, None], buffer)
    for statistic in SMALL:
        found = statistic(batch)
        assert found.shape == (4, len(arrays))
        for k, order in enumerate(orders):
            for a, array in enumerate(arrays):
                permuted = np.stack([array[b][:, order[b]] for b in range(blocks)])
                assert found[k, a] == pytest.approx(naive(statistic, permuted), rel=1e-3, abs=2e-3)


def one(x: torch.Tensor, seed: int = 0, permutations: int = 199) -> PermutationTest:
    """Test one vector, or one array of shape (blocks, copies, n)."""
    return order_tests({"h": [{"x": x if x.dim() == 3 else x[None, None]}]}, permutations=permutations, seed=seed)["h"]


def ordered(kind: str, n: int, random: torch.Generator) -> torch.Tensor:
    """Draw noise with one kind of order."""
    noise, index = torch.randn(n, generator=random), torch.arange(n)
    if kind == "drift":
        return noise + 1.2 * index / n
    if kind == "drift of squares":
        return noise * (1 + 1.5 * index / n)
    if kind.startswith("lag"):
        lag = int(kind.split()[1])
        return noise + 0.6 * noise.roll(lag)
    size = int(kind.split()[-1])
    return noise + 0.5 * torch.randn(n // size + 1, generator=random).repeat_interleave(size)[:n]


@pytest.mark.parametrize("kind", ["lag 2", "lag 32", "drift", "drift of squares", "runs of 32", "runs of 64"])
def test_each_statistic_sees_the_order_that_it_is_made_for(kind: str) -> None:
    """All of them together reject it, and the one that is made for it sees it."""
    for seed in range(5):
        test = one(ordered(kind, 576, stream(seed)), seed=seed)
        assert test.p_value <= 0.02
        assert abs(test.details["x"][kind]) > 2.5
        assert test.scores["x"] == max(test.details["x"].values(), key=abs)
        assert test.p_values["x"] == test.p_value


def test_an_echo_32_units_away_is_missed_by_lag_one_alone() -> None:
    p_values = []
    for seed in range(40):
        x = ordered("lag 32", 576, stream(seed))[None, None]
        p_values.append(lag_one_tests({"h": [{"x": x}]}, permutations=199, seed=seed)["h"].p_value)
        assert order_tests({"h": [{"x": x}]}, permutations=199, seed=seed)["h"].p_value == 1 / 200
    assert np.mean(np.array(p_values) <= 0.01) < 0.5


@pytest.mark.parametrize("shape", [(1, 1, 64), (1, 1, 130), (3, 2, 40)])
def test_p_value_of_all_statistics_is_exact_under_the_null(shape: tuple[int, int, int]) -> None:
    """Each value 1/(B+1) .. 1 of p has probability 1/(B+1), whatever the data: here of very heavy tails."""
    repeats, permutations = 1200, 9
    ranks = []
    for seed in range(repeats):
        random = stream(seed)
        x = torch.randn(shape, generator=random) / torch.rand(shape, generator=random)
        ranks.append(round(one(x, seed, permutations).p_value * 10))
    for rank in range(1, 11):
        assert stats.binomtest(ranks.count(rank), repeats, 0.1).pvalue > CUTOFF / 10


@pytest.mark.parametrize("n", [64, 576])
def test_permutation_laws_are_near_normal(n: int) -> None:
    """So no statistic sets the threshold of the others. The raw variance between two runs has kurtosis 15."""
    test = order_tests({"h": [{"x": torch.randn(1, 1, n, generator=stream(0))}]}, permutations=20_000, seed=0)["h"]
    # Seven normals together exceed 3.97 in modulus with probability 0.05%.
    assert np.quantile(test.replicates, 0.9995) < 4.6


def test_lag_one_tests_are_order_tests_with_one_statistic() -> None:
    sets = {"h": [{"x": torch.randn(2, 3, 20, generator=stream(1))}]}
    first = lag_one_tests(sets, permutations=99, seed=5)["h"]
    second = order_tests(sets, statistics=LAG_ONE, permutations=99, seed=5)["h"]
    assert first == second
    assert set(first.details["x"]) == {"lag 1"}
    assert first.scores["x"] == first.details["x"]["lag 1"]


def test_the_replicates_are_those_of_the_p_value_and_of_the_arrays() -> None:
    arrays = {label: torch.randn(1, 1, 80, generator=stream(k)) for k, label in enumerate("abc")}
    test = order_tests({"h": [arrays]}, permutations=199, seed=2)["h"]
    assert test.p_value == np.mean(test.replicates >= test.statistic)
    assert test.replicates[0] == test.statistic == max(map(abs, test.scores.values()))
    for label, array in arrays.items():
        alone = order_tests({"h": [{label: array}]}, permutations=199, seed=2)["h"]
        assert alone.p_value == test.p_values[label]
        assert alone.scores[label] == pytest.approx(test.scores[label], rel=1e-5)


def test_the_number_of_threads_changes_nothing() -> None:
    sets = {f"h{n}": [{"x": torch.randn(2, 2, n, generator=stream(n))}] for n in (9, 70, 33, 130)}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = order_tests(sets, permutations=99, seed=0)
        torch.set_num_threads(3)
        assert order_tests(sets, permutations=99, seed=0) == alone
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_is_raised() -> None:
    class Broken(Lag):
        def __call__(self, batch: Permuted) -> np.ndarray:
            raise UsageError("a broken statistic", "none", "repair it")

    sets = {f"h{n}": [{"x": torch.randn(1, 1, n)}] for n in (9, 10)}
    with pytest.raises(UsageError, match="a broken statistic"):
        order_tests(sets, statistics=[Broken(1)], permutations=9, seed=0)
    with pytest.raises(UsageError, match="0 statistics"):
        order_tests(sets, statistics=[], permutations=9, seed=0)


@given(st.integers(1, 200))
def test_what_cannot_be_seen_in_few_units_scores_zero(n: int) -> None:
    details = one(torch.randn(n, generator=stream(n)), permutations=19).details["x"]
    assert list(details) == [statistic.name for statistic in ORDER_STATISTICS]
    assert all(np.isfinite(z) for z in details.values())
    for lag in (1, 2, 32):
        assert (details[f"lag {lag}"] == 0) == (n <= lag or n <= 2)
    for size in (32, 64):
        assert (details[f"runs of {size}"] == 0) == (n < 2 * size)


def test_an_order_of_rounding_errors_is_no_order() -> None:
    """Two values, as often each: all squares are equal, so they cannot drift."""
    x = torch.tensor([0.1, 0.8] * 50)[torch.randperm(100, generator=stream(0))]
    details = one(x).details["x"]
    assert details["drift of squares"] == 0
    assert details["drift"] != 0
