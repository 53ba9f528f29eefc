"""Claim `widening.rmsnorm` on a decoder written from the definitions, over widths and multiplicities."""

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.proofs.layers import Decoder, gap, generator, rmsnorm, seeds, tokens_of, zero_sum

multiplicities = st.lists(st.integers(1, 4), min_size=2, max_size=7)


def balanced(
    decoder: Decoder, copies: list[int], seed: int, balance: float | None = None, noise: float = 1.0
) -> Decoder:
    """Widen by the rules of the claim, with `noise` on shares and reads; `balance` replaces every scale."""
    count = torch.tensor(copies, dtype=torch.float64)
    source = torch.arange(len(copies)).repeat_interleave(count.long())
    ratio = len(source) / len(copies)
    scale = torch.sqrt(ratio / count)[source] if balance is None else torch.full((len(source),), balance).double()
    draw = generator(seed)

    def read(weight: torch.Tensor) -> torch.Tensor:
        shares = 1 / count[source] + noise * zero_sum(draw(len(source)), source)
        return shares * weight[..., source] + noise * zero_sum(draw(*weight.shape[:-1], len(source)), source)

    return decoder.widened(
        write=lambda weight: scale[:, None] * weight[source],
        read=read,
        gain=lambda gain: gain[source] / scale,
        bias=lambda bias: bias[source],
    )


@given(copies=multiplicities, seed=seeds)
def test_balanced_copies_give_the_same_logits(copies: list[int], seed: int) -> None:
    decoder, words = Decoder.drawn(rmsnorm, len(copies), seed), tokens_of(seed)
    assert gap(balanced(decoder, copies, seed + 1).logits(words), decoder.logits(words)) <= 1e-10


@given(width=st.integers(2, 6), factor=st.integers(1, 4), seed=seeds)
def test_a_tile_copies_gains_and_writes(width: int, factor: int, seed: int) -> None:
    decoder, words = Decoder.drawn(rmsnorm, width, seed), tokens_of(seed)
    tile = decoder.widened(
        write=lambda weight: weight.repeat_interleave(factor, 0),
        read=lambda weight: weight.repeat_interleave(factor, -1) / factor,
        gain=lambda gain: gain.repeat_interleave(factor),
        bias=lambda bias: bias.repeat_interleave(factor),
    )
    assert gap(tile.logits(words), decoder.logits(words)) <= 1e-10


@given(copies=multiplicities, seed=seeds)
def test_unit_scales_are_wrong_unless_multiplicities_are_equal(copies: list[int], seed: int) -> None:
    assume(len(set(copies)) > 1)
    decoder, words = Decoder.drawn(rmsnorm, len(copies), seed), tokens_of(seed)
    assert gap(balanced(decoder, copies, seed + 1, balance=1.0).logits(words), decoder.logits(words)) > 1e-4


@given(copies=multiplicities, seed=seeds)
def test_unequal_energy_cannot_be_repaired(copies: list[int], seed: int) -> None:
    """No wide read reproduces a narrow one: the least error over all of them, found by least squares, stays."""
    assume(len(set(copies)) > 1)
    source = torch.arange(len(copies)).repeat_interleave(torch.tensor(copies))
    streams = torch.cat([torch.eye(len(copies)), generator(seed)(60, len(copies))]).double()
    read = generator(seed + 1)(len(copies)) + torch.sign(generator(seed + 1)(len(copies)))
    ones = torch.ones(len(copies), dtype=torch.float64)
    narrow = rmsnorm(streams, ones, ones, 0.0) @ read
    wide = rmsnorm(streams[:, source], torch.ones(len(source)).double(), ones, 0.0)
    left = narrow - wide @ torch.linalg.lstsq(wide, narrow[:, None], driver="gelsd").solution[:, 0]
    assert left.abs().max() > 1e-3 * narrow.abs().max()
