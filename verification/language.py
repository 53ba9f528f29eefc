"""English text that ships with Python, as characters: the topics of its help system, split by topic."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import log
from pydoc_data.topics import topics

import torch
from torch import Tensor

from rctheory.numerics import generator

ALPHABET = "\n" + "".join(chr(code) for code in range(32, 127))
OTHER = len(ALPHABET)  # one symbol for every other character
SYMBOLS = len(ALPHABET) + 1
HELD_OUT = 0.1  # of all characters, at most


@dataclass(frozen=True)
class Text:
    """Characters as symbols: the whole text (N,), int64, and the topics that it is made of."""

    symbols: Tensor
    topics: tuple[str, ...]


@cache
def text() -> tuple[Text, Text]:
    """Return training and held-out text. The split is by topic and fixed: it does not follow the seed of a run."""
    names = sorted(topics)
    shuffled = [names[k] for k in torch.randperm(len(names), generator=generator(0, "language", "split")).tolist()]
    held_out: list[str] = []
    room = HELD_OUT * sum(map(len, topics.values()))
    for name in shuffled:
        if len(topics[name]) <= room:
            held_out.append(name)
            room -= len(topics[name])
    chosen = set(held_out)
    return _join([name for name in shuffled if name not in chosen]), _join(held_out)


def encode(characters: str) -> Tensor:
    """Return the symbols of a string: its places in `ALPHABET`, `OTHER` for every other character."""
    codes = torch.frombuffer(bytearray(characters.encode("utf-32-le")), dtype=torch.int32).long()
    places = torch.full((int(codes.max()) + 1,), OTHER)
    for place, character in enumerate(ALPHABET):
        places[ord(character) : ord(character) + 1] = place  # an empty slice where no such code occurs
    return places[codes]


def batches(symbols: Tensor, *, batch: int, length: int, steps: int, stream: torch.Generator) -> Iterator[Tensor]:
    """Draw `steps` batches of windows (batch, length + 1): inputs and, one place later, targets."""
    offsets = torch.arange(length + 1)
    for _ in range(steps):
        starts = torch.randint(len(symbols) - length, (batch, 1), generator=stream)
        yield symbols[starts + offsets]


def windows(symbols: Tensor, *, length: int) -> Tensor:
    """Return the text cut into windows (B, length + 1) whose targets cover it once; the rest at its end is dropped."""
    return symbols.unfold(0, length + 1, length)


def unigram_loss(training: Text, held_out: Text) -> float:
    """Return the loss, in nats for each character, of the symbols' frequencies in the training text (plus one each)."""
    counts = torch.bincount(training.symbols, minlength=SYMBOLS).double() + 1
    return float(-(counts / counts.sum()).log()[held_out.symbols].mean())


def bigram_loss(training: Text, held_out: Text) -> float:
    """Return the loss of the frequencies of a symbol after the one before it, mixed with those of single symbols.

    p(b | a) = (count(a b) + p(b)) / (count(a) + 1): the unseen pair falls back to the single symbol.
    """
    single = torch.bincount(training.symbols, minlength=SYMBOLS).double() + 1
    single /= single.sum()
    pairs = Counter(zip(training.symbols[:-1].tolist(), training.symbols[1:].tolist(), strict=True))
    firsts = Counter(training.symbols[:-1].tolist())
    inputs, targets = held_out.symbols[:-1].tolist(), held_out.symbols[1:].tolist()
    losses = [-log((pairs[a, b] + float(single[b])) / (firsts[a] + 1)) for a, b in zip(inputs, targets, strict=True)]
    return sum(losses) / len(losses)


def _join(names: list[str]) -> Text:
    """Join topics to one text."""
    return Text(encode("\n".join(topics[name] for name in names)), tuple(names))
