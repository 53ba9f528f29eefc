"""Claim `layout.gguf-rope` against the reshape and transpose with which the rows are stored."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import gap, generator, seeds, turned

counts = st.tuples(st.integers(1, 3), st.integers(1, 4))


def stored(rows: Tensor, heads: int) -> Tensor:
    """Return the rows as GGUF stores them: (heads, 2, d/2) becomes (heads, d/2, 2)."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def scores(q: Tensor, k: Tensor, x: Tensor, heads: int, *, interleaved: bool) -> Tensor:
    """Return the scores of all heads for query and key rows (H d, D)."""
    left, right = ((x @ rows.T).reshape(len(x), heads, -1).transpose(0, 1) for rows in (q, k))
    return turned(left, interleaved) @ turned(right, interleaved).mT


@given(counts=counts, seed=seeds)
def test_permuted_rows_give_the_scores(counts: tuple[int, int], seed: int) -> None:
    heads, half = counts
    draw, rows = generator(seed), 2 * heads * half
    x, q, k = draw(5, 3), draw(rows, 3), draw(rows, 3)
    found = scores(stored(q, heads), stored(k, heads), x, heads, interleaved=True)
    assert gap(found, scores(q, k, x, heads, interleaved=False)) <= 1e-10


@given(counts=counts)
def test_row_of_a_member(counts: tuple[int, int]) -> None:
    """Row 2(j-1) + b of a head holds the half-split row h(b-1) + j."""
    heads, half = counts
    places = stored(torch.arange(2 * heads * half), heads).reshape(heads, -1)
    for head in range(heads):
        for pair in range(1, half + 1):
            for member in (1, 2):
                row = places[head, 2 * (pair - 1) + member - 1]
                assert row == 2 * half * head + half * (member - 1) + pair - 1


@given(seed=seeds, half=st.integers(2, 4))
def test_rows_as_they_were_do_not(seed: int, half: int) -> None:
    draw = generator(seed)
    x, q, k = draw(5, 3), draw(2 * half, 3), draw(2 * half, 3)
    expected = scores(q, k, x, 1, interleaved=False)
    assert gap(scores(q, k, x, 1, interleaved=True), expected) > 1e-6
    assert gap(scores(stored(q, 1), k, x, 1, interleaved=True), expected) > 1e-6
