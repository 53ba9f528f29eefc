"""The statistic of pairs: the mean over all pairs, without their quadratic number."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import SEEDS, stream
from verification.chaos_pairs import pair_covariance


@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 7), SEEDS)
def test_pair_covariance_is_the_mean_over_pairs(seeds: int, inputs: int, n: int, seed: int) -> None:
    values = torch.randn(seeds, inputs, n, generator=stream(seed), dtype=torch.float64)
    products = [values[..., i] * values[..., j] for i in range(n) for j in range(n) if i != j]
    torch.testing.assert_close(pair_covariance(values), torch.stack(products).mean(dim=0).mean(dim=-1))
