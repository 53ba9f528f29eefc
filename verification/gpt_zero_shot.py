"""Claim `gpt.zero-shot`: a GPT-2 trained on English text grows and shrinks without training.

Balanced growth keeps the loss. Feed-forward layers that grow by independent draws change it as predicted from the
source, all layers at once. Shrinking by several designs, and sampling before or after further training, are shown.
"""

from collections.abc import Callable
from functools import lru_cache
from math import sqrt
from statistics import fmean

import torch
from torch import Tensor

from rctheory.architectures.registry import layout_of
from rctheory.measures import DESIGNS, FeatureDesign, Herding, Importance, Quantisation, Reweighted
from rctheory.numerics import generator
from rctheory.prediction.influence import Influence
from rctheory.prediction.prediction import predict
from rctheory.statistics.gates import Estimate, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table, Tier
from rctheory.transfer.transfer_plan import TransferPlan, draw_transfer
from verification.continued_training import declared, stored
from verification.gpt import Gpt, configuration, size_of, trained_gpt
from verification.gpt_masses import MassedGpt, cut, drawn_masses, ffn, influence_of, window_loss
from verification.language import batches, text

WINDOWS, MANY = 64, {Tier.SMOKE: 128, Tier.CI: 128, Tier.FULL: 256}  # for sampled losses; for single ones
DRAWS = {Tier.SMOKE: 64, Tier.CI: 48, Tier.FULL: 256}
FEW = 8  # draws of a control: an error is seen with little work
LABELS = 4
GROWN = (4, 8)  # times the units, by independent draws
KEPT = (75, 50)  # per cent of the units
RANDOM = "random"
SEEING: dict[str, FeatureDesign] = {
    "importance": Importance(),
    "herding": Herding(bandwidth=1.0),
    "kernel quadrature": Reweighted(Herding(bandwidth=1.0), ridge=1e-2, bandwidth=1.0),
    "quantisation": Quantisation(sweeps=20),
}
DRAWN = (RANDOM, "importance")
SHRINKS = 8  # draws of these two
STEPS, BATCH, RATE = 20, 16, 0.005  # of gradient descent, before or after a transfer
TIMES = (2, 4, 8)

Planted = Callable[[str, Tensor, int], Tensor]
"""From the name of a matrix that reads feed-forward units, its rows and how many the source has, to other rows."""


def as_they_are(_name: str, rows: Tensor, _units: int) -> Tensor:
    """Plant no error."""
    return rows


def _in_another_order(name: str, rows: Tensor, _units: int) -> Tensor:
    """Read units in another order than they are written."""
    return rows[torch.randperm(len(rows), generator=generator(0, "gpt", "untied", name)).to(rows.device)]


def _unscaled(_name: str, rows: Tensor, units: int) -> Tensor:
    """Read m units at the scale of n."""
    return rows * (len(rows) / units)


def transferred(model: Gpt, plan: TransferPlan, plant: Planted = as_they_are) -> Gpt:
    """Return the model after a transfer, and after what is planted."""
    config = configuration(model.size)
    layout = layout_of(config)
    operator = plan.operator(layout)
    wide = operator.configure(config, plan.targets)
    at_home = {name: weights.cpu() for name, weights in model.weights.items()}
    taken = {name: operator.apply(name, weights) for name, weights in declared(layout, at_home).items()}
    weights = stored(layout_of(wide), taken)
    for layer in range(model.size.layers):
        name = _reader(layer)
        weights[name] = plant(name, weights[name], len(model.weights[name]))
    device = model.weights[_reader(0)].device
    return Gpt(size_of(wide), {name: tensor.to(device) for name, tensor in weights.items()})


def _reader(layer: int) -> str:
    return f"transformer.h.{layer}.mlp.c_proj.weight"


def _loss(model: Gpt, symbols: Tensor) -> float:
    with torch.no_grad():
        return fmean(window_loss(model.logits(part), part) for part in symbols.split(64))


@lru_cache(maxsize=2)
def _influences(tier: Tier, seed: int, device: torch.device) -> tuple[Influence, Influence]:
    """Return influences on held-out and on training text; once in a process."""
    model = trained_gpt(Context(seed, tier, device))
    held_out, training = (
        influence_of(model, cut(model.size.context, WINDOWS, held_out=part), LABELS, seed) for part in (True, False)
    )
    return held_out, training


