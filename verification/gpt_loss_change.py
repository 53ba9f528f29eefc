"""Claim `gpt.loss-change`: what sampling one layer's feed-forward units costs, predicted from the source alone.

A GPT-2 trained on English text loses 2 to 25% of the units of one layer. Mean and standard deviation of the loss change
over draws are predicted from backward passes through the source, and measured on many sampled models.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import sqrt
from statistics import fmean, median

import torch

from rctheory.measures import DESIGNS
from rctheory.prediction.influence import Influence
from rctheory.prediction.prediction import AxisPrediction, predict_axis
from rctheory.statistics.gates import Estimate, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table, Tier
from verification.gpt import trained_gpt
from verification.gpt_masses import cut, drawn_masses, ffn, influence_of, sampled_losses, window_loss

DROPPED = {"without-replacement": (2, 5, 10, 25), "iid": (25,)}  # per cent of the units
WINDOWS = {Tier.SMOKE: 64, Tier.CI: 64, Tier.FULL: 64}
DRAWS = {Tier.SMOKE: 192, Tier.CI: 96, Tier.FULL: 512}
LABELS = 4  # draws of labels for each window
INSIDE = 0.75, 1.33  # measured over predicted standard deviation


@dataclass(frozen=True)
class Cell:
    """A layer, a design and a share of its units.

    Args:
        layer: of the model.
        design: name of the design.
        dropped: per cent of the units.
        width: number of units left.
        changes: measured loss changes, (draws,).
        beyond: the same less their first order, whose mean is 0 exactly.
    """

    layer: int
    design: str
    dropped: int
    width: int
    changes: torch.Tensor
    beyond: torch.Tensor

    @property
    def name(self) -> str:
        """Return a name for people."""
        return f"layer {self.layer}, {self.design}, {self.dropped}% dropped"


@dataclass(frozen=True)
class Error:
    """What is planted: nothing, or one of three mistakes."""

    influence: Callable[[Influence], Influence] = lambda found: found
    infinite_population: bool = False


@lru_cache(maxsize=2)
def _measured(tier: Tier, seed: int, device: torch.device) -> tuple[tuple[Cell, ...], Influence, Influence]:
    """Return measured cells on held-out text, and influences there and on training text; once in a process."""
    model = trained_gpt(Context(seed, tier, device))
    here, elsewhere = (cut(model.size.context, WINDOWS[tier], held_out=part) for part in (True, False))
    own, other = (influence_of(model, part, LABELS, seed) for part in (here, elsewhere))
    symbols, cells = here.to(device), []
    with torch.no_grad():
        loss = window_loss(model.logits(symbols), symbols)
    for layer in range(model.size.layers):
        slope = own.gradients[ffn(layer)].mean(dim=0)
        n = len(slope)
        for design, shares in DROPPED.items():
            for dropped in shares:
                m = n - round(n * dropped / 100)
                masses = drawn_masses(DESIGNS[design], n, m, DRAWS[tier], seed, layer)
                changes = sampled_losses(model, layer, masses, symbols) - loss
                cells.append(Cell(layer, design, dropped, m, changes, changes - (masses - 1) @ slope))
    return tuple(cells), own, other


def _measure(context: Context, error: Error | None = None) -> Measurement:
    """Compare every cell with its prediction."""
    error = error or Error()
    context.report_progress("training a GPT-2, dropping units of every layer")
    cells, own, other = _measured(context.tier, context.seed, context.device)
    own, other = error.influence(own), error.influence(other)
    predictions, others = ([_predict(found, cell, error) for cell in cells] for found in (own, other))
    ratios = [float(cell.changes.std()) / found.sd for cell, found in zip(cells, predictions, strict=True)]
    judged = [ratio for cell, ratio in zip(cells, ratios, strict=True) if cell.design == "without-replacement"]
    outside = [not INSIDE[0] <= ratio <= INSIDE[1] for ratio in ratios]
    unforeseen = sum(out and not p.warnings for out, p in zip(outside, predictions, strict=True))
    quantities: dict[str, Quantity] = {
        "sd": Estimate(median(judged)),
        "inside": Estimate(fmean(INSIDE[0] <= ratio <= INSIDE[1] for ratio in judged)),
        "unforeseen": Estimate(unforeseen),
        "shift": Estimate(_worst_shift(cells, predictions)),
    }
    flagged = sum(bool(found.warnings) for found in predictions)
    text = f"{own.tokens * len(own.losses)} tokens of held-out text, loss {own.loss:.3f}"
    remark = f"{flagged} of {len(cells)} cells flagged in advance; {text}"
    tables = (
        _table("Predicted and measured on the same held-out text", cells, predictions),
        _table("Predicted on training text, measured on held-out text", cells, others),
    )
    return Measurement(quantities, tables, (remark,))


def _predict(influence: Influence, cell: Cell, error: Error) -> AxisPrediction:
    """Return the prediction of a cell."""
    design = DESIGNS["iid" if error.infinite_population else cell.design]
    return predict_axis(influence, ffn(cell.layer), cell.width, design)


def _worst_shift(cells: tuple[Cell, ...], predictions: list[AxisPrediction]) -> float:
    """Return measured over predicted mean shift of the layer where it is furthest from 1, mean over its cells.

    Cells are those without replacement that no warning calls curved: the perturbative range. NaN without any.
    """
    by_layer: dict[int, list[float]] = {}
    for cell, found in zip(cells, predictions, strict=True):
        if cell.design == "without-replacement" and not any("curved" in warning for warning in found.warnings):
            by_layer.setdefault(cell.layer, []).append(float(cell.beyond.mean()) / found.shift)
    return max((fmean(ratios) for ratios in by_layer.values()), key=lambda ratio: abs(ratio - 1), default=float("nan"))


def _table(title: str, cells: tuple[Cell, ...], predictions: list[AxisPrediction]) -> Table:
    """Return predicted and measured values of every cell."""
    columns = ("sd predicted", "sd measured", "ratio", "mean predicted", "mean measured", "ratio of means", "flagged")
    rows = []
    for cell, found in zip(cells, predictions, strict=True):
        sd, mean = float(cell.changes.std()), float(cell.beyond.mean())
        rows.append((found.sd, sd, sd / found.sd, found.shift, mean, mean / found.shift, float(bool(found.warnings))))
    return Table(title, tuple(cell.name for cell in cells), columns, tuple(rows), "text")


def _another_layer(found: Influence) -> Influence:
    """Give every layer the gradients of the next one."""
    axes = [axis for axis in found.gradients if axis.endswith("ffn")]
    following = dict(zip(axes, (*axes[1:], axes[0]), strict=True))
    return replace(found, gradients={**found.gradients, **{axis: found.gradients[following[axis]] for axis in axes}})


def _forgotten_half(found: Influence) -> Influence:
    """Double the second order."""
    return replace(found, scores={axis: values * sqrt(2) for axis, values in found.scores.items()})


EXPERIMENT = Experiment("a GPT-2 loses 2 to 25% of one layer's units: predicted and measured loss changes", _measure)
ANOTHER_LAYER = Experiment(
    "first order from the gradients of another layer", lambda context: _measure(context, Error(_another_layer))
)
FORGOTTEN_HALF = Experiment(
    "the second order without its factor 1/2", lambda context: _measure(context, Error(_forgotten_half))
)
INFINITE_POPULATION = Experiment(
    "1/m for 1/m - 1/n: units that are all kept would cost something",
    lambda context: _measure(context, Error(infinite_population=True)),
)
