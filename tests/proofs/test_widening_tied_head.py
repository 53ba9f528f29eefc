"""Claim `widening.tied-head` on a decoder whose head is its embedding."""

import math
from dataclasses import replace

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.proofs.layers import Decoder, gap, layernorm, rmsnorm, seeds, tokens_of
from tests.proofs.test_widening_layernorm import expanded
from tests.proofs.test_widening_rmsnorm import balanced, multiplicities
from tests.proofs.test_widening_zero_padding import padded


@given(copies=multiplicities, seed=seeds)
def test_balanced_copies(copies: list[int], seed: int) -> None:
    """The narrow final gain times D/D*, not divided by the scales; divided by them it is wrong."""
    decoder, words = Decoder.drawn(rmsnorm, len(copies), seed, tied=True), tokens_of(seed)
    wide = balanced(decoder, copies, seed + 1)
    source = torch.arange(len(copies)).repeat_interleave(torch.tensor(copies))
    ratio, bias = len(copies) / len(source), wide.biases[-1]
    narrow = decoder.logits(words)
    assert gap(wide.tied(ratio * decoder.gains[-1][source], bias).logits(words), narrow) <= 1e-10
    if len(set(copies)) > 1:
        assert gap(wide.tied(ratio * wide.gains[-1], bias).logits(words), narrow) > 1e-4


@given(width=st.integers(1, 6), pad=st.integers(0, 7), seed=seeds)
def test_zero_padding_needs_nothing_more(width: int, pad: int, seed: int) -> None:
    decoder, words = Decoder.drawn(rmsnorm, width, seed, tied=True), tokens_of(seed)
    wide = padded(decoder, pad, seed + 1)
    assert gap(wide.tied(wide.gains[-1], wide.biases[-1]).logits(words), decoder.logits(words)) <= 1e-10


@given(width=st.integers(2, 6), factor=st.integers(1, 3), extra=st.integers(0, 5), seed=seeds)
def test_layernorm_divides_by_the_number_of_copies(width: int, factor: int, extra: int, seed: int) -> None:
    """Gain and bias over k; with D/D* instead all logits shrink by rho = kD/D*."""
    decoder, words = Decoder.drawn(layernorm, width, seed, tied=True), tokens_of(seed)
    wide, narrow = expanded(decoder, extra, factor, seed + 1), decoder.logits(words)
    copies = (torch.arange(len(wide.gains[-1])) < factor * width).double()
    gain, bias = wide.gains[-1] * copies, wide.biases[-1] * copies
    assert gap(wide.tied(gain / factor, bias / factor).logits(words), narrow) <= 1e-10
    ratio = width / len(gain)
    assert gap(wide.tied(gain * ratio, bias * ratio).logits(words), factor * ratio * narrow) <= 1e-10


@given(width=st.integers(2, 6), factor=st.integers(1, 5), seed=seeds)
def test_scaled_embeddings(width: int, factor: int, seed: int) -> None:
    """Embeddings multiplied by the root of the width: both embedding and final gain over the root of k."""
    decoder, words = Decoder.drawn(rmsnorm, width, seed, tied=True), tokens_of(seed)
    decoder = replace(decoder, embed_scale=math.sqrt(width))
    wide = balanced(decoder, [factor] * width, seed + 1)
    root = math.sqrt(factor)
    wide = replace(wide, embed=wide.embed / root, embed_scale=math.sqrt(factor * width))
    narrow = decoder.logits(words)
    assert gap(wide.tied(wide.gains[-1] / root, wide.biases[-1]).logits(words), narrow) <= 1e-10
    assume(factor > 1)
    assert gap(wide.tied(wide.gains[-1] / factor, wide.biases[-1]).logits(words), narrow) > 1e-4
