"""Claim `fluctuation.control-variate`: the remainder over every outcome, and its limit at large widths."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.proofs.spaces import Space, TwoValued
from tests.proofs.test_width_constant import extrapolated

CHANCE = 0.35
LAW = np.array([1 - CHANCE, CHANCE])
kernels = st.lists(st.floats(-2, 2), min_size=4, max_size=4).map(lambda entries: np.array(entries).reshape(2, 2))


def rest(kernel: np.ndarray) -> np.ndarray:
    """Return the kernel less its means over one slot."""
    return kernel - (kernel @ LAW)[:, None] - LAW @ kernel + LAW @ kernel @ LAW


def constant(kernel: np.ndarray) -> float:
    """Return E[H^2] + E[H H^T]."""
    both = rest(kernel) ** 2 + rest(kernel) * rest(kernel).T
    return float(LAW @ both @ LAW)


@given(kernel=kernels, n=st.sampled_from((2, 3, 4)))
def test_remainder_of_a_quadratic_functional_by_enumeration(kernel: np.ndarray, n: int) -> None:
    space = Space.product({"z": ((n,), TwoValued(1.0, CHANCE))})
    z = (space.variables["z"] > 0).long()
    limit, table = float(LAW @ kernel @ LAW), torch.from_numpy(kernel)
    worth = torch.from_numpy(kernel @ LAW + LAW @ kernel - 2 * limit)
    left = table[z[:, :, None], z[:, None, :]].mean(dim=(1, 2)) - limit - worth[z].mean(dim=1)
    own = np.diagonal(rest(kernel))
    mean, variance = space.mean(left), space.mean(left**2) - space.mean(left) ** 2
    assert float(mean) == pytest.approx(float(LAW @ own) / n, rel=1e-9, abs=1e-13)
    claimed = (n - 1) / n**3 * constant(kernel) + float(LAW @ own**2 - (LAW @ own) ** 2) / n**3
    assert float(variance) == pytest.approx(claimed, rel=1e-9, abs=1e-13)


@given(kernel=kernels)
def test_variance_over_the_square_of_the_width(kernel: np.ndarray) -> None:
    """n^2 times the variance at large n, from binomial numbers of latents."""

    def scaled(n: int) -> float:
        counts = np.arange(n + 1)
        law = np.stack([n - counts, counts]) / n
        weights = stats.binom.pmf(counts, n, CHANCE)
        left = np.einsum("an,ab,bn->n", law - LAW[:, None], kernel, law - LAW[:, None])
        return float(n**2 * (weights @ left**2 - (weights @ left) ** 2))

    assert extrapolated([scaled(n) for n in (64, 128, 256, 512)]) == pytest.approx(constant(kernel), rel=1e-5, abs=1e-7)
