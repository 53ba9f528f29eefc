"""Text that a model writes itself: a sample of the law that its training left in it.

Calibrated on one kind of text, a pruned model forgets the others. Text drawn from the model itself at temperature 1 is
of every kind that the model knows, in the shares in which it knows them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.numerics import stream_seed

Report = Callable[[int, int], None]

AT_ONCE = 48  # windows that are written side by side


@torch.no_grad()
def generate_windows(
    model: Any, count: int, length: int, seed: int = 0, *, report_progress: Report = lambda _done, _all: None
) -> Tensor:
    """Return windows that the model writes: (count, length) int64, each from its first symbol on.

    Args:
        model: a causal model of transformers.
        count: how many.
        length: tokens of each, the first symbol included.
        seed: root of the draws; the global generator of torch is left as it was.
        report_progress: takes windows written and all windows.

    Raises:
        UsageError: the configuration names no first symbol.
    """
    first = model.config.bos_token_id
    if first is None:
        raise UsageError("a model without a first symbol", "bos_token_id in its configuration", "use --text alone")
    ends = model.generation_config.eos_token_id
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    parts = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "generated text"))
        for start in range(0, count, AT_ONCE):
            report_progress(start, count)
            prompt = torch.full((min(AT_ONCE, count - start), 1), first)
            parts.append(
                model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    min_new_tokens=length - 1,
                    max_new_tokens=length - 1,
                    suppress_tokens=ends or None,
                    pad_token_id=ends[0] if ends else first,
                )
            )
    return torch.cat(parts)[:, :length]
