"""Texts as windows of tokens: files, one after the other, cut to equal lengths."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.transfer.models import longest, tokenize

# Characters that are read for each token that is asked for. A token of English has four or five, of tables more.
AMPLE = 16


def read_texts(paths: Sequence[Path]) -> list[str]:
    """Return the contents of text files.

    Raises:
        UsageError: no file, or one that cannot be read or holds nothing.
    """
    if not paths:
        raise UsageError("no text", "at least one file", "name it with --text FILE")
    found = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            found_ = f"text {path} cannot be read ({error.strerror or error})"
            raise UsageError(found_, "a text file", "check the path") from error
        if not text.strip():
            raise UsageError(f"text {path} is empty", "some words", "name another file")
        found.append(text)
    return found


def windows_of(folder: Path, texts: Sequence[str], *, tokens: int, length: int) -> Tensor:
    """Return windows of several texts, (N, length) int64: as many of each as there are, up to `tokens` in all.

    Windows of a text lie at equal distances over the whole of it: neighbours say much the same. Every text gets an
    equal share of them, and what a short one leaves goes to the others. Texts that are shorter than a window are read
    one after the other, as one text; if that is all there is, and it is shorter still, it is one window. Of a text that
    is far longer than needed only passages become tokens, at equal distances too: the time that this takes follows
    `tokens`, not the size of the files.

    Args:
        folder: of the model, with its tokenizer.
        texts: one or more.
        tokens: most tokens in all.
        length: most tokens of a window; fewer where the model reads fewer at once, or `tokens` is less.

    Raises:
        CheckpointError: no tokenizer.
        UsageError: less than two tokens, in all or in a window.
    """
    if length < 2 or tokens < 2:
        raise UsageError(f"{tokens} tokens in windows of {length}", "at least 2 of each", "give more")
    length = min(length, tokens, longest(folder) or length)
    streams = _joined([tokenize(folder, _passages(text, tokens, length))[0] for text in texts], length)
    length = min(length, max(len(stream) for stream in streams))
    available = [len(stream) // length for stream in streams]
    taken = shares(available, max(1, tokens // length))
    return torch.cat([_spread(s, k, length) for s, k in zip(streams, taken, strict=True)])


def _passages(text: str, tokens: int, length: int) -> str:
    """Return a text, or passages of it, one for each window that it could be asked for, one after the other."""
    count = max(1, tokens // length)
    size = AMPLE * tokens // count
    if len(text) <= size * count:
        return text
    part = len(text) // count  # at least as long as a passage, which is the middle of it
    starts = [i * part + (part - size) // 2 for i in range(count)]
    return "".join(text[start : start + size] for start in starts)


def _joined(streams: Sequence[Tensor], length: int) -> list[Tensor]:
    """Return the streams (T,), those that are shorter than a window as one."""
    short = [stream for stream in streams if len(stream) < length]
    long = [stream for stream in streams if len(stream) >= length]
    return [*long, torch.cat(short)] if short else long


def _spread(stream: Tensor, count: int, length: int) -> Tensor:
    """Return `count` windows of a stream (T,), each from the middle of an equal part of all those that it has."""
    windows = stream[: len(stream) // length * length].reshape(-1, length)
    return windows[(2 * torch.arange(count) + 1) * len(windows) // (2 * max(count, 1))]


def shares(available: Sequence[int], wanted: int) -> list[int]:
    """Share `wanted` places among several stocks as evenly as their sizes allow; the first take what is left over."""
    taken = [0] * len(available)
    while wanted and (open_ := [i for i, stock in enumerate(available) if taken[i] < stock]):
        each, over = divmod(wanted, len(open_))
        for rank, i in enumerate(open_):
            more = min(each + (rank < over), available[i] - taken[i])
            taken[i] += more
            wanted -= more
    return taken
