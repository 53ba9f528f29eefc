"""Claim `widening.swiglu` on a gated layer written from its definition."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.proofs.layers import gap, generator, seeds, swiglu, zero_sum

copies_of_units = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@given(copies=copies_of_units, seed=seeds)
def test_copied_units(copies: list[int], seed: int) -> None:
    """Down split in any shares with noise; or up split evenly and down copied."""
    draw, count = generator(seed), torch.tensor(copies, dtype=torch.float64)
    x, gate, up, down = draw(5, 3), draw(len(copies), 3), draw(len(copies), 3), draw(3, len(copies))
    source = torch.arange(len(copies)).repeat_interleave(count.long())
    narrow = swiglu(x, gate, up, down)
    shares = 1 / count[source] + zero_sum(draw(len(source)), source)
    noise = zero_sum(draw(3, len(source)), source)
    wide = swiglu(x, gate[source], up[source], down[:, source] * shares + noise)
    assert gap(wide, narrow) <= 1e-10
    assert gap(swiglu(x, gate[source], up[source] / count[source, None], down[:, source]), narrow) <= 1e-10


@given(factor=st.integers(2, 4), seed=seeds)
def test_a_split_gate_is_wrong(factor: int, seed: int) -> None:
    draw = generator(seed)
    x, gate, up, down = draw(5, 3), draw(4, 3), draw(4, 3), draw(3, 4)
    source = torch.arange(4).repeat(factor)
    wrong = swiglu(x, gate[source] / factor, up[source], down[:, source])
    assert gap(wrong, swiglu(x, gate, up, down)) > 1e-4
