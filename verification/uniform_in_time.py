"""Claim `langevin.uniform-in-time`: with noise and weight decay the gap to the limit does not grow with time.

One hidden layer, f = mean_i c_i tanh(w_i . x). Each neuron theta_i = (w_i, c_i) follows Langevin dynamics

    d theta_i = -E_x[ d risk / d f  grad_theta (c tanh(w . x)) ] dt - lambda theta_i dt + sqrt(2 tau) dB_i.

The limit is a system of all neurons of all networks together, with the same starts and the same noise: network and
limit differ only in whose mean a neuron feels. With S networks of n neurons the limit has S n of them, so the mean
square gap is that against the true limit times 1 - 1/S, the same factor at every time.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.numerics import require_finite
from rctheory.statistics.gates import Curve, Quantity
from rctheory.statistics.rates import Point, effective_width
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.problems import regression

TIMES = (1, 4, 16, 64)
STEP = 0.125


@dataclass(frozen=True)
class Dynamics:
    """Weight decay lambda, temperature tau, factor in front of the risk, and whether a network has one common noise."""

    decay: float = 1.0
    temperature: float = 1.0
    feedback: float = 1.0
    shared: bool = False


NEITHER = Dynamics(decay=0.0, temperature=0.0)


def outputs_and_drift(
    theta: Tensor, x: Tensor, y: Tensor, dynamics: Dynamics, *, pooled: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the outputs (S, B) and the drift of neurons theta (S, n, d + 1); `pooled`, all feel one mean."""
    w, c = theta[..., :-1], theta[..., -1:]
    a = torch.tanh(w @ x.T)
    outputs = (c * a).mean(dim=-2)
    outputs = outputs.mean(dim=0, keepdim=True) if pooled else outputs
    pull = dynamics.feedback * (y - outputs)[:, None, :] / len(x)
    inner = (pull * c * (1 - a.square())) @ x
    return outputs, torch.cat([inner, (pull * a).sum(dim=-1, keepdim=True)], dim=-1) - dynamics.decay * theta


def _gaps(
    context: Context, dynamics: Dynamics, n: int, networks: int, times: tuple[int, ...] = TIMES
) -> dict[int, tuple[list[float], float]]:
    """Return at each time the squared output gap of every network, and the RMS gap between coupled neurons."""
    problem = regression()
    x, y = problem.x.float().to(context.device), problem.y[:, 0].float().to(context.device)
    stream = context.generator("langevin", n)

    def normal(neurons: int) -> Tensor:
        return torch.randn(networks, neurons, x.shape[1] + 1, generator=stream).to(context.device)

    finite = normal(n)
    limit = finite.clone()
    marks = {round(time / STEP): time for time in times}
    kick = math.sqrt(2 * dynamics.temperature * STEP)
    found: dict[int, tuple[list[float], float]] = {}
    for index in range(round(max(times) / STEP) + 1):
        outputs, drift = outputs_and_drift(finite, x, y, dynamics)
        pooled, pooled_drift = outputs_and_drift(limit, x, y, dynamics, pooled=True)
        if index in marks:
            require_finite(f"neurons at time {marks[index]}", finite)
            coupled = float((finite - limit).square().sum(dim=-1).mean().sqrt())
            found[marks[index]] = (outputs - pooled).square().mean(dim=-1).double().tolist(), coupled
        noise = kick * normal(1 if dynamics.shared else n) if kick else torch.zeros_like(finite)
        finite = finite + STEP * drift + noise
        limit = limit + STEP * pooled_drift + noise
    return found


def _width_curve(context: Context, dynamics: Dynamics) -> Curve:
    """Return the gap at doubling widths, mean square over T = 4 and T = 16, on the scale of the finite limit."""
    whole, most = context.choose(smoke=(2**13, 2**8), ci=(2**14, 2**8), full=(2**20, 2**12))
    points = []
    for n in (most >> k for k in reversed(range(6))):
        context.report_progress(f"width {n}")
        squares = [found[0] for found in _gaps(context, dynamics, n, whole // n, TIMES[1:3]).values()]
        means = [sum(pair) / 2 for pair in zip(*squares, strict=True)]
        points.append(Point.rms(n, means, effective_width(n, whole)))
    return Curve(tuple(points), "effective width 1 / (1/n - 1/N)", "RMS gap of the outputs")


def _measure(context: Context, dynamics: Dynamics | None = None) -> Measurement:
    """Measure the gap at T = 1, 4, 16, 64, and again without noise and decay for the table."""
    n, networks = context.choose(smoke=(16, 256), ci=(32, 512), full=(256, 8192))
    table: dict[str, tuple[float, ...]] = {}
    cases = {"noise and decay": dynamics} if dynamics else {"noise and decay": Dynamics(), "neither": NEITHER}
    points: tuple[Point, ...] = ()
    for name, case in cases.items():
        context.report_progress(f"{name}, {networks} networks of {n} neurons")
        # The noiseless case is there for contrast; a quarter of the networks shows it.
        found = _gaps(context, case, n, networks // 4 if case is NEITHER else networks)
        measured = tuple(Point.rms(time, squares) for time, (squares, _) in found.items())
        points = points or measured
        table[f"outputs, {name}"] = tuple(point.error for point in measured)
        table[f"coupled neurons, {name}"] = tuple(coupled for _, coupled in found.values())
    columns = tuple(f"T = {time}" for time in TIMES)
    quantities: dict[str, Quantity] = {
        "trend": Curve(points, "time T", "RMS gap of the outputs"),
        "width": _width_curve(context, dynamics or Dynamics()),
    }
    return Measurement(
        quantities, (Table("RMS gap to the limit", tuple(table), columns, tuple(table.values()), "text"),)
    )


EXPERIMENT = Experiment("Langevin dynamics with weight decay until T = 64, coupled to its limit", _measure)
FREE_DIFFUSION = Experiment(
    "noise alone, no weight decay and no risk: nothing holds the neurons",
    lambda context: _measure(context, Dynamics(decay=0.0, feedback=0.0)),
)
SHARED_NOISE = Experiment(
    "one noise for all neurons of a network", lambda context: _measure(context, Dynamics(shared=True))
)