def _balanced(model: Gpt, symbols: Tensor, seed: int, plant: Planted) -> Table:
    """Return losses after balanced growth of one axis and of all."""
    layout, units, size = layout_of(configuration(model.size)), len(model.weights[_reader(0)]), model.size
    changes = {
        "feed-forward units, 5 times and 3 more": {"ffn": 5 * units + 3},
        "heads and stream, twice": {"residual": 2 * size.width, "head": 2 * size.heads},
        "all": {"residual": 2 * size.width, "head": 2 * size.heads, "ffn": 2 * units + 1},
    }
    before = _loss(model, symbols)
    rows = []
    for change in changes.values():
        after = _loss(transferred(model, draw_transfer(layout, change, seed=seed), plant), symbols)
        rows.append((before, after, after - before))
    columns = ("loss before", "loss after", "difference")
    return Table("Balanced growth, held-out loss", tuple(changes), columns, tuple(rows), "text")


def _sampled(model: Gpt, influence: Influence, symbols: Tensor, draws: int, seed: int, plant: Planted) -> Table:
    """Return predicted and measured loss changes after growth of all feed-forward layers by independent draws."""
    layout, units, layers = layout_of(configuration(model.size)), len(model.weights[_reader(0)]), model.size.layers
    slopes = {layer: influence.gradients[ffn(layer)].mean(dim=0) for layer in range(layers)}
    before, rows = _loss(model, symbols), []
    for times in GROWN:
        m = times * units
        found = predict(influence, {ffn(layer): m for layer in slopes}, DESIGNS["iid"])
        changes, first = [], []
        for draw in range(draws):
            plan = draw_transfer(layout, {"ffn": m}, design="iid", seed=seed + draw)
            changes.append(_loss(transferred(model, plan, plant), symbols) - before)
            counts = {layer: plan.axes[ffn(layer)].counts for layer in slopes}
            first.append(sum(float((counts[layer].double() / times - 1) @ slope) for layer, slope in slopes.items()))
        sd = float(torch.tensor(changes).std())
        mean = fmean(changes) - fmean(first)
        rows.append((found.sd, sd, sd / found.sd, found.shift, mean, mean / found.shift, float(bool(found.warnings))))
    columns = ("sd predicted", "sd measured", "ratio", "mean predicted", "mean measured", "ratio of means", "flagged")
    names = tuple(f"{units} to {times * units} units" for times in GROWN)
    return Table("Growth of all feed-forward layers by independent draws", names, columns, tuple(rows), "text")


def _shrunk(model: Gpt, held_out: Influence, training: Influence, symbols: Tensor, seed: int) -> Table:
    """Return held-out losses after all feed-forward layers shrink, by design; designs see training text alone."""
    massed, units = MassedGpt(model), len(model.weights[_reader(0)])
    axes = [ffn(layer) for layer in range(model.size.layers)]
    before, rows = _loss(model, symbols), dict[str, list[float]]()
    for kept in KEPT:
        m = units * kept // 100
        for name in (RANDOM, *SEEING):
            losses = []
            for draw in range(SHRINKS if name in DRAWN else 1):
                masses = {axis: _masses(name, training.gradients[axis].T, m, seed, axis, draw) for axis in axes}
                losses.append(_loss(massed.changed(masses), symbols))
            rows.setdefault(name, []).append(fmean(losses))
        found = predict(held_out, dict.fromkeys(axes, m), DESIGNS["without-replacement"])
        rows.setdefault("random, predicted", []).append(before + found.shift)
    rows["not shrunk"] = [before] * len(KEPT)
    columns = tuple(f"{kept}% kept" for kept in KEPT)
    values = tuple(tuple(row) for row in rows.values())
    return Table("Held-out loss after all feed-forward layers shrink", tuple(rows), columns, values, "text")


