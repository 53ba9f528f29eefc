"""What several test files need: cut-offs with a reason, and strategies of random networks."""

import torch
from hypothesis import strategies as st

CUTOFF = 1e-9
"""p-value under which a stochastic test fails: a thousand such tests a day would ring once in 2,700 years."""

SEEDS = st.integers(0, 2**31 - 1)


def stream(seed: int) -> torch.Generator:
    """Return a generator seeded by an example of hypothesis."""
    return torch.Generator().manual_seed(seed)


def networks(max_depth: int = 4, max_width: int = 6) -> st.SearchStrategy[list[int]]:
    """Draw widths n_0..n_L of a network of depth 2 to `max_depth`."""
    return st.integers(2, max_depth).flatmap(
        lambda depth: st.lists(st.integers(1, max_width), min_size=depth + 1, max_size=depth + 1)
    )
