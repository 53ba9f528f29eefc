"""Exact permutation tests of exchangeability, with an index-ordered statistic.

One matrix alone cannot refute row-column exchangeability, but the order of its indices can: if the units of an axis are
exchangeable, their order carries no information, and a statistic of that order has the same law under any permutation.

An axis is tested jointly: every array that runs over it is permuted by one and the same permutation. For *nested* axes,
whole outer units are permuted (their inner coordinates are `copies` that move along), or inner units inside each outer
unit (a `block`): both are one array of shape (blocks, copies, n), each block with a permutation of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import single_threaded_kernels
from rctheory.statistics.order import LAG_ONE, ORDER_STATISTICS, OrderStatistic
from rctheory.statistics.replicates import prepare, replicate

SCORE_BYTES = 16 << 20  # of the scores of one group of arrays, float64
Arrays = Mapping[str, Tensor]
_Members = list[tuple[str, str, Tensor]]  # hypothesis, label and array


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
    if permutations < 1 or not statistics:
        found = f"{permutations} permutations and {len(statistics)} statistics"
        raise UsageError(found, "at least 1 of each", "ask for more")
    structures: dict[tuple[int, int], _Members] = {}
    for name, sets in hypotheses.items():
        _check(name, sets)
        for arrays in sets:
            for label, array in arrays.items():
                structures.setdefault((array.shape[0], array.shape[2]), []).append((name, label, array))
    found_of = {name: _Found(permutations) for name in hypotheses}
    names = [statistic.name for statistic in statistics]
    lock = Lock()

    def score(members: _Members) -> None:
        prepared = [prepare(f"{label} of {name}", array) for name, label, array in members]
        z = replicate(prepared, statistics, permutations=permutations, seed=seed)
        observed = z[0].tolist()
        largest = np.abs(z, out=z).max(axis=2)
        with lock:
            for column, (name, label, _) in enumerate(members):
                found_of[name].add(label, dict(zip(names, observed[column], strict=True)), largest[:, column])

    # The scores of all orders are large: only those of a few arrays are kept at a time, whatever the number of layers.
    # Each group draws the permutations of its structure anew, the same ones.
    most = max(1, SCORE_BYTES // (8 * (permutations + 1) * len(statistics)))
    groups = [members[k : k + most] for members in structures.values() for k in range(0, len(members), most)]
    groups.sort(key=lambda members: -sum(array.numel() for _, _, array in members))
    _run(score, groups, torch.get_num_threads() if threads is None else threads)
    return {name: found.test(hypotheses[name]) for name, found in found_of.items()}


def lag_one_tests(
    hypotheses: Mapping[str, Sequence[Arrays]], *, permutations: int, seed: int
) -> dict[str, PermutationTest]:
    """Return `order_tests` with one statistic, the lag-1 autocorrelation r = sum x_{b,c,i} x_{b,c,i+1} / sum x^2.

    Source: claim `weights.exchangeable-axes`.
    """
    return order_tests(hypotheses, statistics=LAG_ONE, permutations=permutations, seed=seed)


def _run(score: Callable[[_Members], None], groups: Sequence[_Members], threads: int) -> None:
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

    def __init__(self, permutations: int) -> None:
        """Start with nothing."""
        self._replicates = np.zeros(permutations + 1)
        self._p_values: dict[str, float] = {}
        self._details: dict[str, dict[str, float]] = {}

    def add(self, label: str, scores: dict[str, float], largest: np.ndarray) -> None:
        """Take in one array: its z-scores by statistic, and the largest |z| of each order, (B + 1,)."""
        self._p_values[label] = _p_value(largest)
        self._details[label] = scores
        np.maximum(self._replicates, largest, out=self._replicates)

    def test(self, sets: Sequence[Arrays]) -> PermutationTest:
        """Return the test, its arrays in the order in which they were given."""
        labels = [label for arrays in sets for label in arrays]
        details = {label: self._details[label] for label in labels}
        scores = {label: max(z.values(), key=abs) for label, z in details.items()}
        p_values = {label: self._p_values[label] for label in labels}
        t = self._replicates
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
