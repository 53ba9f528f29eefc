"""Claim `width.factored`: the rate n^(-1/2) goes on to a million units, trained in factors."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rctheory.dynamics import Network, factored
from rctheory.dynamics.influence import Influence
from rctheory.statistics.gates import Curve
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.fluctuations import NODES, expansion, mean_estimate
from verification.problems import Regression
from verification.variates import point_with_variate

Planted = Callable[[Network], Network]


def _ladder(context: Context, *, control: bool) -> list[tuple[int, int]]:
    """Return widths, each four times the one before, with their numbers of seeds."""
    widths = context.choose(
        smoke=[16, 64, 256, 1024, 4096, 16384],
        ci=[100, 400, 1600, 6400, 25600, 102400],
        full=[250 * 4**k for k in range(6)] + [1_000_000],
    )
    most, work = context.choose(smoke=(64, 15_000), ci=(128, 30_000), full=(1024, 16_000_000))
    if control:
        return [(n, max(4, min(48, 10_000 // n))) for n in widths[1:5]]
    return [(n, max(5, min(most, work // n))) for n in widths]


def _measure(context: Context, planted: Planted | None = None) -> Measurement:
    """Train ensembles in factors against the quadrature limit; the constant is that of the largest width."""
    problem, first = expansion(2)
    points = []
    for n, seeds in _ladder(context, control=planted is not None):
        context.report_progress(f"width {n}, {seeds} seeds")
        error = torch.cat([_errors(problem, first, n, part, context, planted) for part in _parts(n, seeds)])
        linear = _linear(problem, first, n, seeds, context.seed)
        predicted = float(first.variance((n, n)).mean())
        points.append(point_with_variate(n, error, linear, predicted))
        excess = (error.square() - linear.square()).mean(dim=1)
        constant = mean_estimate(excess, scale=1 / predicted, shift=1.0)
    curve = Curve(tuple(points), "width n", "RMS error of the trained output")
    return Measurement({"slope": curve, "constant": constant})


def _parts(n: int, seeds: int) -> list[range]:
    """Split the seeds so that the networks trained at once hold at most about 10^6 units a layer."""
    size = max(1, 1_000_000 // n)
    return [range(start, min(start + size, seeds)) for start in range(0, seeds, size)]


def _errors(
    problem: Regression, first: Influence, n: int, seeds: range, context: Context, planted: Planted | None
) -> Tensor:
    """Return f_n - f of networks of width n, (seeds, outputs)."""
    # float32 rounding, about 1e-6 of the outputs, is two orders below the error of a million units.
    start = factored.sample(
        problem.ansatz, (n, n), seeds, root=context.seed, dtype=torch.float32, device=context.device
    )
    x, y = (part.to(start.masses[0]) for part in (problem.x, problem.y))
    steps = round(problem.horizon / problem.step)
    trained = factored.train(planted(start) if planted else start, x, y, step=problem.step, steps=steps)
    return trained.outputs(x).double().cpu().flatten(1) - first.value


def _linear(problem: Regression, first: Influence, n: int, seeds: int, root: int) -> Tensor:
    """Return the first-order part of the same errors: sum_l mean_i IF_l(z^l_i), (seeds, outputs)."""
    nodes = [law.rule(NODES)[0] for law in problem.ansatz.laws]
    rows = []
    for seed in range(seeds):
        latents = problem.ansatz.latents((n, n), [seed], root=root)
        parts = [first.at(layer, nodes[layer], z[0, :, 0]).mean(dim=-1) for layer, z in enumerate(latents)]
        rows.append(torch.stack(parts).sum(dim=0))
    return torch.stack(rows)


def _ntk_scale(network: Network) -> Network:
    """Scale the middle layer by n^(-1/2) where the theory has 1/n."""
    inputs, hidden, second, outputs = network.masses
    return replace(network, masses=(inputs, hidden.sqrt(), second, outputs))


def _untied(network: Network) -> Network:
    """Give the first matrix's rows to other units than those whose columns the middle matrix reads."""
    first, middle, last = network.weights
    return replace(network, weights=(first.roll(1, dims=-2), middle, last))


EXPERIMENT = Experiment("two hidden tanh layers in factors, n = 100 to 102,400, against the quadrature limit", _measure)
NTK_SCALE = Experiment("the middle layer scaled by n^(-1/2)", lambda context: _measure(context, _ntk_scale))
UNTIED_AXIS = Experiment("rows of the first matrix handed to other units", lambda context: _measure(context, _untied))
