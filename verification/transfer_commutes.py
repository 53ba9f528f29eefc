"""Claim `transfer.commutes`: sample units and then train, or train and then sample the same units."""

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from rctheory.dynamics import Network, train
from rctheory.dynamics.influence import Influence, influence
from rctheory.measures import DESIGNS
from rctheory.numerics import chunks
from rctheory.statistics.gates import Curve
from rctheory.statistics.rates import Point, effective_width
from rctheory.suite.experiment import Context, Experiment, Measurement
from rctheory.transfer import draw_plan
from verification.problems import Regression, regression
from verification.transfers import layout_of, resample
from verification.variates import point_with_variate

DESIGN = DESIGNS["without-replacement"]
BUDGET = 1 << 27  # bytes of middle matrices at a time


@dataclass(frozen=True)
class _Source:
    """A network of width N before and after training, and the influence of its units on the difference of orders."""

    problem: Regression
    start: Network
    end: Network
    influence: Influence

    def variance(self, m: int) -> float:
        """Return the mean over outputs of the exact variance of the first-order part, m of N without replacement."""
        return float(sum(DESIGN.variance(f, m).mean() for f in self.influence.functions))

    def linear(self, m: int, seeds: list[int]) -> Tensor:
        """Return sum_l mean_{i drawn} IF_l(i): (draws, outputs)."""
        layout = layout_of(self.start)
        hidden = [f"hidden.{layer}" for layer in range(1, len(self.start.weights))]
        rows = []
        for seed in seeds:
            plan = draw_plan(layout, dict.fromkeys(hidden, m), DESIGN, seed)
            named = zip(hidden, self.influence.functions, strict=True)
            rows.append(torch.stack([f[:, plan[name]].mean(dim=1) for name, f in named]).sum(dim=0))
        return torch.stack(rows)


@cache
def _source(width: int, seed: int) -> _Source:
    """Train the reference once in a process, and differentiate the difference of the two orders by its masses."""
    problem = regression()
    batch = problem.ansatz.sample((width, width), [0], root=seed, dtype=torch.float32)
    start = replace(batch, weights=tuple(w[0] for w in batch.weights))
    end = problem.train(start)

    def difference(network: Network) -> Tensor:
        return problem.outputs(problem.train(network)) - problem.outputs(replace(network, weights=end.weights))

    return _Source(problem, start, end, influence(start, difference))


def _measure(context: Context, *, tied: bool = True, half_time: bool = False) -> Measurement:
    """Compare both orders on the same draws of m of N units, without replacement, from one network of width N.

    The controls: untied draws rows and columns of a hidden axis apart; half time stops the second run early.
    """
    width = context.choose(smoke=384, ci=768, full=2048)
    context.report_progress(f"training at width {width}, and differentiating")
    source = _source(width, context.seed)
    control = not tied or half_time
    points = []
    for m in (width // 16, width // 8, width // 4, width // 2, 3 * width // 4, 7 * width // 8):
        draws = 16 if control else context.choose(smoke=32, ci=_draws(m, 96), full=4 * _draws(m, 1024))
        context.report_progress(f"{draws} draws of {m} units")
        time = 0.5 if half_time else 1.0
        points.append(_point(source, m, draws, context, tied=tied, time=time))
    label = "RMS difference of the trained outputs"
    return Measurement({"slope": Curve(tuple(points), "effective width 1 / (1/m - 1/N)", label)})


def _draws(m: int, width: int) -> int:
    """Spend about the same work on every number of units above `width`."""
    return max(24, min(192, 192 * width * width // (m * m)))


def _point(source: _Source, m: int, draws: int, context: Context, *, tied: bool, time: float) -> Point:
    errors, linear = [], []
    for part in chunks(draws, 4 * m * m, BUDGET):
        seeds = [context.seed + draw for draw in part]
        before, after = (_drawn(network, m, seeds, context, tied=tied) for network in (source.start, source.end))
        errors.append(_outputs(source.problem, _train(source.problem, before, time)) - _outputs(source.problem, after))
        linear.append(source.linear(m, seeds))
    scale = effective_width(m, source.start.widths[1])
    return point_with_variate(m, torch.cat(errors), torch.cat(linear), source.variance(m), scale)


def _drawn(network: Network, m: int, seeds: list[int], context: Context, *, tied: bool) -> Network:
    """Return the networks of m units that each seed draws, batched; a seed names the same units in every source."""
    parts = [resample(network, m, DESIGN, seed, tied=tied) for seed in seeds]
    stacked = (torch.stack(ws).to(context.device) for ws in zip(*(part.weights for part in parts), strict=True))
    masses = tuple(p.to(context.device) for p in parts[0].masses)
    return replace(parts[0], weights=tuple(stacked), masses=masses)


def _train(problem: Regression, network: Network, time: float) -> Network:
    """Train to a part of the horizon."""
    x, y = (part.to(network.weights[0]) for part in (problem.x, problem.y))
    return train(network, x, y, step=problem.step, steps=round(time * problem.horizon / problem.step))


def _outputs(problem: Regression, network: Network) -> Tensor:
    return problem.outputs(network).flatten(1).cpu()


EXPERIMENT = Experiment("draws of 48 to 672 of 768 units, before and after training", _measure)
UNTIED_AXIS = Experiment(
    "rows of a layer drawn independently of the next layer's columns", lambda context: _measure(context, tied=False)
)
HALF_TIME = Experiment(
    "the sampled network trained for half the time", lambda context: _measure(context, half_time=True)
)
