"""Claim `widening.zero-padding` on a decoder written from the definitions."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.proofs.layers import Decoder, gap, generator, rmsnorm, seeds, tokens_of


def padded(decoder: Decoder, pad: int, seed: int, *, eps: bool = True, eta: bool = True) -> Decoder:
    """Pad by the rules of the claim, with random gains and reads on the padding; the flags leave a factor out."""
    width, draw = decoder.embed.shape[1], generator(seed)
    factor = math.sqrt(width / (width + pad))
    return decoder.widened(
        write=lambda weight: torch.cat((weight, torch.zeros(pad, weight.shape[1], dtype=torch.float64))),
        read=lambda weight: torch.cat((weight, draw(*weight.shape[:-1], pad)), -1),
        gain=lambda gain: torch.cat(((factor if eta else 1.0) * gain, draw(pad))),
        bias=lambda bias: torch.cat((bias, draw(pad))),
        eps=factor**2 if eps else 1.0,
    )


@given(width=st.integers(1, 6), pad=st.integers(0, 7), seed=seeds)
def test_padded_model_gives_the_same_logits(width: int, pad: int, seed: int) -> None:
    decoder, words = Decoder.drawn(rmsnorm, width, seed), tokens_of(seed)
    assert gap(padded(decoder, pad, seed + 1).logits(words), decoder.logits(words)) <= 1e-10


@given(width=st.integers(2, 6), pad=st.integers(1, 7), seed=seeds)
def test_neither_factor_may_be_left_out(width: int, pad: int, seed: int) -> None:
    decoder, words = Decoder.drawn(rmsnorm, width, seed), tokens_of(seed)
    for wrong in (padded(decoder, pad, seed + 1, eps=False), padded(decoder, pad, seed + 1, eta=False)):
        assert gap(wrong.logits(words), decoder.logits(words)) > 1e-6
