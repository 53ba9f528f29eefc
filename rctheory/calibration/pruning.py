"""Structured pruning of a stored model: units chosen and their readers refitted on text, written as a folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.readers import reader_of
from rctheory.calibration.compensation import CORRECTION, RIDGE, Compensation, compensate
from rctheory.calibration.fit import Refitted
from rctheory.calibration.generated import generate_windows
from rctheory.calibration.narrowing import STREAM, narrow, narrowed_config
from rctheory.calibration.selection import selection
from rctheory.calibration.sensitivity import measure_metrics
from rctheory.calibration.stream import ShrunkStream
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.errors import UsageError
from rctheory.transfer.apply import Written, apply_transfer
from rctheory.transfer.layers import LayeredModel
from rctheory.transfer.models import folder_of, is_causal, load_model, longest
from rctheory.transfer.texts import read_texts, windows_of
from rctheory.transfer.transfer_plan import TransferPlan
from rctheory.transfer.units import AxisPlan

EPOCHS = 2

Steps = Callable[[int, int], None]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Calibration:
    """How a model is calibrated.

    Args:
        select: name of the way to choose units (`calibration.selection.SELECTIONS`).
        tokens: most tokens of the texts.
        generated: tokens that the model writes itself, beside the texts; whole windows of them, one at least.
        length: most tokens of a window. As many as the model will read at once are best, what enters a layer depends on
            what came before; of a text of a few thousand tokens shorter ones, which are more.
        strength: of the ridge towards the trained weights.
        correction: share of the error of earlier layers that each layer is to make good for.
        influence: tokens on which gradients of the source are measured, for the metric in which units are chosen; 0 for
            plain squares of the stream.
        seed: root of the generated text, of the labels that these gradients are of, and of the order of tokens.
        epochs: passes over the text in which what makes the units of feed-forward layers is fitted, a layer at a time
            (`calibration.makers`); 0, or too little text for their number: units stay copies of the source's.
        untie: give a tied head weights of its own where the residual stream shrinks.
    """

    select: str = "elimination"
    tokens: int = 32768
    generated: int = 0
    length: int = 1024
    strength: float = RIDGE
    correction: float = CORRECTION
    influence: int = 4096
    seed: int = 0
    epochs: int = EPOCHS
    untie: bool = False


@dataclass(frozen=True)
class Pruned:
    """A pruned model.

    Args:
        plan: which units were kept; None for the residual stream, of which directions are kept and no units.
        fitted: by axis instance, units, weights and the error on the calibration text.
        tokens: how many tokens were read.
        written: the folder.
        stream: how the residual stream was shrunk; None for other axes.
    """

    plan: TransferPlan | None
    fitted: Mapping[str, Refitted]
    tokens: int
    written: Written
    stream: ShrunkStream | None = None


def prune(
    checkpoint: Checkpoint,
    changes: Mapping[str, int],
    texts: Sequence[Path],
    target: Path,
    how: Calibration | None = None,
    *,
    dtype: str | None = None,
    report_progress: Report = lambda _stage, _done, _all: None,
) -> Pruned:
    """Shrink axes of a model that one matrix reads, or its residual stream, and write the result as a folder.

    Complete or not at all. Of the residual stream principal directions are kept (`calibration.stream`), and
    `how.influence` is not asked.

    Args:
        checkpoint: the source, open.
        changes: smaller widths by axis.
        texts: calibration text; may be empty where the model writes its own.
        target: folder to be made.
        how: the calibration.
        dtype: stored dtype, as for `apply_transfer`.
        report_progress: takes the stage (text written by the model, gradients, layers), steps done and all steps.

    Raises:
        RcError: no such axis or selection, an illegal or a larger width, no text, a model without a language head, no
            transformers, or a target that exists.
    """
    how = how or Calibration()
    selection(how.select)
    layout = checkpoint.layout
    targets = layout.widths.resize(layout.sizes, {layout.singular(axis): m for axis, m in changes.items()})
    turned = targets.get(STREAM) != layout.sizes.get(STREAM)
    _require_matching(how, turned=turned)
    config = narrowed_config(checkpoint, targets, untie=how.untie) if turned else {}
    widths = {} if turned else _widths(layout, targets)
    model, windows = _loaded(checkpoint, texts, how, partial(report_progress, "text written by the model"))
    if not turned:
        return _prune_units(checkpoint, model, windows, widths, targets, target, how, dtype, report_progress)
    stream, written = narrow(
        checkpoint,
        model,
        windows,
        config,
        target,
        strength=how.strength,
        correction=how.correction,
        seed=how.seed,
        dtype=dtype,
        report_progress=partial(report_progress, "layers"),
    )
    return Pruned(None, {}, windows.numel(), written, stream)


def _require_matching(how: Calibration, *, turned: bool) -> None:
    """Raise where a choice is made that the axis does not have."""
    if turned and how.select != Calibration.select:
        found = f"selection {how.select!r}, which chooses units, of the residual stream"
        raise UsageError(found, "principal directions, the only choice", "leave it out")
    if turned and how.epochs != Calibration.epochs:
        found = f"{how.epochs} passes that fit what makes units, of the residual stream"
        raise UsageError(found, "least squares, the only fit", "leave them out")
    if how.untie and not turned:
        raise UsageError(
            "a head to be untied, the residual stream as it is", "a smaller residual width", "leave it out"
        )


def _loaded(
    checkpoint: Checkpoint, texts: Sequence[Path], how: Calibration, report: Steps
) -> tuple[LayeredModel, Tensor]:
    """Return the source, layer by layer, and the calibration windows (N, T)."""
    words = read_texts(texts) if texts or not how.generated else []
    with folder_of(checkpoint) as folder:
        if not is_causal(folder):
            raise UsageError(f"{checkpoint.source} predicts no next token", "a causal model", "use rctheory transfer")
        windows = windows_of(folder, words, tokens=how.tokens, length=how.length) if words else None
        length = min(how.length, max(2, how.generated), longest(folder) or how.length)
        model = load_model(folder)
    windows = _with_generated(model, windows, length, how, report)
    return LayeredModel(model, checkpoint.layout), windows


def _prune_units(
    checkpoint: Checkpoint,
    model: LayeredModel,
    windows: Tensor,
    widths: Mapping[str, int],
    targets: Mapping[str, int],
    target: Path,
    how: Calibration,
    dtype: str | None,
    report_progress: Report,
) -> Pruned:
    """Choose units of the axes that shrink, refit what reads them, and write the folder."""
    layout = checkpoint.layout
    fitted = compensate(
        model,
        windows,
        widths,
        Compensation(selection(how.select), how.strength, how.correction, how.epochs, how.seed),
        metrics=_metrics(model, windows, how, partial(report_progress, "gradients")),
        report_progress=partial(report_progress, "layers"),
    )
    axes = {axis: AxisPlan(layout.axes[axis].size, found.kept, exact=False) for axis, found in fitted.items()}
    plan = TransferPlan(
        layout.architecture, layout.layers, layout.sizes, targets, f"{how.select}, refitted", how.seed, 0.0, axes
    )
    refitted = {found.tensor: _declared(layout, found) for found in fitted.values()}
    refitted |= {name: tensor.float() for found in fitted.values() for name, tensor in found.makers.items()}
    written = apply_transfer(checkpoint, plan, target, dtype=dtype, refitted=refitted)
    return Pruned(plan, fitted, windows.numel(), written)


def _widths(layout: Layout, targets: Mapping[str, int]) -> dict[str, int]:
    """Return the new width of every axis instance that shrinks; raises where one cannot."""
    widths = {
        name: targets[instance.axis.name]
        for name, instance in layout.axes.items()
        if targets[instance.axis.name] != instance.size
    }
    if not widths:
        raise UsageError("no smaller width", "--set AXIS=WIDTH below the width of today", "see transfer --legal")
    for name, m in widths.items():
        reader_of(layout, name)
        if m > layout.axes[name].size:
            found = f"{m} units of axis {name}, which has {layout.axes[name].size}"
            raise UsageError(found, "fewer", "grow with rctheory transfer")
    return widths


def _with_generated(model: Any, windows: Tensor | None, length: int, how: Calibration, report: Steps) -> Tensor:
    """Return the windows of the texts and those that the model writes: as long as those, or of a length."""
    parts = [] if windows is None else [windows]
    length = length if windows is None else windows.shape[1]
    if how.generated:
        count = max(1, how.generated // length)
        parts.append(generate_windows(model, count, length, how.seed, report_progress=report))
    return torch.cat(parts)


def _metrics(model: LayeredModel, windows: Tensor, how: Calibration, report: Steps) -> list[Tensor] | None:
    """Return the metric of the stream after every layer, measured on windows at equal distances."""
    count = min(-(-how.influence // windows.shape[1]), len(windows))
    if not count:
        return None
    some = (2 * torch.arange(count) + 1) * len(windows) // (2 * count)
    return measure_metrics(model, windows[some], seed=how.seed, report_progress=report)


def _declared(layout: Layout, found: Refitted) -> Tensor:
    """Return fitted weights as the declared matrix."""
    weights = found.weights.float()
    return weights.contiguous() if layout.tensors[found.tensor].reads == 0 else weights.T.contiguous()
