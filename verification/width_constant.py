"""Claim `width.constant`: Var f_n ~ sum_l Var(IF_l) / n_l, the constant and not only the exponent."""

from collections.abc import Callable
from dataclasses import replace

import torch

from rctheory.dynamics.influence import Influence
from rctheory.statistics.gates import Estimate, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.fluctuations import expansion, mean_estimate, split
from verification.problems import regression

Planted = Callable[[Influence], Influence]
SMOKE_LADDER = ((128, 512),)
LADDER = ((128, 1536), (256, 768), (512, 256))
FULL_LADDER = ((128, 8192), (256, 8192), (512, 4096), (1024, 2048), (2048, 1024))
CONTROL_LADDER = ((128, 256),)
RESIDUAL = 1.0


def _ratio(first: Influence, hidden: int, n: int, seeds: int, root: int) -> Estimate:
    """Return measured over predicted variance, summed over the outputs.

    The first-order part has a known second moment, the prediction P, whatever the influence functions are. So
    P + mean(error^2 - linear^2) estimates the variance without bias, and with far less noise than mean(error^2):
    a wrong prediction is not helped, it only makes the estimate noisier.
    """
    # The residual is left to the networks: the prediction says that it does not enter at this order.
    parts = split(regression(residual=RESIDUAL, hidden=hidden), first, n, seeds, root)
    predicted = float(first.variance((n,) * hidden).sum())
    centred = parts.error - parts.error.mean(dim=0)
    squares = centred.square().sum(dim=1) * (seeds / (seeds - 1)) - parts.linear.square().sum(dim=1)
    return mean_estimate(squares, scale=1 / predicted, shift=1.0)


def _measure(context: Context, planted: Planted | None = None) -> Measurement:
    """Compare the measured with the predicted variance for two and three hidden layers."""
    quantities: dict[str, Quantity] = {}
    rows: dict[str, tuple[float, float, float]] = {}
    for hidden, word in ((2, "two"), (3, "three")):
        _, first = expansion(hidden)
        first = planted(first) if planted else first
        for n, seeds in CONTROL_LADDER if planted else context.choose(smoke=SMOKE_LADDER, ci=LADDER, full=FULL_LADDER):
            context.report_progress(f"{word} hidden layers, width {n}")
            estimate = _ratio(first, hidden, n, seeds, context.seed)
            low, high = estimate.interval or (estimate.value, estimate.value)
            rows[f"{word} hidden layers, n = {n}"] = (estimate.value, low, high)
            quantities[f"{word}_hidden_layers"] = _widest(quantities.get(f"{word}_hidden_layers"), estimate)
    columns = ("ratio", "low", "high")
    table = Table("Measured over predicted variance", tuple(rows), columns, tuple(rows.values()), "text")
    return Measurement(quantities, (table,))


def _widest(before: Quantity | None, now: Estimate) -> Estimate:
    """Return the hull of two estimates, so that one gate holds at every width; the value is the one farther from 1."""
    if not isinstance(before, Estimate) or before.interval is None or now.interval is None:
        return now
    value = max(before.value, now.value, key=lambda ratio: abs(ratio - 1))
    return Estimate(value, (min(before.interval[0], now.interval[0]), max(before.interval[1], now.interval[1])))


def _one_layer(first: Influence) -> Influence:
    """Forget the fluctuations of the last hidden layer."""
    return replace(first, functions=(*first.functions[:-1], torch.zeros_like(first.functions[-1])))


def _not_centred(first: Influence) -> Influence:
    """Take the bare derivative, with a mean left in, for the influence function."""
    return replace(first, functions=tuple(f + first.value[:, None] for f in first.functions))


EXPERIMENT = Experiment("trained tanh networks with a residual, n = 128 to 512, against influence functions", _measure)
ONE_LAYER = Experiment("the fluctuations of one layer forgotten", lambda context: _measure(context, _one_layer))
NOT_CENTRED = Experiment("influence functions with a mean left in", lambda context: _measure(context, _not_centred))
