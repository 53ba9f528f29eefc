"""Text that a model writes itself: a sample of the law that its training left in it.

Calibrated on one kind of text, a pruned model forgets the others. Text drawn from the model itself at temperature 1 is
of every kind that the model knows, in the shares in which it knows them. A piece of text stays with its subject, so
pieces are short and many; windows are as long as those of other text, and hold several, one after the other.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.numerics import generator

Report = Callable[[int, int], None]

AT_ONCE = 48  # most pieces that are written side by side
PIECE = 256  # most tokens of a piece


@torch.no_grad()
def generate_windows(
    model: Any, count: int, length: int, seed: int = 0, *, report_progress: Report = lambda _done, _all: None
) -> Tensor:
    """Return windows that the model writes: (count, length) int64, in pieces that each have a first symbol.

    Args:
        model: a causal model of transformers.
        count: how many.
        length: tokens of each.
        seed: root of the draws.
        report_progress: takes pieces written and all pieces.

    Raises:
        UsageError: the configuration names no first symbol.
    """
    first = model.config.bos_token_id
    if first is None:
        raise UsageError("a model without a first symbol", "bos_token_id in its configuration", "use --text alone")
    ends = model.generation_config.eos_token_id
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    size = min(PIECE, length)
    pieces = -(-count * length // size)
    parts: list[Tensor] = []
    for prompt in torch.full((pieces, 1), first).tensor_split(-(-pieces // AT_ONCE)):
        report_progress(sum(map(len, parts)), pieces)
        written = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,  # the largest score, after `_draw` has left one
            logits_processor=[_draw(seed, len(parts))],
            min_new_tokens=size - 1,
            max_new_tokens=size - 1,
            suppress_tokens=ends or None,
            pad_token_id=ends[0] if ends else first,
        )
        parts.append(written)
    return torch.cat(parts)[:, :size].flatten()[: count * length].reshape(count, length)


def _draw(seed: int, part: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what draws a token from the scores (B, V) of each window, and leaves only that one possible.

    By the inverse of the distribution function, one uniform number a window. The race of exponential variables with
    which transformers draws takes V of them, which costs more time than the model does.
    """
    draws = generator(seed, "generated text", part)

    def choose(_words: Tensor, scores: Tensor) -> Tensor:
        below = scores.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        uniform = torch.rand(len(scores), 1, generator=draws, dtype=torch.float64).to(scores.device)
        tokens = torch.searchsorted(below, uniform * below[:, -1:], right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)

    return choose
