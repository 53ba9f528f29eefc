"""Exact permutation tests of exchangeability, with an index-ordered statistic.

One matrix alone cannot refute row-column exchangeability, but the order of its indices can: if the units of an axis are
exchangeable, their order carries no information, and a statistic of that order has the same law under any permutation.

An axis is tested jointly: every array that runs over it is permuted by one and the same permutation. For *nested* axes,
whole outer units are permuted (their inner coordinates are `copies` that move along), or inner units inside each outer
unit (a `block`): both are one array of shape (blocks, copies, n), each block with a permutation of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import single_threaded_kernels
from rctheory.statistics.order import LAG_ONE, ORDER_STATISTICS, Columns, OrderStatistic
from rctheory.statistics.replicates import prepare, replicate

SCORE_BYTES = 8 << 20  # of the scores of one group of arrays, float64
Arrays = Mapping[str, Tensor]
Member = tuple[str, str, Tensor]
"""An array to be scored: its hypothesis, its label there, and itself, (blocks, copies, n)."""


@dataclass(frozen=True)
class PermutationTest:
    """The outcome of one test.

    Args:
        p_value: exact under exchangeability, on the grid 1/(B+1), ..., 1.
        statistic: the largest |z| over the arrays and statistics.
        scores: the z of largest size of each array, inside the permutation distribution of its statistic.
        permutations: B, the number of random permutations.
        p_values: exact p-value of each array alone.
        details: every z of each array, by name of the statistic.
        replicates: the largest |z| for the observed order and for each permutation, (B + 1,): what `max_t` takes.
    """

    p_value: float
    statistic: float
    scores: Mapping[str, float]
    permutations: int
    p_values: Mapping[str, float]
    details: Mapping[str, Mapping[str, float]]
    replicates: np.ndarray = field(repr=False, compare=False)


def order_tests(
    hypotheses: Mapping[str, Sequence[Arrays]],
    *,
    statistics: Sequence[OrderStatistic] = ORDER_STATISTICS,
    permutations: int,
    seed: int,
    threads: int | None = None,
) -> dict[str, PermutationTest]:
    """Test for each hypothesis that the units of its arrays are exchangeable, with several statistics of order.

    Each array x of shape (blocks, copies, n) is centred over its units. With t^0 the observed value of a statistic of
    an array and t^1 .. t^B those under random permutations, z^k = (t^k - mean) / sd, with mean and sd over all B + 1 of
    them, and T^k is the largest |z^k| over the arrays of the hypothesis and the statistics. Then
    p = (1 + #{k >= 1 : T^k >= T^0}) / (B + 1). The observed order enters exactly like every permuted one, so p is
    exact: P(p <= a) <= a at any size, with equality at the B + 1 levels of the grid where no values tie. Several
    statistics share their permutations; no adjustment for their number is needed, and none is lost.

    Arrays of the same number of blocks and units share their permutations, also between hypotheses; other structures
    have streams of their own. An array whose units are all equal scores zero.

    Args:
        hypotheses: by name, a sequence of sets of arrays; the arrays of one set, by label, all have the same number of
            blocks and units and are permuted together. Labels are distinct inside a hypothesis.
        statistics: what is computed of every array.
        permutations: B.
        seed: root seed of the streams of permutations.
        threads: how many score arrays side by side, which changes no result; None for as many as a kernel of torch has.

    Raises:
        UsageError: B < 1, or no statistic.
        ShapeError: a hypothesis without arrays, a label used twice, or arrays of one set that differ in blocks or
            units.
        NumericsError: an entry is NaN or infinite.

    Source: claim `weights.exchangeable-axes`.
    """
    members: list[Member] = []
    for name, sets in hypotheses.items():
        _check(name, sets)
        members += [(name, label, array) for arrays in sets for label, array in arrays.items()]
    labels = {name: [label for arrays in sets for label in arrays] for name, sets in hypotheses.items()}
    running = RunningTests(labels, statistics=statistics, permutations=permutations, seed=seed)
    running.add(members, torch.get_num_threads() if threads is None else threads)
    return {name: running.test(name) for name in hypotheses}


def lag_one_tests(
    hypotheses: Mapping[str, Sequence[Arrays]], *, permutations: int, seed: int
) -> dict[str, PermutationTest]:
    """Return `order_tests` with one statistic, the lag-1 autocorrelation r = sum x_{b,c,i} x_{b,c,i+1} / sum x^2.

    Source: claim `weights.exchangeable-axes`.
    """
    return order_tests(hypotheses, statistics=LAG_ONE, permutations=permutations, seed=seed)


class RunningTests:
    """`order_tests` of arrays that come a few at a time: none is kept.

    What is kept of a hypothesis are B + 1 numbers for `max_t`, and a few for each of its arrays.

    Args:
        labels: by hypothesis, the labels of the arrays that will come.
        statistics: as `order_tests` takes them, like all that follow.
        permutations: B.
        seed: root seed.

    Raises:
        UsageError: B < 1, or no statistic.
    """

    def __init__(
        self,
        labels: Mapping[str, Sequence[str]],
        *,
        statistics: Sequence[OrderStatistic] = ORDER_STATISTICS,
        permutations: int,
        seed: int,
    ) -> None:
        """Make room for all results: nothing that is kept lies between what comes and goes."""
        if permutations < 1 or not statistics:
            found = f"{permutations} permutations and {len(statistics)} statistics"
            raise UsageError(found, "at least 1 of each", "ask for more")
        self._statistics, self._permutations, self._seed = statistics, permutations, seed
        self._found = {name: _Found(known, len(statistics), permutations) for name, known in labels.items()}
        self._lock = Lock()

    def add(self, members: Iterable[Member], threads: int = 1) -> None:
        """Score arrays (hypothesis, label, array), each once; several callers may do so at a time.

        What is scored together may change what is rounded, never what is permuted.

        Raises:
            NumericsError: an entry is NaN or infinite.
        """
        structures: dict[tuple[int, int], list[Member]] = {}
        for member in members:
            structures.setdefault((member[2].shape[0], member[2].shape[2]), []).append(member)
        # The scores of all orders are large: only those of a few arrays are kept at a time. Each group draws the
        # permutations of its structure anew, the same ones.
        most = max(1, SCORE_BYTES // (8 * (self._permutations + 1) * len(self._statistics)))
        groups = [found[k : k + most] for found in structures.values() for k in range(0, len(found), most)]
        groups.sort(key=lambda group: -sum(array.numel() for _, _, array in group))
        _run(self._score, groups, threads)

    def replicates(self, name: str) -> np.ndarray:
        """Return the largest |z| of a hypothesis for each order, (B + 1,): what `max_t` takes."""
        return self._found[name].replicates

    def test(self, name: str) -> PermutationTest:
        """Return the test of a hypothesis all of whose arrays have come, in the order of its labels."""
        return self._found[name].test([statistic.name for statistic in self._statistics])

    def _score(self, members: list[Member]) -> None:
        """Score arrays of one structure side by side."""
        columns = Columns([prepare(f"{label} of {name}", array).numpy() for name, label, array in members])
        z = replicate(columns, self._statistics, permutations=self._permutations, seed=self._seed)
        observed = z[0].copy()
        largest = np.abs(z, out=z).max(axis=2)
        with self._lock:
            for column, (name, label, _) in enumerate(members):
                self._found[name].add(label, observed[column], largest[:, column])


def _run(score: Callable[[list[Member]], None], groups: Sequence[list[Member]], threads: int) -> None:
    """Score every group; the stream of a structure is its own, so the number of threads changes no result."""
    threads = min(threads, len(groups))
    with single_threaded_kernels():
        if threads < 2:
            for members in groups:
                score(members)
            return
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(score, groups))


class _Found:
    """What has been found for one hypothesis, array by array."""

    def __init__(self, labels: Sequence[str], statistics: int, permutations: int) -> None:
        """Start with nothing; an array that never comes leaves NaN."""
        self.replicates = np.zeros(permutations + 1)
        self._places = {label: place for place, label in enumerate(labels)}
        self._scores = np.full((len(labels), statistics), np.nan)
        self._p_values = np.full(len(labels), np.nan)

    def add(self, label: str, scores: np.ndarray, largest: np.ndarray) -> None:
        """Take in one array: its z-scores by statistic, and the largest |z| of each order, (B + 1,)."""
        self._p_values[self._places[label]] = _p_value(largest)
        self._scores[self._places[label]] = scores
        np.maximum(self.replicates, largest, out=self.replicates)

    def test(self, statistics: Sequence[str]) -> PermutationTest:
        """Return the test, its arrays in the order of the labels."""
        scored = zip(self._places, self._scores.tolist(), strict=True)
        details = {label: dict(zip(statistics, scores, strict=True)) for label, scores in scored}
        scores = {label: max(z.values(), key=abs) for label, z in details.items()}
        p_values = dict(zip(self._places, self._p_values.tolist(), strict=True))
        t = self.replicates
        return PermutationTest(_p_value(t), float(t[0]), scores, len(t) - 1, p_values, details, t)


def _p_value(replicates: np.ndarray) -> float:
    """Return (1 + #{k >= 1 : T^k >= T^0}) / (B + 1)."""
    return int((replicates >= replicates[0]).sum()) / len(replicates)


def _check(name: str, sets: Sequence[Arrays]) -> None:
    """Refuse a hypothesis that says nothing, or arrays that cannot be permuted together."""
    labels = [label for arrays in sets for label in arrays]
    if not labels or len(set(labels)) != len(labels):
        raise ShapeError(f"hypothesis {name} has arrays {labels}", "at least one, each label once", "name its arrays")
    for arrays in sets:
        shapes = {tuple(array.shape) for array in arrays.values()}
        if any(len(shape) != 3 or 0 in shape for shape in shapes) or len({(s[0], s[2]) for s in shapes}) != 1:
            found = f"arrays of shapes {sorted(shapes)} under one permutation in {name}"
            raise ShapeError(found, "(blocks, copies, n) with the same blocks and n", "group them by axis")
