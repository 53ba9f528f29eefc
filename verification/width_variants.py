"""Claim `width.variants`: the rate n^(-1/2) beyond the standard problem: other depths, activations, Adam."""

from collections.abc import Callable
from dataclasses import replace

import torch

from rctheory.dynamics import ACTIVATIONS, Network
from rctheory.dynamics.optimizers import Adam
from rctheory.statistics.gates import Curve
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.problems import Regression, regression

Planted = Callable[[Network], Network]

# With T = 2 the kink of ReLU keeps its constant rising slowly up to n = 512 (slope -0.46): still on its way. The eps of
# Adam is of the order of the gradients: with a tiny one the first update is a sign, not differentiable in the law.
PROBLEMS: dict[str, Callable[[], Regression]] = {
    "depth_2_gelu": lambda: regression(hidden=1, activation=ACTIVATIONS["gelu"]),
    "depth_3_relu": lambda: replace(regression(activation=ACTIVATIONS["relu"]), horizon=1.0),
    "depth_4_tanh": lambda: regression(hidden=3),
    "depth_3_adam": lambda: replace(regression(), updates=(Adam(eps=0.5),)),
}
NODES = 192  # ReLU has a kink, where the rule converges like a power of Q: 192 nodes leave 4e-4
SMOKE_WIDTHS = (16, 24, 32, 48, 64, 96, 128)
WIDTHS = (16, 32, 64, 128, 256, 512)
FULL_WIDTHS = (*WIDTHS, 1024, 2048, 4096)


def _measure(context: Context, planted: Planted | None = None) -> Measurement:
    """Fit the slope of each variant on its own ladder of widths."""
    curves = {name: _curve(context, name, make(), planted) for name, make in PROBLEMS.items()}
    return Measurement(curves)


def _curve(context: Context, name: str, problem: Regression, planted: Planted | None) -> Curve:
    """Return the RMS error of the trained output at widths doubling from 16."""
    limit = problem.outputs(problem.train(problem.ansatz.limit(NODES)))
    hidden = len(problem.ansatz.laws)
    points = []
    for n in context.choose(smoke=SMOKE_WIDTHS, ci=WIDTHS, full=FULL_WIDTHS):
        most = 24 if planted else context.choose(smoke=1024, ci=1024, full=4096)
        knee = context.choose(smoke=24, ci=128, full=512)  # beyond it, seeds fall like 1 / n
        seeds = max(24, min(most, most * knee // n))
        context.report_progress(f"{name}, width {n}")
        squares = []
        for network in problem.ansatz.ensembles(
            (n,) * hidden, seeds, root=context.seed, dtype=torch.float32, device=context.device
        ):
            trained = problem.train(planted(network) if planted else network)
            squares.append((problem.outputs(trained).cpu() - limit).square().mean(dim=(-1, -2)))
        points.append(Point.rms(n, torch.cat(squares).tolist()))
    return Curve(tuple(points), "width n", "RMS error of the trained output")


def _wrong_scale(network: Network) -> Network:
    """Scale the last hidden layer by n^(-0.9) where the theory has 1/n: wrong by little, so that nothing diverges."""
    *below, last, outputs = network.masses
    return replace(network, masses=(*below, last**0.9, outputs))


EXPERIMENT = Experiment("depth 2 with GELU, 3 with ReLU, 4 with tanh, 3 with Adam", _measure)
WRONG_SCALE = Experiment("the last hidden layer scaled by n^(-0.9)", lambda context: _measure(context, _wrong_scale))
