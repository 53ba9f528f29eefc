"""Claim `layout.gpt2` on attention in the stored layout: Conv1D, c_attn in three blocks, LayerNorm in front."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import attention, gap, generator, joined, layernorm, seeds

EPS = 0.1


def gpt2(
    x: Tensor, norm: tuple[Tensor, Tensor], c_attn: tuple[Tensor, Tensor], c_proj: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """Return the stream after the layer; matrices are stored (in, out), blocks of equal width q, k, v."""
    normed = layernorm(x, *norm, EPS)
    parts = (normed @ c_attn[0] + c_attn[1]).chunk(3, -1)
    q, k, v = (part.reshape(len(x), heads, -1).transpose(0, 1) for part in parts)
    return x + joined(attention(q, k, v, lambda vector: vector)) @ c_proj[0] + c_proj[1]


@given(heads=st.integers(1, 3), size=st.integers(2, 3), factor=st.integers(1, 3), seed=seeds)
def test_tiled_attention_in_the_stored_layout(heads: int, size: int, factor: int, seed: int) -> None:
    """Rows of a read are split, columns of a write copied; head copies in place inside each block."""
    width, draw = heads * size, generator(seed)
    x, norm = draw(4, width), (draw(width), draw(width))
    c_attn, c_proj = (draw(width, 3 * width), draw(3 * width)), (draw(width, width), draw(width))
    narrow = gpt2(x, norm, c_attn, c_proj, heads)

    def tile(tensor: Tensor, dimension: int) -> Tensor:
        return tensor.repeat_interleave(factor, dimension)

    def blocks(tensor: Tensor, parts: int) -> Tensor:
        shape = tensor.shape[:-1]
        return tile(tensor.reshape(*shape, parts, heads, size), -2).reshape(*shape, -1)

    wide_attn = (blocks(tile(c_attn[0], 0) / factor, 3), blocks(c_attn[1], 3))
    wide_proj = (tile(blocks(c_proj[0].T / factor, 1).T, 1), tile(c_proj[1], 0))
    wide_norm = (tile(norm[0], 0), tile(norm[1], 0))
    wide = gpt2(tile(x, 1), wide_norm, wide_attn, wide_proj, factor * heads)
    assert gap(wide, tile(narrow, 1)) <= 1e-10
    if factor > 1:  # the copies appended at the end of the axis, so that the blocks start where they did
        grown = tile(c_attn[0], 0) / factor
        appended = (torch.cat([grown] * factor, -1), torch.cat([c_attn[1]] * factor, -1))
        assert gap(gpt2(tile(x, 1), wide_norm, appended, wide_proj, factor * heads), tile(narrow, 1)) > 1e-6


@given(heads=st.integers(1, 4), size=st.integers(1, 4))
def test_columns_of_the_blocks(heads: int, size: int) -> None:
    stored = torch.arange(1, 3 * heads * size + 1).reshape(3, heads, size)
    for part, head, place in torch.cartesian_prod(torch.arange(3), torch.arange(heads), torch.arange(size)):
        assert stored[part, head, place] == part * heads * size + head * size + place + 1
