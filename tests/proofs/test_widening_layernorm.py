"""Claim `widening.layernorm` on a decoder written from the definitions, and where it fails."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import Decoder, gap, generator, layernorm, seeds, tokens_of, zero_sum


def expanded(decoder: Decoder, extra: int, factor: int, seed: int) -> Decoder:
    """Widen to `factor` copies and `extra` coordinates that carry the mean, with free gains and reads on the latter."""
    width, draw = decoder.embed.shape[1], generator(seed)
    source = torch.arange(width).repeat(factor)
    scale = factor * width / (factor * width + extra)

    def write(weight: Tensor) -> Tensor:
        return torch.cat((weight[source], weight.mean(0, keepdim=True).expand(extra, -1)))

    def read(weight: Tensor) -> Tensor:
        noise = zero_sum(draw(*weight.shape[:-1], len(source)), source)
        return torch.cat((weight[..., source] / factor + noise, draw(*weight.shape[:-1], extra)), -1)

    return decoder.widened(
        write=write,
        read=read,
        gain=lambda gain: torch.cat((math.sqrt(scale) * gain[source], draw(extra))),
        bias=lambda bias: torch.cat((bias[source], torch.zeros(extra, dtype=torch.float64))),
        eps=scale,
    )


@given(width=st.integers(2, 6), factor=st.integers(1, 3), extra=st.integers(0, 9), seed=seeds)
def test_mean_carrying_coordinates_give_the_same_logits(width: int, factor: int, extra: int, seed: int) -> None:
    """`extra` may exceed the width: k copies need not be the most that fit."""
    decoder, words = Decoder.drawn(layernorm, width, seed), tokens_of(seed)
    assert gap(expanded(decoder, extra, factor, seed + 1).logits(words), decoder.logits(words)) <= 1e-10


@given(width=st.integers(2, 9), wide=st.integers(2, 40))
def test_the_scale_is_the_floor_times_the_ratio(width: int, wide: int) -> None:
    """The largest k leaves fewer than D further coordinates, and rho = kD/D* is floor(D*/D) D/D*."""
    factor, extra = divmod(wide, width)
    if factor:
        assert math.isclose(factor * width / (factor * width + extra), math.floor(wide / width) * width / wide)


@given(copies=st.lists(st.integers(1, 4), min_size=3, max_size=6).filter(lambda m: len(set(m)) > 1), seed=seeds)
def test_unequal_copies_cannot_be_repaired(copies: list[int], seed: int) -> None:
    """No wide read reproduces a narrow one, whatever the scales: the least error over all of them stays."""
    draw, source = generator(seed), torch.arange(len(copies)).repeat_interleave(torch.tensor(copies))
    streams, read = draw(80, len(copies)), torch.eye(len(copies), dtype=torch.float64)[0]
    for scale in (torch.ones(len(copies), dtype=torch.float64), draw(len(copies)).exp()):
        one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        narrow = layernorm(streams, one, none, 0.0) @ read
        wide = layernorm((scale * streams)[:, source], one, none, 0.0)
        wide = torch.cat((wide, torch.ones(len(wide), 1, dtype=torch.float64)), 1)  # any bias
        left = narrow - wide @ torch.linalg.lstsq(wide, narrow[:, None], driver="gelsd").solution[:, 0]
        assert left.abs().max() > 1e-4 * narrow.abs().max()


@given(first=st.integers(1, 5), second=st.integers(1, 5), seed=seeds)
def test_two_coordinates_are_an_exception(first: int, second: int, seed: int) -> None:
    """With D = 2 unequal multiplicities are exact with gains of their own: why the claim needs three coordinates."""
    draw, total = generator(seed), first + second
    stream, gain, bias, eps = draw(5, 2), draw(2), draw(2), 0.1
    source = torch.tensor([0] * first + [1] * second)
    ratio = 4 * first * second / total**2  # of the two variances
    factor = torch.tensor([total / (2 * second), total / (2 * first)], dtype=torch.float64) * math.sqrt(ratio)
    wide = layernorm(stream[:, source], (gain * factor)[source], bias[source], ratio * eps)
    assert gap(wide, layernorm(stream, gain, bias, eps)[:, source]) <= 1e-10
