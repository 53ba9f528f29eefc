"""Claim `narrowing.rotation` on a decoder written from the definitions."""

import math
from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import Decoder, gap, generator, layernorm, rmsnorm, seeds, tokens_of

Map = Callable[[Tensor], Tensor]


def frame(rows: int, columns: int, seed: int) -> Tensor:
    """Return random orthonormal columns; as many as rows make an orthogonal matrix."""
    basis, _ = torch.linalg.qr(generator(seed)(rows, columns))
    return basis


def folded(decoder: Decoder) -> Decoder:
    """Return the decoder with its gains in the matrices that read: the same function."""
    gains = decoder.gains
    layers = [
        {n: t * gains[2 * number + (n in ("gate", "up"))] if n not in ("o", "down") else t for n, t in layer.items()}
        for number, layer in enumerate(decoder.layers)
    ]
    ones = [torch.ones_like(gain) for gain in gains]
    return Decoder(decoder.norm, decoder.embed, decoder.head * gains[-1], ones, decoder.biases, layers)


def mapped(decoder: Decoder, write: Tensor, read: Tensor) -> Decoder:
    """Return the decoder whose stream is mapped by `write` (new, old), and read back by `read` (old, new)."""
    new = len(write)
    return decoder.widened(
        write=lambda weight: write @ weight,
        read=lambda weight: weight @ read,
        gain=lambda _gain: torch.ones(new, dtype=torch.float64),
        bias=lambda _bias: torch.zeros(new, dtype=torch.float64),
    )


@given(width=st.integers(1, 8), seed=seeds)
def test_a_turned_model_gives_the_same_logits(width: int, seed: int) -> None:
    decoder, words, turn = Decoder.drawn(rmsnorm, width, seed), tokens_of(seed), frame(width, width, seed + 1)
    assert gap(mapped(folded(decoder), turn.T, turn).logits(words), decoder.logits(words)) <= 1e-10


@given(width=st.integers(3, 8), seed=seeds)
def test_neither_gains_nor_means_nor_another_map_let_it_turn(width: int, seed: int) -> None:
    words, turn = tokens_of(seed), frame(width, width, seed + 1)
    plain, centred = Decoder.drawn(rmsnorm, width, seed), folded(Decoder.drawn(layernorm, width, seed))
    kept = plain.widened(
        write=lambda weight: turn.T @ weight,
        read=lambda weight: weight @ turn,
        gain=lambda gain: gain,
        bias=lambda bias: bias,
    )
    map_ = torch.eye(width, dtype=torch.float64) + 0.5 * generator(seed + 2)(width, width).triu(1)
    sheared = mapped(folded(plain), map_, torch.linalg.inv(map_))
    without_bias = mapped(centred, torch.eye(width, dtype=torch.float64), torch.eye(width, dtype=torch.float64))
    assert gap(kept.logits(words), plain.logits(words)) > 1e-6
    assert gap(sheared.logits(words), plain.logits(words)) > 1e-6
    assert gap(mapped(centred, turn.T, turn).logits(words), without_bias.logits(words)) > 1e-6


@given(width=st.integers(2, 8), cut=st.integers(1, 5), seed=seeds)
def test_what_stays_zero_is_cut(width: int, cut: int, seed: int) -> None:
    """A stream confined to a subspace: its coordinates there are the whole model, with both factors and not without."""
    wide, words = width + cut, tokens_of(seed)
    basis = frame(wide, width, seed + 1)
    onto = basis @ basis.T
    decoder = folded(Decoder.drawn(rmsnorm, wide, seed))
    decoder = mapped(decoder, onto, torch.eye(wide, dtype=torch.float64))
    scale = math.sqrt(wide / width)
    small = mapped(decoder, basis.T / scale, scale * basis)
    assert small.embed.shape[1] == width
    assert gap(small.logits(words), decoder.logits(words)) <= 1e-10
    for wrong in (mapped(decoder, basis.T, scale * basis), mapped(decoder, basis.T / scale, basis)):
        assert gap(wrong.logits(words), decoder.logits(words)) > 1e-6


@given(width=st.integers(2, 8), kept=st.integers(1, 7), seed=seeds)
def test_no_frame_holds_more_than_the_leading_directions(width: int, kept: int, seed: int) -> None:
    kept = min(kept, width - 1)
    rows = generator(seed)(20, width) @ generator(seed + 1)(width, width)
    moments, vectors = torch.linalg.eigh(rows.T @ rows)
    best = moments[-kept:].sum()
    assert abs((rows @ vectors[:, -kept:]).square().sum() / best - 1) <= 1e-10
    other = frame(width, kept, seed + 2)
    assert (rows @ other).square().sum() <= best * (1 + 1e-10)
    assert (rows @ vectors[:, :kept]).square().sum() < best
