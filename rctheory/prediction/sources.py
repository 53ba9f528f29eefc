"""From a source and new widths to a predicted loss: what `rctheory predict` does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any

from rctheory.architectures.layout import Layout
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import UsageError
from rctheory.measures.designs import DESIGNS, Design
from rctheory.prediction.influence import Influence, measure_influence
from rctheory.prediction.masses import MassedModel, mass_uses
from rctheory.prediction.prediction import AxisPrediction, Prediction, cheapest, predict
from rctheory.prediction.removals import candidates, with_removals, write_shares
from rctheory.transfer.layers import LayeredModel
from rctheory.transfer.models import folder_of, is_causal, load_model
from rctheory.transfer.texts import read_texts, windows_of

SCHEMA = "rctheory.prediction/1"
DROPPED = (0.5, 0.33, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)  # shares left out along the curve of an axis
SIGMAS = 2.0

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Curve:
    """The predicted loss of one axis at several widths, in every layer at once.

    Args:
        axis: its name.
        now: its width in the source.
        widths: ascending.
        predictions: one for each width.
        cheapest: the smallest legal width under the budget; None where there is no budget, or none keeps to it.
    """

    axis: str
    now: int
    widths: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    cheapest: int | None = None


@dataclass(frozen=True)
class SourcePrediction:
    """What transfers of a model will cost on a text.

    Args:
        source: the model.
        architecture: its declaration.
        design: how units are drawn.
        tokens: number of tokens that were predicted on the text.
        windows: in how many windows.
        budget: most that the loss may rise; None where none was given.
        wanted: the transfer that was asked for; None for a budget alone.
        curves: by axis.
    """

    source: str
    architecture: str
    design: str
    tokens: int
    windows: int
    budget: float | None
    wanted: Prediction | None
    curves: tuple[Curve, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; what does not exist is null."""
        head = {k: getattr(self, k) for k in ("source", "architecture", "design", "tokens", "windows", "budget")}
        wanted = None if self.wanted is None else _plain(self.wanted, layers=True)
        curves = [
            {
                "axis": c.axis,
                "now": c.now,
                "cheapest": c.cheapest,
                "points": [
                    {"width": m} | _plain(p, layers=False) for m, p in zip(c.widths, c.predictions, strict=True)
                ],
            }
            for c in self.curves
        ]
        return {"schema": SCHEMA, **head, "wanted": wanted, "curves": curves}


def predict_source(
    source: str,
    changes: Mapping[str, int | None],
    texts: Sequence[Path],
    *,
    design: str = "without-replacement",
    budget: float | None = None,
    tokens: int = 2048,
    length: int = 256,
    draws: int = 2,
    seed: int = 0,
    report_progress: Report = lambda _done, _all: None,
) -> SourcePrediction:
    """Predict the loss of a model after a transfer, from the model and a text alone.

    Args:
        source: as for `open_checkpoint`.
        changes: new widths by axis; None for an axis that is looked at in the curve alone.
        texts: files.
        design: a sampling design that needs no more than its name.
        budget: most that the loss may rise, at two standard deviations; then the cheapest width of each axis is sought.
        tokens: most tokens of text.
        length: tokens of a window.
        draws: draws of labels for each window.
        seed: root of these draws.
        report_progress: takes passes over the text done and all of them: windows, and units that are removed.

    Raises:
        RcError: no such source, text, axis, design; an illegal width; a model without a language head; no transformers.
    """
    if design not in DESIGNS:
        raise UsageError(f"design {design!r}", f"one of {', '.join(sorted(DESIGNS))}", "choose one of these")
    if draws < 1 or not changes:
        found = f"{draws} draws of labels and {len(changes)} axes"
        raise UsageError(found, "at least one of each", "name an axis with --set")
    if budget is not None and not budget > 0:
        raise UsageError(f"budget {budget}", "a number above 0", "give nats for each token")
    words = read_texts(texts)
    with open_checkpoint(source) as checkpoint:
        layout = checkpoint.layout
        changes = {layout.singular(axis): m for axis, m in changes.items()}
        candidates = {axis: _legal(layout, axis, design) for axis in changes}
        wanted = {axis: m for axis, m in changes.items() if m is not None}
        targets = _instances(layout, wanted, design) if wanted else {}
        widths = {axis: {m: _instances(layout, {axis: m}, design) for m in found} for axis, found in candidates.items()}
        axes = sorted({name for found in widths.values() for part in found.values() for name in part} | set(targets))
        for axis in axes:
            mass_uses(layout, axis)
        influence = _influence(checkpoint, axes, words, tokens, length, draws, seed, report_progress)
    chosen = DESIGNS[design]
    return SourcePrediction(
        source,
        layout.architecture,
        design,
        influence.tokens * len(influence.losses),
        len(influence.losses),
        budget,
        predict(influence, targets, chosen) if wanted else None,
        tuple(_curve(influence, layout, axis, found, chosen, budget) for axis, found in widths.items()),
    )


