"""Claim `widening.gqa` on attention written from its definition: projections, head norms, rotary positions, output."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import attention, gap, generator, joined, rmsnorm, seeds, turned, zero_sum

WIDTH, SIZE, TOKENS = 5, 4, 6


@dataclass(frozen=True)
class Attention:
    """Weights by head: q (heads, d, D), k and v (groups, d, D), o (D, heads, d), gains of the head norms."""

    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor
    gain_q: Tensor
    gain_k: Tensor

    @classmethod
    def drawn(cls, groups: int, queries: int, draw: Callable[..., Tensor]) -> "Attention":
        """Return random weights."""
        count = groups * queries
        keys = [draw(groups, SIZE, WIDTH) for _ in range(2)]
        return cls(draw(count, SIZE, WIDTH), *keys, draw(WIDTH, count, SIZE), draw(count, SIZE), draw(groups, SIZE))

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the layer writes for a stream of shape (tokens, D)."""
        zero = torch.zeros(SIZE, dtype=torch.float64)
        q = rmsnorm(torch.einsum("hcj,tj->htc", self.q, x), self.gain_q[:, None], zero, 0.1)
        k = rmsnorm(torch.einsum("hcj,tj->htc", self.k, x), self.gain_k[:, None], zero, 0.1)
        mixed = attention(q, k, torch.einsum("hcj,tj->htc", self.v, x), turned)
        return joined(mixed) @ self.o.flatten(1).T

    def heads(self, queries: Tensor, groups: Tensor) -> "Attention":
        """Take query heads and groups by index; the output columns come along whole."""
        return Attention(
            self.q[queries],
            self.k[groups],
            self.v[groups],
            self.o[:, queries],
            self.gain_q[queries],
            self.gain_k[groups],
        )


def split(layer: Attention, source: Tensor, draw: Callable[..., Tensor]) -> Attention:
    """Split output columns evenly among the copies of a head, with noise of sum zero."""
    count = torch.bincount(source).double()[source]
    noise = zero_sum(draw(WIDTH, SIZE, len(source)), source).mT
    return replace(layer, o=layer.o / count[:, None] + noise)


@given(copies=st.lists(st.integers(1, 3), min_size=1, max_size=4), queries=st.integers(1, 3), seed=seeds)
def test_copied_groups(copies: list[int], queries: int, seed: int) -> None:
    draw = generator(seed)
    layer, x = Attention.drawn(len(copies), queries, draw), draw(TOKENS, WIDTH)
    groups = torch.arange(len(copies)).repeat_interleave(torch.tensor(copies))
    source = (groups[:, None] * queries + torch.arange(queries)).flatten()
    wide = layer.heads(source, groups)
    assert gap(split(wide, source, draw)(x), layer(x)) <= 1e-10
    if len(source) > len(layer.q):
        assert gap(wide(x), layer(x)) > 1e-6  # whole columns


@given(groups=st.integers(1, 3), queries=st.integers(1, 3), more=st.integers(1, 4), seed=seeds)
def test_copied_queries(groups: int, queries: int, more: int, seed: int) -> None:
    """Every group gets the same number of queries, by multiplicities of its own."""
    draw = generator(seed)
    layer, x = Attention.drawn(groups, queries, draw), draw(TOKENS, WIDTH)
    source = []
    for group in range(groups):
        added = torch.randint(0, queries, (more,), generator=torch.Generator().manual_seed(seed + group))
        inside = torch.cat((torch.arange(queries), added)).sort().values
        source.append(group * queries + inside)
    wide = layer.heads(torch.cat(source), torch.arange(groups))
    assert gap(split(wide, torch.cat(source), draw)(x), layer(x)) <= 1e-10


@given(groups=st.integers(1, 3), parts=st.integers(1, 3), queries=st.integers(1, 2), seed=seeds)
def test_unshared_heads(groups: int, parts: int, queries: int, seed: int) -> None:
    """Each key-value head repeated in place, queries and output columns untouched."""
    draw = generator(seed)
    layer, x = Attention.drawn(groups, parts * queries, draw), draw(TOKENS, WIDTH)
    everyone = torch.arange(groups * parts * queries)
    wide = layer.heads(everyone, torch.arange(groups).repeat_interleave(parts))
    assert gap(wide(x), layer(x)) <= 1e-10
    if groups > 1 and parts > 1:  # repeated end to end instead of in place
        assert gap(layer.heads(everyone, torch.arange(groups).repeat(parts))(x), layer(x)) > 1e-6
