"""Claim `array.grand-mean`: variance and kurtosis over every outcome of small arrays."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.proofs.spaces import Space, TwoValued
from tests.proofs.statistical_worlds import UNIT, table

chances, seeds = st.floats(0.2, 0.8), st.integers(0, 2**32 - 1)


@given(seed=seeds, rows=st.sampled_from((2, 3)), columns=st.sampled_from((2, 3)), chance=chances)
def test_variance_and_kurtosis_by_enumeration(seed: int, rows: int, columns: int, chance: float) -> None:
    """General entries with noise of their own, and the product of two factors."""
    law = TwoValued(1.3, chance)
    space = Space.product({"r": ((rows,), law), "c": ((columns,), UNIT), "e": ((1, 1), UNIT)})
    r, c = space.variables["r"], space.variables["c"]
    entries = table(np.random.default_rng(seed), r, c)
    mean = space.mean(entries[:, 0, 0])
    row = space.mean(entries[:, 0, 0] * entries[:, 0, 1]) - mean**2
    column = space.mean(entries[:, 0, 0] * entries[:, 1, 0]) - mean**2
    rest = space.mean(entries[:, 0, 0] ** 2) - mean**2 - row - column
    error = entries.mean(dim=(1, 2)) - mean
    assert float(space.mean(error)) == pytest.approx(0, abs=1e-12)
    claimed = row / rows + column / columns + rest / (rows * columns)
    assert float(space.mean(error**2)) == pytest.approx(float(claimed), rel=1e-10, abs=1e-14)
    product = torch.einsum("oi,oj->oij", r, c).mean(dim=(1, 2))
    kurtosis = space.mean(product**4) / space.mean(product**2) ** 2
    tails = [part.moment(4) / part.variance**2 for part in (law, UNIT)]
    assert float(kurtosis) == pytest.approx((3 + (tails[0] - 3) / rows) * (3 + (tails[1] - 3) / columns), rel=1e-10)


def test_gaussian_factors_have_kurtosis_nine_at_every_size() -> None:
    """Gauss-Hermite nodes are exact for the fourth moment of the mean of two Gaussians."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    weights = weights / weights.sum()
    means = (nodes[:, None] + nodes[None, :]) / 2
    both = weights[:, None] * weights[None, :]
    kurtosis = (both * means**4).sum() / (both * means**2).sum() ** 2
    assert kurtosis**2 == pytest.approx(9, rel=1e-10)
