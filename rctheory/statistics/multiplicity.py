"""Many hypotheses at once: Holm's step-down adjustment."""

from collections.abc import Sequence

import numpy as np


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
