"""Claim `array.variance-components`: mean squares over every outcome, and against the analysis of variance of scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from tests.proofs.spaces import Space
from tests.proofs.statistical_worlds import UNIT, table


def mean_squares(entries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean squares of rows, columns and residuals of arrays (..., m, n)."""
    m, n = entries.shape[-2:]
    row, column = entries.mean(dim=-1, keepdim=True), entries.mean(dim=-2, keepdim=True)
    grand = entries.mean(dim=(-2, -1), keepdim=True)
    rest = (entries - row - column + grand).square().sum(dim=(-2, -1)) / ((m - 1) * (n - 1))
    between = (row - grand).square().sum(dim=(-2, -1)), (column - grand).square().sum(dim=(-2, -1))
    return n * between[0] / (m - 1), m * between[1] / (n - 1), rest


@given(seed=st.integers(0, 2**32 - 1), rows=st.sampled_from((2, 3)), columns=st.sampled_from((2, 3)))
def test_mean_squares_by_enumeration(seed: int, rows: int, columns: int) -> None:
    space = Space.product({"r": ((rows,), UNIT), "c": ((columns,), UNIT)})
    entries = table(np.random.default_rng(seed), space.variables["r"], space.variables["c"])
    mean = space.mean(entries[:, 0, 0])
    row = space.mean(entries[:, 0, 0] * entries[:, 0, 1]) - mean**2
    column = space.mean(entries[:, 0, 0] * entries[:, 1, 0]) - mean**2
    rest = space.mean(entries[:, 0, 0] ** 2) - mean**2 - row - column
    found = [float(space.mean(square)) for square in mean_squares(entries)]
    claimed = [float(value) for value in (rest + columns * row, rest + rows * column, rest)]
    assert found == pytest.approx(claimed, rel=1e-10, abs=1e-13)
    variance = space.mean((entries.mean(dim=(1, 2)) - mean) ** 2)
    assert (found[0] + found[1] - found[2]) / (rows * columns) == pytest.approx(float(variance), rel=1e-10, abs=1e-13)


@given(seed=st.integers(0, 2**32 - 1))
def test_mean_square_of_rows_is_that_of_scipy(seed: int) -> None:
    """The one-way F is the mean square of the rows over what is left, columns and residuals together."""
    entries = np.random.default_rng(seed).normal(size=(3, 5))
    row, column, rest = (float(square) for square in mean_squares(torch.from_numpy(entries)))
    within = (4 * column + 8 * rest) / 12
    assert row / within == pytest.approx(float(stats.f_oneway(*entries).statistic), rel=1e-10)
