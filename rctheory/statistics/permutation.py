"""Exact permutation tests of exchangeability, with an index-ordered statistic.

One matrix alone cannot refute row-column exchangeability, but the order of its indices can: if the units of an axis are
exchangeable, their order carries no information, and a statistic of that order has the same law under any permutation.

An axis is tested jointly: every array that runs over it is permuted by one and the same permutation. For *nested* axes,
whole outer units are permuted (their inner coordinates are `copies` that move along), or inner units inside each outer
unit (a `block`): both are one array of shape (blocks, copies, n), each block with a permutation of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import chunks, numpy_generator, require_finite, tolerance

BATCH_BYTES = 8 << 20  # one batch of permuted arrays: small enough for the caches

Arrays = Mapping[str, Tensor]


@dataclass(frozen=True)
class PermutationTest:
    """The outcome of one test.

    Args:
        p_value: exact under exchangeability, on the grid 1/(B+1), ..., 1.
        statistic: the largest |z| over the arrays.
        scores: z of each array inside the permutation distribution.
        permutations: B, the number of random permutations.
    """

    p_value: float
    statistic: float
    scores: Mapping[str, float]
    permutations: int


def lag_one_tests(
    hypotheses: Mapping[str, Sequence[Arrays]], *, permutations: int, seed: int
) -> dict[str, PermutationTest]:
    """Test for each hypothesis that the units of its arrays are exchangeable.

    Each array x of shape (blocks, copies, n), centred over its units, has the lag-1 autocorrelation
    r = sum_{b,c,i} x_{b,c,i} x_{b,c,i+1} / sum_{b,c,i} x_{b,c,i}^2. With r^0 the observed value and r^1 .. r^B those
    under random permutations, z^k = (r^k - mean) / sd, with mean and sd over all B + 1 of them, and T^k is the largest
    |z^k| over the arrays of the hypothesis. Then p = (1 + #{k >= 1 : T^k >= T^0}) / (B + 1). The observed order enters
    exactly like every permuted one, so p is exact: P(p <= a) <= a at any size, with equality at the B + 1 levels of the
    grid where no values tie.

    Arrays of the same number of blocks and units share their permutations, also between hypotheses: each p-value is
    exact, and Holm's adjustment allows any dependence. An array whose units are all equal scores zero.

    Args:
        hypotheses: by name, a sequence of sets of arrays; the arrays of one set, by label, all have the same number of
            blocks and units and are permuted together. Labels are distinct inside a hypothesis.
        permutations: B.
        seed: root seed of the stream of permutations.

    Raises:
        UsageError: B < 1.
        ShapeError: a hypothesis without arrays, a label used twice, or arrays of one set that differ in blocks or
            units.
        NumericsError: an entry is NaN or infinite.

    Source: claim `weights.exchangeable-axes`.
    """
    if permutations < 1:
        raise UsageError(f"{permutations} permutations", "at least 1", "ask for more permutations")
    structures: dict[tuple[int, int], list[tuple[str, str, Tensor]]] = {}
    for name, sets in hypotheses.items():
        _check(name, sets)
        for arrays in sets:
            for label, array in arrays.items():
                prepared = _prepare(f"{label} of {name}", array)
                structures.setdefault((array.shape[0], array.shape[2]), []).append((name, label, prepared))
    statistic = {name: np.zeros(permutations + 1) for name in hypotheses}
    scores: dict[str, dict[str, float]] = {name: {} for name in hypotheses}
    for members in structures.values():
        z = _standardise(_autocorrelations([array for _, _, array in members], permutations, seed))
        for column, (name, label, _) in enumerate(members):
            scores[name][label] = float(z[0, column])
            np.maximum(statistic[name], np.abs(z[:, column]), out=statistic[name])
    return {
        name: PermutationTest(int((t >= t[0]).sum()) / len(t), float(t[0]), scores[name], permutations)
        for name, t in statistic.items()
    }


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


def _prepare(name: str, array: Tensor) -> Tensor:
    """Centre over the units and scale to a unit sum of squares, in float64; equal units become zero."""
    x = require_finite(name, array.to(torch.float64))
    centred = x - x.mean(dim=-1, keepdim=True)
    total, rounding = centred.square().sum(), tolerance(torch.float64, terms=8 * x.shape[-1]) ** 2 * x.square().sum()
    return torch.zeros_like(x) if total <= rounding else centred / total.sqrt()


def _autocorrelations(arrays: Sequence[Tensor], permutations: int, seed: int) -> np.ndarray:
    """Return r for the observed order (first row) and for random permutations, one column for each array.

    All arrays have the same blocks and units. In float32: r is some function of the data, the same for every order, so
    rounding costs no exactness.
    """
    blocks, _, n = arrays[0].shape
    copies = [array.shape[1] for array in arrays]
    # Units first and copies last: one permuted unit is one contiguous row.
    rows = torch.cat(list(arrays), dim=1).transpose(1, 2).reshape(blocks * n, sum(copies)).to(torch.float32).numpy()
    first_copies = np.cumsum([0, *copies[:-1]])
    random = numpy_generator(seed, "permutations", blocks, n)
    order = np.arange(blocks * n, dtype=np.int64).reshape(blocks, n)
    result = np.empty((permutations + 1, len(arrays)))
    batches = chunks(permutations + 1, 4 * rows.size, BATCH_BYTES)
    # One buffer for all batches: fresh memory would cost more time than the arithmetic. And one thread: what fits the
    # caches leaves little to share, and waiting for a busy core costs more.
    buffer = np.empty((len(batches[0]), blocks, n, sum(copies)), dtype=np.float32)
    for batch in batches:
        orders = np.repeat(order[None], len(batch), axis=0)
        drawn = orders[1:] if batch.start == 0 else orders  # the first order of all is the observed one
        random.permuted(drawn, axis=2, out=drawn)
        permuted = buffer[: len(batch)]
        np.take(rows, orders, axis=0, out=permuted, mode="clip")  # "raise" would copy; every index is in range
        products = np.einsum("kbic,kbic->kc", permuted[:, :, :-1], permuted[:, :, 1:])
        result[batch.start : batch.stop] = np.add.reduceat(products, first_copies, axis=1)
    return result


def _standardise(values: np.ndarray) -> np.ndarray:
    """Turn values into z-scores inside each column, in place; a constant column scores zero."""
    values -= values.mean(axis=0)
    spread = np.sqrt(np.einsum("kc,kc->c", values, values) / len(values))
    np.divide(values, spread, out=values, where=spread > 0)
    return values
