"""Models in transformers: the folder of a checkpoint, its model in float32, its tokens."""

import importlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.json_files import read_json
from rctheory.errors import CheckpointError, MissingExtraError, UsageError
from rctheory.transfer.apply import apply_transfer
from rctheory.transfer.companions import CONFIG
from rctheory.transfer.transfer_plan import draw_transfer


def require_transformers() -> Any:
    """Return the package transformers, told to be quiet.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        package: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtraError.of("transformers", "huggingface") from error
    package.utils.logging.set_verbosity_error()
    package.utils.logging.disable_progress_bar()
    return package


@contextmanager
def folder_of(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield a folder of the source that transformers loads fast: its own, or a copy of what a GGUF file holds."""
    if checkpoint.path is not None and checkpoint.path.is_dir():
        yield checkpoint.path
        return
    require_transformers()  # without it the copy would have no tokenizer
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "source"
        apply_transfer(checkpoint, draw_transfer(checkpoint.layout, {}), copy)
        yield copy


def is_causal(folder: Path) -> bool:
    """Return whether a folder holds a model that predicts the next token."""
    names = " ".join(read_json(folder / CONFIG).get("architectures") or [])
    return "CausalLM" in names or "LMHead" in names


def load_model(folder: Path) -> Any:
    """Return the model of a folder in float32, ready to be evaluated: with its language head, where it has one.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: weights that transformers misses, does not expect or cannot fit.
    """
    package = require_transformers()
    loader = package.AutoModelForCausalLM if is_causal(folder) else package.AutoModel
    model, told = loader.from_pretrained(
        str(folder), dtype=torch.float32, output_loading_info=True, local_files_only=True
    )
    _require_loaded(folder, told)
    model.eval()
    return model


def longest(folder: Path) -> int | None:
    """Return the most tokens that a model reads at once; None where its configuration does not say."""
    config = read_json(folder / CONFIG)
    found = config.get("max_position_embeddings") or config.get("n_positions")
    return int(found) if found else None


def tokenize(folder: Path, text: str, most: int | None = None) -> Tensor:
    """Return the tokens of a text, or the first of them: (1, T) int64.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no tokenizer.
        UsageError: a text of fewer than two tokens.
    """
    try:
        tokenizer = require_transformers().AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        ids = tokenizer(text, return_tensors="pt", truncation=False, verbose=False).input_ids[:, :most]
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        found = f"{folder} without a tokenizer that transformers can use ({reason})"
        raise CheckpointError(found, "the tokenizer of the model", "put it beside the source") from error
    if ids.shape[1] < 2:
        raise UsageError(f"a text of {ids.shape[1]} tokens", "at least 2", "give a longer text")
    return torch.as_tensor(ids)


def _require_loaded(folder: Path, told: Mapping[str, Any]) -> None:
    """Check that every weight found its place."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if told.get(kind):
            found = f"transformers reports {kind} in {folder}: {sorted(map(str, told[kind]))[:3]}"
            raise CheckpointError(found, "every weight in its place", "report this architecture")
