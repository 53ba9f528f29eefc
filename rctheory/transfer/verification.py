"""Run a model before and after its transfer, in transformers, and compare what they say."""

import importlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.json_files import read_json
from rctheory.errors import CheckpointError, MissingExtraError, UsageError
from rctheory.transfer.apply import apply_transfer
from rctheory.transfer.companions import CONFIG
from rctheory.transfer.transfer_plan import TransferPlan, draw_transfer

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


def verify_transfer(checkpoint: Checkpoint, target: Path, plan: TransferPlan, text: str) -> Verification:
    """Compare a checkpoint with its transfer on the first tokens of a text.

    Hidden states of a wider model are compared copy by copy with the units that the plan took them from.

    Args:
        checkpoint: the source, open.
        target: the folder that `apply_transfer` wrote, with its tokenizer.
        plan: what was applied.
        text: any text.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no tokenizer, or weights that transformers misses, does not expect or cannot fit.
        UsageError: a text of fewer than two tokens.
    """
    _transformers()
    ids = tokenize(target, text)
    with _source_folder(checkpoint) as folder:
        before, source_loss, outputs = run_model(folder, ids)
    after, target_loss, _ = run_model(target, ids)
    stream = plan.axes.get("residual")
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
    _transformers()
    if not text.strip():
        raise UsageError("an empty text", "at least 2 tokens", "give a longer text")
    if checkpoint.path is not None and checkpoint.path.is_dir():
        tokenize(checkpoint.path, text)


def tokenize(folder: Path, text: str, most: int = TOKENS) -> Tensor:
    """Return the first tokens of a text, (1, T); raises like `verify_transfer`."""
    try:
        tokenizer = _transformers().AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        ids = tokenizer(text, return_tensors="pt", truncation=False, verbose=False).input_ids[:, :most]
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        found = f"{folder} without a tokenizer that transformers can use ({reason})"
        raise CheckpointError(found, "the tokenizer of the model", "put it beside the source") from error
    if ids.shape[1] < 2:
        raise UsageError(f"a text of {ids.shape[1]} tokens", "at least 2", "give a longer text")
    return torch.as_tensor(ids)


def run_model(folder: Path, ids: Tensor) -> tuple[Tensor, float, str]:
    """Return the outputs of a model in float32, its loss, and what the outputs are; raises like `verify_transfer`."""
    config = read_json(folder / CONFIG)
    names = " ".join(config.get("architectures") or [])
    causal = "CausalLM" in names or "LMHead" in names
    loader = _transformers().AutoModelForCausalLM if causal else _transformers().AutoModel
    model, told = loader.from_pretrained(
        str(folder), dtype=torch.float32, output_loading_info=True, local_files_only=True
    )
    _require_loaded(folder, told)
    model.eval()
    ids = ids[:, : config.get("max_position_embeddings") or config.get("n_positions") or ids.shape[1]]
    with torch.no_grad():
        if not causal:
            return model(ids).last_hidden_state[0], float("nan"), "hidden states"
        logits = model(ids).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:])
    return logits, float(loss), "logits"


def _transformers() -> Any:
    """Return the package transformers, told to be quiet."""
    try:
        package: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtraError.of("transformers", "huggingface") from error
    package.utils.logging.set_verbosity_error()
    package.utils.logging.disable_progress_bar()
    return package


def _require_loaded(folder: Path, told: Mapping[str, Any]) -> None:
    """Check that every weight found its place."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if told.get(kind):
            found = f"transformers reports {kind} in {folder}: {sorted(map(str, told[kind]))[:3]}"
            raise CheckpointError(found, "every weight in its place", "report this architecture")


@contextmanager
def _source_folder(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield a folder of the source that transformers loads fast: its own, or a copy of what a GGUF file holds."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if checkpoint.path is not None and checkpoint.path.is_dir():
        yield checkpoint.path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "source"
        apply_transfer(checkpoint, draw_transfer(checkpoint.layout, {}), copy)
        yield copy
