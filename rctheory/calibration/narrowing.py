"""Prune the residual stream of a stored model: the smaller model fitted on text, written as a folder."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory import __version__
from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.calibration.stream import ShrunkStream, shrink_stream
from rctheory.calibration.stream_parts import parts_of
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.errors import UsageError
from rctheory.transfer.apply import Written, require_config, write_folder
from rctheory.transfer.companions import TURNED
from rctheory.transfer.layers import LayeredModel
from rctheory.transfer.models import require_transformers

STREAM = "residual"

Report = Callable[[int, int], None]


def narrowed_config(checkpoint: Checkpoint, targets: Mapping[str, int], *, untie: bool = False) -> dict[str, Any]:
    """Return the configuration of a model with a smaller stream; `untie` gives a tied head weights of its own.

    Raises:
        UsageError: other axes change too, the stream does not shrink, or it is not free to turn.
        ShapeError: the widths are not legal.
    """
    layout = checkpoint.layout
    parts_of(layout)
    n, m = layout.sizes[STREAM], targets[STREAM]
    others = sorted(axis for axis, size in layout.sizes.items() if axis != STREAM and targets[axis] != size)
    if others:
        found = f"residual and {', '.join(others)} at once"
        raise UsageError(found, "the residual stream alone", "prune one, and then the other from the result")
    if m >= n:
        raise UsageError(f"{m} units of axis residual, which has {n}", "fewer", "grow with rctheory transfer")
    config = layout.widths.write(require_config(checkpoint), targets)
    config |= {"tie_word_embeddings": False} if untie else {}
    return config


def empty_model(config: Mapping[str, Any]) -> LayeredModel:
    """Return a model of a configuration in float32, layer by layer; its weights are still to be set."""
    package, entries = require_transformers(), dict(config)
    for entry in ("dtype", "torch_dtype", "transformers_version"):
        entries.pop(entry, None)
    made = package.AutoConfig.for_model(entries.pop("model_type"), **entries)
    model = package.AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval()
    return LayeredModel(model, layout_of(config).found_in(dict(model.named_parameters())))


def narrow(
    checkpoint: Checkpoint,
    model: LayeredModel,
    windows: Tensor,
    config: Mapping[str, Any],
    target: Path,
    *,
    strength: float,
    correction: float,
    seed: int = 0,
    dtype: str | None = None,
    report_progress: Report = lambda _done, _all: None,
) -> tuple[ShrunkStream, Written]:
    """Fit a model of a smaller stream, and write it as a folder, complete or not at all.

    Args:
        checkpoint: the source, open.
        model: the source, loaded.
        windows: calibration tokens (N, T).
        config: from `narrowed_config`.
        target: folder to be made.
        strength: of the ridges.
        correction: share of the error of earlier parts that each writer is to make good for.
        seed: root of text that the source wrote; recorded.
        dtype: stored dtype, as for `apply_transfer`.
        report_progress: takes layers done and all layers.
    """
    smaller = empty_model(config)
    found = shrink_stream(
        model, smaller, windows, strength=strength, correction=correction, report_progress=report_progress
    )
    facts: dict[str, Any] = {"sizes": checkpoint.layout.sizes, "targets": smaller.layout.sizes}
    facts |= {
        "design": "principal directions, refitted",
        "ridge": strength,
        "seed": seed,
        "captured": found.frame.captured,
    }
    facts |= {"error": found.error, "tokens": windows.numel(), "tied": bool(parts_of(smaller.layout)[-1].tied)}
    record = {"rctheory": __version__, "source": checkpoint.source, "source_config": checkpoint.config, TURNED: facts}

    def make(name: str, weights: Tensor, *, stored: torch.dtype) -> Iterable[Tensor]:
        return [smaller.model.get_parameter(smaller.layout.place(name, Naming.TRANSFORMERS).names[0]).detach()]

    return found, write_folder(checkpoint, config, make, target, record, dtype=dtype)
