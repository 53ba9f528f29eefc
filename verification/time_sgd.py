"""Claim `time.sgd`: online gradient descent strays from the flow like the square root of the time step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from rctheory.dynamics import Network, train
from rctheory.dynamics.flow import flow
from rctheory.statistics.gates import Curve
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.problems import Regression, regression

WIDTH = 8
REFERENCE_STEPS = 320  # of order 4: its error, 1e-10, is seven orders below the noise
STEPS = (80, 160, 320, 640, 1280, 2560)


def _batches(problem: Regression, steps: int, runs: int, context: Context, *, skipped: int) -> Iterator[Tensor]:
    """Draw one fresh datum for each step and run: (runs, 1). The law of the data is uniform on the problem's."""
    stream = context.generator("online", steps)
    for _ in range(steps):
        yield torch.randint(skipped, len(problem.x), (runs, 1), generator=stream)


def _measure(context: Context, *, online: bool = True, skipped: int = 0) -> Measurement:
    """Train one finite network many times on fresh data; compare with the flow along the mean gradient.

    The controls: `skipped` leaves data out of the draws, without `online` every step sees the mean gradient.
    """
    problem = regression()
    network = problem.ansatz.sample((WIDTH, WIDTH), [0], root=context.seed)
    control = skipped > 0 or not online
    # The shorter a run, the more of them for the same work.
    work = 64 * 1280 if control else context.choose(smoke=96 * 1280, ci=320 * 2560, full=4096 * 2560)
    reference = problem.outputs(flow(network, problem.x, problem.y, horizon=problem.horizon, steps=REFERENCE_STEPS))
    points = []
    for steps in STEPS[: 5 if control else context.choose(smoke=5, ci=6, full=6)]:
        runs = min(2048, work // steps)
        context.report_progress(f"{runs} runs of {steps} steps")
        copies = Network(
            tuple(w.expand(runs if online else 1, -1, -1) for w in network.weights), network.masses, network.activation
        )
        batches = _batches(problem, steps, runs, context, skipped=skipped) if online else None
        trained = train(copies, problem.x, problem.y, step=problem.horizon / steps, steps=steps, batches=batches)
        squares = (problem.outputs(trained) - reference).square().mean(dim=(-1, -2))
        points.append(Point.rms(steps, squares.tolist(), scale=problem.horizon / steps))
    return Measurement(
        {"slope": Curve(tuple(points), "time step", "RMS distance of the trained outputs from the flow")}
    )


EXPERIMENT = Experiment("one datum a step, width 8, T = 2, against the flow, 80 to 2560 steps", _measure)
SKIPPED_DATA = Experiment("a quarter of the data never drawn", lambda context: _measure(context, skipped=2))
FULL_BATCH = Experiment("every step sees all data: order one", lambda context: _measure(context, online=False))
