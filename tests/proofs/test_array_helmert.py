"""Claim `array.helmert`: both ways to remove effects, on every outcome of small noise arrays."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import helmert
from torch import Tensor

from tests.proofs.spaces import Space, TwoValued
from tests.proofs.test_array_four_cycle import four_cycle

laws = st.builds(TwoValued, st.floats(0.3, 2.0), st.floats(0.2, 0.8))
shapes = st.sampled_from(((2, 2), (2, 3), (3, 3)))


def contrasts(entries: Tensor) -> Tensor:
    """Return H_m W H_n^T, with the matrices of scipy."""
    left, right = (torch.from_numpy(helmert(size)) for size in entries.shape[1:])
    return left @ entries @ right.T


@given(law=laws, shape=shapes)
def test_shift_of_double_centring_by_enumeration(law: TwoValued, shape: tuple[int, int]) -> None:
    space = Space.product({"xi": (shape, law)})
    noise, (m, n) = space.variables["xi"], shape
    centred = (
        noise - noise.mean(dim=1, keepdim=True) - noise.mean(dim=2, keepdim=True) + noise.mean(dim=(1, 2), keepdim=True)
    )
    fourth = law.moment(4) - 3 * law.variance**2
    claimed = law.variance**2 * ((m - 1) ** 2 + (n - 1) ** 2 + 1) / (m * n) ** 2
    claimed += fourth * (2 * m - 3) * (2 * n - 3) / (m * n) ** 3
    assert float(space.mean(four_cycle(centred))) == pytest.approx(claimed, rel=1e-10)


@given(law=laws, effects=st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_contrasts_by_enumeration(law: TwoValued, effects: list[float]) -> None:
    """Free of effects; uncorrelated with equal variance; their cycle has what the fourth cumulant leaves."""
    space = Space.product({"xi": ((3, 3), law)})
    noise = space.variables["xi"]
    rows, columns = torch.tensor(effects[:3], dtype=torch.float64), torch.tensor(effects[3:], dtype=torch.float64)
    found = contrasts(noise)
    torch.testing.assert_close(contrasts(noise + rows[:, None] + columns), found, rtol=0, atol=1e-12)
    flat = found.flatten(1)
    covariance = torch.einsum("o,oa,ob->ab", space.probability, flat, flat)
    torch.testing.assert_close(covariance, law.variance * torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-12)
    fourth = law.moment(4) - 3 * law.variance**2
    assert float(space.mean(four_cycle(found))) == pytest.approx(fourth / 36, rel=1e-9, abs=1e-12)
    squares = found.square()
    apart = space.mean(squares[:, 0, 0] * squares[:, 1, 0]) - law.variance**2
    assert float(apart) == pytest.approx(fourth / 12, rel=1e-9, abs=1e-12)


def test_mean_overlap_of_the_rows_of_scipy() -> None:
    """2 (H_m + 1/m - 2) / ((m-1)(m-2)) is the mean over pairs of rows of the sum of the products of their squares."""
    for m in range(3, 12):
        squares = helmert(m) ** 2
        overlaps = squares @ squares.T
        mean = (overlaps.sum() - np.trace(overlaps)) / ((m - 1) * (m - 2))
        harmonic = sum(1 / p for p in range(1, m + 1))
        assert mean == pytest.approx(2 * (harmonic + 1 / m - 2) / ((m - 1) * (m - 2)), rel=1e-10)