def _masses(name: str, features: Tensor, m: int, seed: int, axis: str, draw: int) -> Tensor:
    """Return the masses that a design puts on the units, (n,)."""
    n = len(features)
    if name == RANDOM:
        return drawn_masses(DESIGNS["without-replacement"], n, m, 1, seed, "shrink", axis, draw)[0]
    rule = SEEING[name].choose(features, m, generator(seed, "gpt", name, m, axis, draw))
    return n * torch.zeros(n, dtype=torch.float64).index_add_(0, rule.indices, rule.weights)


def _descended(model: Gpt, drawn: list[Tensor], times: float = 1.0) -> Gpt:
    """Return the model after gradient descent; of `times` as many units each has the rate that keeps copies equal."""
    weights = {name: weight.clone().requires_grad_() for name, weight in model.weights.items()}
    for batch in drawn:
        loss = Gpt(model.size, weights).loss(batch)
        slopes = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for (name, weight), slope in zip(weights.items(), slopes, strict=True):
                factor = times if "c_fc" in name else 1 / times if name.endswith("mlp.c_proj.weight") else 1.0
                weight -= RATE * factor * slope
    return Gpt(model.size, {name: weight.detach() for name, weight in weights.items()})


def _commutation(model: Gpt, symbols: Tensor, seed: int) -> Table:
    """Return how far sampling before and after further training are apart."""
    layout, units = layout_of(configuration(model.size)), len(model.weights[_reader(0)])
    stream = generator(seed, "gpt", "commutation")
    drawn = list(batches(text()[0].symbols, batch=BATCH, length=model.size.context, steps=STEPS, stream=stream))
    drawn = [batch.to(symbols.device) for batch in drawn]
    trained = _descended(model, drawn)
    with torch.no_grad():
        moved = float((trained.logits(symbols) - model.logits(symbols)).square().mean().sqrt())
    rows = []
    for times in TIMES:
        plan = draw_transfer(layout, {"ffn": times * units}, design="iid", seed=seed)
        grown = transferred(model, plan)
        one, other = _descended(grown, drawn, times), transferred(trained, plan)
        with torch.no_grad():
            gap = float((one.logits(symbols) - other.logits(symbols)).square().mean().sqrt())
        rows.append((gap, gap * sqrt(times), _loss(one, symbols), _loss(other, symbols)))
    columns = ("RMS gap of logits", "gap x (m/n)^(1/2)", "loss, sampled first", "loss, trained first")
    names = tuple(f"{units} to {times * units} units" for times in TIMES)
    reached = f"logits by {moved:.2g} and the loss to {_loss(trained, symbols):.4f}"
    title = f"Sampling before and after {STEPS} steps that move the {reached}"
    return Table(title, names, columns, tuple(rows), "text")


def _measure(context: Context, plant: Planted = as_they_are) -> Measurement:
    """Grow and shrink the GPT-2 of a tier."""
    context.report_progress("training a GPT-2")
    model = trained_gpt(context)
    held_out, training = _influences(context.tier, context.seed, context.device)
    few, many = (
        cut(model.size.context, count, held_out=True).to(context.device) for count in (WINDOWS, MANY[context.tier])
    )
    context.report_progress("growing it")
    balanced = _balanced(model, many, context.seed, plant)
    draws = DRAWS[context.tier] if plant is as_they_are else FEW
    sampled = _sampled(model, held_out, few, draws, context.seed, plant)
    tables = [balanced, sampled]
    if plant is as_they_are:
        context.report_progress("shrinking it, training it further")
        tables.append(_shrunk(model, held_out, training, many, context.seed))
        tables.append(_commutation(model, few, context.seed))
    worst = max((abs(row[2]) for row in balanced.values), key=lambda change: (change != change, change))
    quantities: dict[str, Quantity] = {
        "balanced": Estimate(worst),
        "sampled_sd": Estimate(sqrt(fmean(row[2] ** 2 for row in sampled.values))),
        "sampled_shift": Estimate(fmean(row[5] for row in sampled.values)),
    }
    return Measurement(quantities, tuple(tables))


EXPERIMENT = Experiment("a GPT-2 grows on every axis, balanced and by independent draws, and shrinks", _measure)
UNTIED = Experiment(
    "units are read in another order than they are written", lambda context: _measure(context, _in_another_order)
)
NO_SCALE = Experiment("what reads m units is not multiplied by n/m", lambda context: _measure(context, _unscaled))
