"""Claim `scaling.ntk` by enumeration of every residual and every draw."""

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.proofs.layers import generator, seeds


@given(count=st.integers(2, 7), data=st.data(), seed=seeds)
def test_error_by_enumeration(count: int, data: st.DataObject, seed: int) -> None:
    """Relative to the variance of what is read: n/m - 1, 2 - 2 (m/n)^(1/2), 1 - m/n; mean-field: 1/m - 1/n of it."""
    kept = data.draw(st.integers(1, count - 1))
    signal = generator(seed)(count)
    residuals = torch.tensor(list(itertools.product((-0.7, 0.7), repeat=count)), dtype=torch.float64)
    products = residuals * signal
    draws = torch.tensor(list(itertools.combinations(range(count), kept)))
    whole = products.sum(1, keepdim=True)
    part = products[:, draws].sum(-1)  # every residual, every draw
    power = (whole / math.sqrt(count)).square().mean()
    assert math.isclose(power, 0.49 * signal.square().mean(), rel_tol=1e-10)
    for factor, expected in (
        (count / kept, count / kept - 1),
        (math.sqrt(count / kept), 2 - 2 * math.sqrt(kept / count)),
        (1.0, 1 - kept / count),
    ):
        error = ((factor * part - whole) / math.sqrt(count)).square().mean()
        assert math.isclose(error / power, expected, rel_tol=1e-10)
    mean_field = (part / kept - whole / count).square().mean()
    assert math.isclose(mean_field / power, 1 / kept - 1 / count, rel_tol=1e-10)
