"""Claim `influence.loss-change`: what sampling the FFN units of a layer of a real Llama costs, predicted and measured.

Predicted from the source and the text alone: variance from the gradient in the masses, mean from the Fisher
information, both with the loss without the few units that make most of some token's stream. Measured by drawing units
and running the model. A cell is a layer and a share of units left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

import torch
from torch import Tensor

from rctheory.measures.designs import DESIGNS
from rctheory.prediction.influence import Influence, measure_influence
from rctheory.prediction.masses import MassedModel
from rctheory.prediction.prediction import AxisPrediction, predict_axis
from rctheory.prediction.removals import candidates, with_removals, write_shares
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from rctheory.transfer.layers import LayeredModel
from verification.packaged_llama import MaskedLayer, packaged_llama, require_llama, windows

DESIGN = "without-replacement"
LOW, HIGH = 0.75, 1.33
PERTURBATIVE = 0.05  # nats: mean shifts up to here are compared with their prediction


@dataclass(frozen=True)
class Cell:
    """One layer at one width.

    Args:
        layer: which.
        dropped: share of units that is left out.
        predicted: from the source and the text.
        expanded: the same without removals: derivatives alone.
        elsewhere: the same from another text.
        sd: measured standard deviation over draws.
        shift: measured mean; the first order, whose mean is 0, is taken out of every draw.
        shift_error: its standard error.
    """

    layer: int
    dropped: float
    predicted: AxisPrediction
    expanded: AxisPrediction
    elsewhere: AxisPrediction
    sd: float
    shift: float
    shift_error: float

    @property
    def ratio(self) -> float:
        """Return the measured over the predicted standard deviation."""
        return self.sd / self.predicted.sd

    @property
    def inside(self) -> bool:
        """Return whether that ratio is near 1."""
        return LOW <= self.ratio <= HIGH


def _axis(layer: int) -> str:
    return f"layers.{layer}.ffn"


@cache
def _influence(layers: tuple[int, ...], count: int, length: int, seed: int, *, other: bool) -> Influence:
    """Return the influence of the units of some layers on one of the two texts."""
    llama = packaged_llama()
    tokens = llama.descriptions if other else llama.documentation
    axes, text = [_axis(layer) for layer in layers], windows(tokens, count, length)
    model = MassedModel(llama.model, llama.layout, axes)
    units = candidates(write_shares(LayeredModel(llama.model, llama.layout), text, axes))
    return with_removals(measure_influence(model, text, draws=4, seed=seed), model, text, units)


@cache
def _cells(
    layers: tuple[int, ...], shares: tuple[float, ...], draws: int, count: int, length: int, seed: int
) -> tuple[Cell, ...]:
    """Measure every cell; once in a process, because controls judge the same measurements."""
    text = windows(packaged_llama().documentation, count, length)
    here, there = (_influence(layers, count, length, seed, other=other) for other in (False, True))
    cells = []
    for layer in layers:
        masked = MaskedLayer(packaged_llama(), layer, text)
        gradient = here.gradients[_axis(layer)].mean(dim=0)
        for share in shares:
            m = round((1 - share) * len(gradient))
            losses, firsts = _drawn(masked, gradient, m, draws, seed, layer)
            change = losses - here.loss
            second = change - firsts
            cells.append(
                Cell(
                    layer,
                    share,
                    predict_axis(here, _axis(layer), m, DESIGNS[DESIGN]),
                    predict_axis(replace(here, removals={}), _axis(layer), m, DESIGNS[DESIGN]),
                    predict_axis(there, _axis(layer), m, DESIGNS[DESIGN]),
                    float(change.std()),
                    float(second.mean()),
                    float(second.std()) / math.sqrt(draws),
                )
            )
    return tuple(cells)


def _drawn(masked: MaskedLayer, gradient: Tensor, m: int, draws: int, seed: int, layer: int) -> tuple[Tensor, Tensor]:
    """Return losses and first orders of several draws."""
    n, losses, firsts = len(gradient), [], []
    for draw in range(draws):
        stream = Context(seed=seed).generator("loss change", layer, m, draw)
        masses = torch.bincount(DESIGNS[DESIGN].draw(n, m, stream), minlength=n).double() * n / m
        losses.append(masked.loss(masses))
        firsts.append(float(gradient @ (masses - 1)))
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(firsts, dtype=torch.float64)


def _measure(context: Context, *, finite: bool = True, own: bool = True, removals: bool = True) -> Measurement:
    """Compare all cells. Planted errors: no finite-population factor; a neighbouring layer; derivatives alone."""
    layers, shares, draws, count, length = context.choose(
        smoke=((21, 26), (0.05, 0.1), 64, 1, 64),
        ci=((21, 23, 27), (0.02, 0.05, 0.1, 0.25), 64, 1, 64),
        full=(tuple(range(1, 30, 5)) + tuple(range(4, 30, 5)), (0.02, 0.05, 0.1, 0.25), 64, 2, 128),
    )
    cells = _cells(tuple(sorted(layers)), shares, draws, count, length, context.seed)
    if not removals:
        cells = tuple(replace(cell, predicted=cell.expanded) for cell in cells)
    ratios = [cell.sd / _sd(cell, cells, finite=finite, own=own) for cell in cells]
    inside = [LOW <= ratio <= HIGH for ratio in ratios]
    unseen = [not good and not cell.predicted.warnings for good, cell in zip(inside, cells, strict=True)]
    small = [cell for cell in cells if cell.predicted.shift <= PERTURBATIVE]
    expected = sum(_shift(cell, finite=finite) for cell in small)
    shifts = sum(cell.shift for cell in small) / expected if small else math.nan
    quantities = {
        "median_ratio": Estimate(median(ratios)),
        "inside": Estimate(sum(inside) / len(inside)),
        "outside_without_warning": Estimate(float(sum(unseen))),
        "shift_ratio": Estimate(shifts),
    }
    return Measurement(quantities, _tables(cells), _remarks(cells, draws, count * length))


def _sd(cell: Cell, cells: Sequence[Cell], *, finite: bool, own: bool) -> float:
    """Return the predicted standard deviation, or a wrong one."""
    if not own:
        others = [c for c in cells if c.dropped == cell.dropped and c.layer != cell.layer]
        return min(others, key=lambda c: abs(c.layer - cell.layer)).predicted.sd
    share = 1.0 if finite else cell.dropped  # (1/m - 1/n) n^2 = n (n - m) / m
    return cell.predicted.sd / math.sqrt(share)


def _shift(cell: Cell, *, finite: bool) -> float:
    return cell.predicted.shift / (1.0 if finite else cell.dropped)


def _tables(cells: Sequence[Cell]) -> tuple[Table, ...]:
    """Return predicted and measured values of every cell, and what another text would have predicted."""
    names = tuple(f"layer {cell.layer}, {cell.dropped:.0%} left out" for cell in cells)
    columns = ("measured sd", "predicted sd", "ratio", "measured mean", "se", "predicted mean", "warnings")
    rows = tuple(
        (
            cell.sd,
            cell.predicted.sd,
            cell.ratio,
            cell.shift,
            cell.shift_error,
            cell.predicted.shift,
            float(len(cell.predicted.warnings)),
        )
        for cell in cells
    )
    other = tuple((cell.elsewhere.sd, cell.sd / cell.elsewhere.sd, cell.elsewhere.shift) for cell in cells)
    return (
        Table("Loss change of one layer, in nats for each token: same text", names, columns, rows, "text"),
        Table(
            "Predicted on another kind of text, measured on this one",
            names,
            ("predicted sd", "measured over predicted", "predicted mean"),
            other,
            "text",
        ),
    )


def _remarks(cells: Sequence[Cell], draws: int, tokens: int) -> tuple[str, ...]:
    """Say what was flagged, and how far another text misleads."""
    flagged = [cell for cell in cells if cell.predicted.warnings]
    outside = [cell for cell in cells if not cell.inside]
    other = median(cell.sd / cell.elsewhere.sd for cell in cells)
    return (
        f"{len(cells)} cells, {draws} draws each on {tokens} tokens: a measured sd has a relative standard error of "
        f"{1 / math.sqrt(2 * (draws - 1)):.0%} for a normal law. {len(flagged)} cells were flagged before anything was "
        f"drawn, {len(outside)} lie outside [{LOW}, {HIGH}].",
        f"Predicted on another kind of text, the median ratio is {other:.2f}: influence belongs to model and text.",
    )


EXPERIMENT = Experiment(
    "packaged Llama: sampled FFN units of one layer, loss predicted and measured", _measure, require_llama
)
NO_FINITE_FACTOR = Experiment(
    "the finite-population factor 1 - m/n forgotten", lambda context: _measure(context, finite=False), require_llama
)
DERIVATIVES_ALONE = Experiment(
    "no unit is removed: derivatives alone", lambda context: _measure(context, removals=False), require_llama
)
OTHER_LAYER = Experiment(
    "the influence of the units of a neighbouring layer", lambda context: _measure(context, own=False), require_llama
)
