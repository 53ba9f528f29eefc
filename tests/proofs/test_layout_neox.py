"""Claim `layout.neox` against a reshape of the fused rows, with partial rotary position."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import attention, gap, generator, joined, seeds, turned

sizes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))


def neox(x: Tensor, fused: Tensor, out: Tensor, heads: int, rotary: int) -> Tensor:
    """Return what the layer writes: rows (H, 3, d), the first `rotary` coordinates of a head turn."""
    projected = (x @ fused.T).reshape(len(x), heads, 3, -1).permute(2, 1, 0, 3)
    q, k, v = projected
    return joined(attention(q, k, v, lambda vector: turned(vector, rotary=rotary))) @ out.T


@given(sizes=sizes)
def test_fused_rows_are_the_separate_ones(sizes: tuple[int, int, int]) -> None:
    """Row 3d(h-1) + (p-1)d + c for every head, part and coordinate, each row once."""
    heads, _, size = sizes
    fused = torch.arange(1, 3 * heads * size + 1).reshape(heads, 3, size)
    for head in range(1, heads + 1):
        for part in (1, 2, 3):
            for place in range(1, size + 1):
                assert fused[head - 1, part - 1, place - 1] == 3 * size * (head - 1) + (part - 1) * size + place


@given(sizes=sizes, factor=st.integers(1, 3), seed=seeds)
def test_copied_blocks_with_partial_rotary_position(sizes: tuple[int, int, int], factor: int, seed: int) -> None:
    """Copy blocks of 3d rows, split the output columns; heads relabelled as blocks give the same layer."""
    heads, pairs, rest = sizes
    size, draw = 2 * pairs + rest, generator(seed)
    x, fused, out = draw(5, 4), draw(3 * heads * size, 4), draw(4, heads * size)
    narrow = neox(x, fused, out, heads, 2 * pairs)
    blocks, columns = fused.reshape(heads, 3 * size, 4), out.reshape(4, heads, size)
    wide = blocks.repeat_interleave(factor, 0).flatten(0, 1)
    split = columns.repeat_interleave(factor, 1).flatten(1) / factor
    assert gap(neox(x, wide, split, factor * heads, 2 * pairs), narrow) <= 1e-10
    order = torch.randperm(heads, generator=torch.Generator().manual_seed(seed))
    moved = neox(x, blocks[order].flatten(0, 1), columns[:, order].flatten(1), heads, 2 * pairs)
    assert gap(moved, narrow) <= 1e-10
    if heads > 1:  # all queries first is another layout
        other = fused.reshape(heads, 3, size, 4).transpose(0, 1).flatten(0, 2)
        assert gap(neox(x, other, out, heads, 2 * pairs), narrow) > 1e-6
