"""Claim `width.lln`: E[|f_n(T) - f(T)|^2]^(1/2) ~ C n^(-1/2) after training."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rctheory.dynamics import Network
from rctheory.statistics.gates import Curve
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.problems import regression

REFERENCE_NODES = 96
Planted = Callable[[Network], Network]


def _measure(context: Context, planted: Planted | None = None) -> Measurement:
    """Train ensembles at doubling widths and compare each network with the quadrature limit."""
    problem = regression()
    limit = problem.outputs(problem.train(problem.ansatz.limit(REFERENCE_NODES)))
    points = []
    for n, seeds in _ladder(context, control=planted is not None):
        context.report_progress(f"width {n}, {seeds} seeds")
        squares: list[Tensor] = []
        # float32 rounding (1e-6) is four orders below the smallest error here (1e-2).
        for network in problem.ansatz.ensembles(
            (n, n), seeds, root=context.seed, dtype=torch.float32, device=context.device
        ):
            trained = problem.train(planted(network) if planted else network)
            squares.append((problem.outputs(trained).cpu() - limit).square().mean(dim=(-1, -2)))
        points.append(Point.rms(n, torch.cat(squares).tolist()))
    return Measurement({"slope": Curve(tuple(points), "width n", "RMS error of the trained output")})


def _ladder(context: Context, *, control: bool) -> list[tuple[int, int]]:
    """Return widths with their numbers of seeds; a control needs far fewer to be seen."""
    widths = context.choose(
        smoke=[16, 32, 64, 128, 256, 512],
        ci=[32, 64, 128, 256, 512, 1024],
        full=[2**k for k in range(5, 17)],
    )
    if control:
        return [(n, 32) for n in widths[:6]]
    # The work of one seed grows like n^2: spend the same at every width beyond the first few.
    most, area = context.choose(smoke=(512, 128), ci=(2048, 724), full=(4096, 1024))
    return [(n, max(16, min(most, most * area**2 // n**2))) for n in widths]


def _ntk_scale(network: Network) -> Network:
    """Scale the middle layer by n^(-1/2) where the theory has 1/n."""
    inputs, first, second, outputs = network.masses
    return replace(network, masses=(inputs, first.sqrt(), second, outputs))


EXPERIMENT = Experiment("two hidden tanh layers, T = 2, against the quadrature limit", _measure)
NTK_SCALE = Experiment("the middle layer scaled by n^(-1/2)", lambda context: _measure(context, _ntk_scale))
