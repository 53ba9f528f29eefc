"""The layers of a transformer in float64, written from their definitions, and a small decoder made of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

Map = Callable[[Tensor], Tensor]
seeds = st.integers(0, 2**31 - 1)


def generator(seed: int) -> Callable[..., Tensor]:
    """Return a source of standard normal tensors."""
    source = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=source, dtype=torch.float64)


def gap(found: Tensor, expected: Tensor) -> float:
    """Return the largest error relative to the largest expected entry."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def zero_sum(noise: Tensor, source: Tensor) -> Tensor:
    """Take from the last dimension of `noise` its mean over the copies of one source."""
    for unit in source.unique():
        copies = source == unit
        noise[..., copies] -= noise[..., copies].mean(-1, keepdim=True)
    return noise


def rmsnorm(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return gain x / sqrt(mean x^2 + eps); the bias has no part."""
    return gain * x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps)


def layernorm(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return gain (x - mean) / sqrt(var + eps) + bias, divisor D in the variance."""
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps) + bias


def turned(x: Tensor, interleaved: bool = False, rotary: int | None = None) -> Tensor:
    """Turn the first `rotary` coordinates of (..., tokens, head width) by position times 100^(-pair/pairs)."""
    size = x.shape[-1] if rotary is None else rotary
    head, rest = x[..., :size], x[..., size:]
    first, second = (head[..., ::2], head[..., 1::2]) if interleaved else head.split(size // 2, -1)
    pairs = torch.arange(size // 2, dtype=torch.float64)
    angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * 100 ** (-2 * pairs / size)
    turn = (first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos())
    whole = torch.stack(turn, -1).flatten(-2) if interleaved else torch.cat(turn, -1)
    return torch.cat((whole, rest), -1)


def attention(q: Tensor, k: Tensor, v: Tensor, turn: Map = turned) -> Tensor:
    """Return the causal mixture of values for q (heads, tokens, d) and k, v (groups, tokens, d), heads in place."""
    repeat = len(q) // len(k)
    scores = turn(q) @ turn(k).repeat_interleave(repeat, 0).mT / math.sqrt(q.shape[-1])
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1) @ v.repeat_interleave(repeat, 0)


def heads(x: Tensor, weight: Tensor, count: int) -> Tensor:
    """Return a projection of (tokens, D) as (heads, tokens, d)."""
    return (x @ weight.T).reshape(len(x), count, -1).transpose(0, 1)


def joined(x: Tensor) -> Tensor:
    """Return (heads, tokens, d) as (tokens, heads d)."""
    return x.transpose(0, 1).flatten(1)


def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Return down (silu(gate x) * up x)."""
    return (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T


@dataclass(frozen=True)
class Decoder:
    """A small decoder; names are those of the Llama family. Norm 2l and 2l + 1 belong to layer l, the last is final."""

    norm: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    embed: Tensor
    head: Tensor
    gains: list[Tensor]
    biases: list[Tensor]
    layers: list[dict[str, Tensor]]
    eps: float = 0.1  # large, so that a wrong epsilon is seen
    embed_scale: float = 1.0
    counts: tuple[int, int] = field(default=(4, 2))  # queries, groups

    @classmethod
    def drawn(cls, norm: Callable[..., Tensor], width: int, seed: int, tied: bool = False) -> "Decoder":
        """Return a random decoder: two layers, four queries in two groups of width 4, nine units, seven words."""
        draw = generator(seed)
        embed = draw(7, width)
        sizes = {"q": (16, width), "k": (8, width), "v": (8, width), "o": (width, 16)}
        sizes |= {"gate": (9, width), "up": (9, width), "down": (width, 9)}
        layers = [{name: draw(*shape) / 2 for name, shape in sizes.items()} for _ in range(2)]
        gains, biases = ([draw(width) for _ in range(5)] for _ in range(2))
        return cls(norm, embed, embed if tied else draw(7, width), gains, biases, layers)

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits at every position."""
        x = self.embed[tokens] * self.embed_scale
        for number, layer in enumerate(self.layers):
            y = self._normed(x, 2 * number)
            queries, groups = self.counts
            mixed = attention(heads(y, layer["q"], queries), *(heads(y, layer[name], groups) for name in "kv"))
            x = x + joined(mixed) @ layer["o"].T
            x = x + swiglu(self._normed(x, 2 * number + 1), layer["gate"], layer["up"], layer["down"])
        return self._normed(x, len(self.gains) - 1) @ self.head.T

    def _normed(self, x: Tensor, number: int) -> Tensor:
        return self.norm(x, self.gains[number], self.biases[number], self.eps)

    def widened(self, write: Map, read: Map, gain: Map, bias: Map, eps: float = 1.0) -> "Decoder":
        """Return the decoder with a wider residual axis.

        Args:
            write: rows (first dimension) that write to the axis.
            read: columns (last dimension) that read from it.
            gain: gains of the norms.
            bias: their biases.
            eps: factor on epsilon.
        """
        reads, writes = ("q", "k", "v", "gate", "up"), ("o", "down")
        layers = [{n: read(t[n]) for n in reads} | {n: write(t[n]) for n in writes} for t in self.layers]
        return replace(
            self,
            embed=write(self.embed.T).T,
            head=read(self.head),
            gains=[gain(entry) for entry in self.gains],
            biases=[bias(entry) for entry in self.biases],
            layers=layers,
            eps=eps * self.eps,
        )

    def tied(self, final_gain: Tensor, final_bias: Tensor) -> "Decoder":
        """Return the decoder with its embedding as head and another final norm."""
        return replace(
            self,
            head=self.embed,
            gains=[*self.gains[:-1], final_gain],
            biases=[*self.biases[:-1], final_bias],
        )


def tokens_of(seed: int) -> Tensor:
    """Return five random words."""
    return torch.randint(0, 7, (5,), generator=torch.Generator().manual_seed(seed))