def _influence(
    checkpoint: Checkpoint,
    axes: Sequence[str],
    words: Sequence[str],
    tokens: int,
    length: int,
    draws: int,
    seed: int,
    report: Report,
) -> Influence:
    """Load the model and measure."""
    with folder_of(checkpoint) as folder:
        if not is_causal(folder):
            found = f"{checkpoint.source} predicts no next token"
            raise UsageError(found, "a causal language model", "predict such a model")
        windows = windows_of(folder, words, tokens=tokens, length=length)
        loaded = load_model(folder)
    model, layered = MassedModel(loaded, checkpoint.layout, axes), LayeredModel(loaded, checkpoint.layout)
    units = candidates(write_shares(layered, windows, axes))
    total = len(windows) + len(units)
    influence = measure_influence(
        model, windows, draws=draws, seed=seed, report_progress=lambda done, _all: report(done, total)
    )
    return with_removals(influence, model, windows, units, lambda done, _all: report(len(windows) + done, total))


def _instances(layout: Layout, changes: Mapping[str, int], design: str) -> dict[str, int]:
    """Return the width of every axis instance that is sampled; a balanced growth keeps every unit and costs nothing."""
    targets = layout.widths.resize(layout.sizes, changes)
    return {
        name: targets[instance.axis.name]
        for name, instance in layout.axes.items()
        if targets[instance.axis.name] != instance.size
        and not (design == "balanced" and targets[instance.axis.name] >= instance.size)
    }


def _legal(layout: Layout, axis: str, design: str) -> list[int]:
    """Return the widths that an axis may have below its own, all others staying; iid draws may keep it."""
    if axis not in layout.sizes:
        known = ", ".join(sorted({i.axis.name for i in layout.axes.values() if i.axis.averaged}))
        raise UsageError(f"axis {axis!r}", f"one of {known}", "see rctheory transfer --legal")
    now = layout.sizes[axis]
    return [m for m in layout.widths.legal(layout.sizes, axis, now) if m < now or (m == now and design == "iid")]


def _curve(
    influence: Influence,
    layout: Layout,
    axis: str,
    widths: Mapping[int, Mapping[str, int]],
    design: Design,
    budget: float | None,
) -> Curve:
    """Return the curve of one axis, and the cheapest width."""
    legal = sorted(widths)
    at_most = [(1 - share) * layout.sizes[axis] for share in DROPPED]
    nearest = [max((m for m in legal if m <= most), default=None) for most in at_most]
    shown = sorted({m for m in nearest if m is not None}) or legal
    found = None
    if budget is not None:
        index = cheapest(influence, [widths[m] for m in legal], design, budget, SIGMAS)
        found = None if index is None else legal[index]
    predictions = tuple(predict(influence, widths[m], design) for m in shown)
    return Curve(axis, layout.sizes[axis], tuple(shown), predictions, found)


def _plain(prediction: Prediction, *, layers: bool) -> dict[str, Any]:
    """Return plain values of a prediction."""
    axes = [_axis(axis) for axis in prediction.axes] if layers else None
    head = {k: _number(getattr(prediction, k)) for k in ("loss", "loss_error", "shift", "sd")}
    return head | {"warnings": len(prediction.warnings)} | ({} if axes is None else {"axes": axes})


def _axis(axis: AxisPrediction) -> dict[str, Any]:
    """Return plain values of one axis."""
    values = {k: _number(v) if isinstance(v, float) else v for k, v in asdict(axis).items()}
    return values | {"sd": axis.sd, "warnings": list(axis.warnings)}


def _number(value: float) -> float | None:
    """Return a number, or null."""
    return None if isnan(value) else value
