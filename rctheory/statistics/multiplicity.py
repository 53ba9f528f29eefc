"""Many hypotheses at once: Holm's step-down adjustment, and Westfall and Young's inside families."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rctheory.errors import NumericsError, ShapeError

CONSTANT = 1e-9  # relative spread below which a statistic is one number up to rounding


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values, in the order given.

    p~_(i) = max_{j <= i} min(1, (k - j + 1) p_(j)) over the sorted p_(1) <= ... <= p_(k). Rejecting p~ <= level keeps
    the family-wise error at `level` under any dependence. What is no probability becomes NaN, which is never rejected
    and makes no other hypothesis easier.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    p = np.asarray(p_values, dtype=float)
    p = np.where((p >= 0) & (p <= 1), p, np.nan)
    order = np.argsort(p)  # NaN sorts last
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, factors * p[order]))
    return [float(value) for value in adjusted]


def max_t(replicates: Mapping[str, np.ndarray], families: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return p-values of permutation tests adjusted over all of them, from the statistics behind them.

    Inside a family (Westfall and Young's step-down max-T): let u_h^k be the statistic T_h^k of hypothesis h for the
    observed order (k = 0) and B permutations, centred and scaled by its own mean and sd over all B + 1, so that a
    hypothesis of many arrays does not set the threshold of the others. With the hypotheses sorted by u_h^0, largest
    first, and S_i the i-th and all after it,

        a_h = max over i up to the rank of h of  #{k : max_{S_i} u^k >= u_i^0} / (B + 1).

    Between families (Holm): the local p-value of an intersection that meets m families is m times the smallest of
    theirs, and closing the test gives p~_h = max_m m min(a_h, A_{m-1}), with A_0 = 1 and A_1 >= A_2 >= ... the largest
    a of each other family. Families of one hypothesis each are Holm's procedure, one family is Westfall and Young's.

    Rejecting p~ <= level keeps the family-wise error at `level` whichever hypotheses are true, at any B, if inside a
    family the T_h of the *true* hypotheses are jointly exchangeable in k (subset pivotality). It holds for hypotheses
    that each say "permuting the units of my axis changes no law, whatever is done to the other axes" when the axes of
    a family are distinct and the arrays of each move with its own axis alone: the law is then invariant under the
    product of the groups of the true hypotheses, so under every subgroup: independent permutations, and also one
    permutation that axes of the same structure share. It fails between an axis and another that nests in it, which move
    the same arrays: they belong to different families, where any dependence is allowed.

    Args:
        replicates: by hypothesis, T for the observed order and for each permutation, (B + 1,), large where it speaks
            against the hypothesis; permutation k is the same draw for all hypotheses of a family.
        families: by hypothesis, the name of its family; all belong to one where it is None.

    Raises:
        ShapeError: hypotheses differ in B, or a hypothesis has no family.
        NumericsError: a statistic is NaN or infinite.

    Source: P. Westfall and S. Young, Resampling-based multiple testing, 1993, chapters 2 and 4.
    """
    members: dict[str, list[str]] = {}
    for name in replicates:
        if families is not None and name not in families:
            raise ShapeError(f"hypothesis {name} without a family", "one for each hypothesis", "name its family")
        members.setdefault("" if families is None else families[name], []).append(name)
    inside = {family: _step_down({name: replicates[name] for name in names}) for family, names in members.items()}
    largest = {family: max(adjusted.values()) for family, adjusted in inside.items()}
    result: dict[str, float] = {}
    for family, adjusted in inside.items():
        others = sorted((value for other, value in largest.items() if other != family), reverse=True)
        for name, a in adjusted.items():
            result[name] = min(1.0, max(m * min(a, bound) for m, bound in enumerate([a, *others], start=1)))
    return {name: result[name] for name in replicates}


def _step_down(replicates: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return Westfall and Young's adjusted p-values of one family."""
    lengths = {len(t) for t in replicates.values()}
    if len(lengths) != 1 or 0 in lengths:
        found = f"hypotheses with {sorted(lengths)} statistics each"
        raise ShapeError(found, "the observed one and the same number of permutations", "use the same permutations")
    scaled = {name: _scaled(t) for name, t in replicates.items()}
    names = list(replicates)
    u_0 = np.array([float(scale(0)) for scale in scaled.values()])
    order = np.argsort(-u_0, kind="stable")
    # max over S_i, for all i: a running maximum from the last hypothesis to the first, one array of B + 1 at a time.
    running = np.full(lengths.pop(), -np.inf)
    reached = np.empty(len(order))
    for place in range(len(order) - 1, -1, -1):
        np.maximum(running, scaled[names[order[place]]](slice(None)), out=running)
        reached[place] = (running >= u_0[order[place]]).mean()
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(reached)
    return dict(zip(replicates, adjusted.tolist(), strict=True))


def _scaled(replicates: np.ndarray) -> Callable[[int | slice], np.ndarray]:
    """Return a function that gives entries of u, the statistics centred and scaled; zeros where they never change."""
    t = np.asarray(replicates, dtype=float)
    if not np.isfinite(t).all():
        raise NumericsError("a statistic that is NaN or infinite", "finite statistics", "look at what was permuted")
    mean, spread = t.mean(), t.std()
    if not spread > CONSTANT * abs(mean):
        return lambda places: np.zeros_like(t[places])
    return lambda places: (np.asarray(replicates[places], dtype=float) - mean) / spread
