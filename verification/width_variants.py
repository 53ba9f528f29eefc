"""Claim `width.variants`: the rate n^(-1/2) beyond the standard problem: other depths, another activation."""

from collections.abc import Callable
from dataclasses import replace

import torch

from rctheory.dynamics import ACTIVATIONS, Network
from rctheory.statistics.gates import Curve
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.problems import Regression, regression

Planted = Callable[[Network], Network]

PROBLEMS: dict[str, Callable[[], Regression]] = {
    "depth_2_gelu": lambda: regression(hidden=1, activation=ACTIVATIONS["gelu"]),
    "depth_4_tanh": lambda: regression(hidden=3),
}
NODES = 64  # exact to 1e-6, as claim limit.quadrature shows for the standard problem
SMOKE_WIDTHS = (16, 24, 32, 48, 64, 96)
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
        most = 24 if planted else context.choose(smoke=768, ci=512, full=4096)
        seeds = max(24, min(most, most * 128 // n))
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
    """Scale the last hidden layer by n^(-1/2) where the theory has 1/n."""
    *below, last, outputs = network.masses
    return replace(network, masses=(*below, last.sqrt(), outputs))


EXPERIMENT = Experiment("one hidden layer with GELU, three with tanh", _measure)
WRONG_SCALE = Experiment("the last hidden layer scaled by n^(-1/2)", lambda context: _measure(context, _wrong_scale))
