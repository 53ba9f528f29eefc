"""Run a model before and after its transfer, in transformers, and compare what they say."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.errors import UsageError
from rctheory.transfer.models import (
    folder_of,
    is_causal,
    load_model,
    longest,
    require_transformers,
    tokenize,
)
from rctheory.transfer.transfer_plan import TransferPlan

TOKENS = 1024


@dataclass(frozen=True)
class Verification:
    """Two models on one text, in float32.

    Args:
        tokens: number of tokens compared.
        difference: largest absolute difference of an output.
        range: largest minus smallest output of the source.
        source_loss: mean negative log-likelihood of the next token; NaN for a model without a language head.
        target_loss: the same after the transfer.
        outputs: what was compared: logits, or hidden states where there is no language head.
    """

    tokens: int
    difference: float
    range: float
    source_loss: float
    target_loss: float
    outputs: str

    @property
    def relative(self) -> float:
        """Return the largest difference as a part of the range."""
        return self.difference / self.range

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a loss that does not exist is null."""
        values = asdict(self) | {"relative": self.relative}
        return {key: None if isinstance(v, float) and v != v else v for key, v in values.items()}


def verify_transfer(checkpoint: Checkpoint, target: Path, plan: TransferPlan | None, text: str) -> Verification:
    """Compare a checkpoint with its transfer on the first tokens of a text.

    Hidden states of a wider model are compared copy by copy with the units that the plan took them from.

    Args:
        checkpoint: the source, open.
        target: the folder that `apply_transfer` wrote, with its tokenizer.
        plan: what was applied; None where the stream has kept its units.
        text: any text.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no tokenizer, or weights that transformers misses, does not expect or cannot fit.
        UsageError: a text of fewer than two tokens.
    """
    ids = tokenize(target, text, TOKENS)
    with folder_of(checkpoint) as folder:
        before, source_loss, outputs = run_model(folder, ids)
    after, target_loss, _ = run_model(target, ids)
    stream = plan.axes.get("residual") if plan else None
    if before.shape[-1] != after.shape[-1] and stream is not None:
        kept = stream.indices < stream.size
        before, after = before[..., stream.indices[kept]], after[..., kept]
    spread = float(before.max() - before.min())
    difference = float((before - after).abs().max())
    return Verification(ids.shape[1], difference, spread, source_loss, target_loss, outputs)


def require_text(checkpoint: Checkpoint, text: str) -> None:
    """Refuse a verification that must fail; raises like `verify_transfer`.

    The tokenizer of a GGUF file is not looked at: it is converted when the target is written.
    """
    require_transformers()
    if not text.strip():
        raise UsageError("an empty text", "at least 2 tokens", "give a longer text")
    if checkpoint.path is not None and checkpoint.path.is_dir():
        tokenize(checkpoint.path, text, TOKENS)


def run_model(folder: Path, ids: Tensor) -> tuple[Tensor, float, str]:
    """Return the outputs of a model in float32, its loss, and what the outputs are; raises like `load_model`."""
    model = load_model(folder)
    ids = ids[:, : longest(folder)]
    with torch.no_grad():
        if not is_causal(folder):
            return model(ids).last_hidden_state[0], float("nan"), "hidden states"
        logits = model(ids).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:])
    return logits, float(loss), "logits"
