"""Claim `width.fields`: pre-activations and weight increments, neuron by neuron, approach their limit like n^(-1/2)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rctheory.statistics.gates import Curve
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.problems import Regression, regression

NODES = 48
MIDDLE = 1  # index of the one matrix between two growing axes
Shuffle = Callable[[Tensor], Tensor]


class Limit:
    """The trained limit as a field over latents: pre-activations h(z) and weight increments w(z, z')."""

    def __init__(self, problem: Regression) -> None:
        """Train the limit on Gauss nodes and interpolate it by Legendre polynomials, spectrally exact."""
        start = problem.ansatz.limit(NODES)
        trained = problem.train(start)
        nodes, _ = problem.ansatz.laws[0].rule(NODES)
        inverse = torch.from_numpy(np.linalg.inv(np.polynomial.legendre.legvander(nodes, NODES - 1)))
        self._fields = trained.activations(problem.x)[0][MIDDLE] @ inverse.T
        self._increments = inverse @ (trained.weights[MIDDLE] - start.weights[MIDDLE]) @ inverse.T

    def pre_activations(self, latents: Tensor) -> Tensor:
        """Return h(z) on the data: (seeds, B, n) from latents (seeds, n)."""
        return self._fields @ self._basis(latents).transpose(-1, -2)

    def increments(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return w(T; z, z') - w(0; z, z'): (seeds, n, n) from latents (seeds, n) of rows and columns."""
        return self._basis(rows) @ self._increments @ self._basis(columns).transpose(-1, -2)

    @staticmethod
    def _basis(latents: Tensor) -> Tensor:
        return torch.from_numpy(np.polynomial.legendre.legvander(latents.numpy(), NODES - 1))


def _errors(
    problem: Regression, limit: Limit, n: int, seeds: range, root: int, shuffle: Shuffle
) -> tuple[Tensor, Tensor]:
    """Return each seed's mean squared error of pre-activations and of weight increments."""
    network = problem.ansatz.sample((n, n), seeds, root=root)
    columns, rows = (z[..., 0] for z in problem.ansatz.latents((n, n), seeds, root=root))
    trained = problem.train(network)
    h = trained.activations(problem.x)[0][MIDDLE]
    moved = trained.weights[MIDDLE] - network.weights[MIDDLE]
    rows = shuffle(rows)
    return (
        (h - limit.pre_activations(rows)).square().mean(dim=(-1, -2)),
        (moved - limit.increments(rows, columns)).square().mean(dim=(-1, -2)),
    )


def _own(latents: Tensor) -> Tensor:
    """Leave every neuron its own latent."""
    return latents


def _measure(context: Context, shuffle: Shuffle = _own) -> Measurement:
    """Compare every neuron, and every weight, with the limit at its own latents; a control needs few seeds."""
    problem = regression()
    limit = Limit(problem)
    widths = context.choose(
        smoke=(16, 24, 32, 48, 64, 96, 128),
        ci=(32, 64, 128, 256, 512, 1024),
        full=(32, 64, 128, 256, 512, 1024, 2048, 4096),
    )
    most = context.choose(smoke=768, ci=512, full=2048) if shuffle is _own else 32
    curves: dict[str, list[Point]] = {"pre_activations": [], "weights": []}
    for n in widths:
        context.report_progress(f"width {n}")
        seeds = max(min(32, most), min(most, most * 128 // n))
        step = max(1, (1 << 22) // n**2)
        parts = [
            _errors(problem, limit, n, range(first, min(first + step, seeds)), context.seed, shuffle)
            for first in range(0, seeds, step)
        ]
        for name, squares in zip(curves, zip(*parts, strict=True), strict=True):
            curves[name].append(Point.rms(n, torch.cat(squares).tolist()))
    labels = {"pre_activations": "RMS error of pre-activations", "weights": "RMS error of weight increments"}
    return Measurement({name: Curve(tuple(points), "width n", labels[name]) for name, points in curves.items()})


EXPERIMENT = Experiment("second-layer pre-activations and middle weights against the limit at their latents", _measure)
OTHER_NEURON = Experiment(
    "every neuron compared with the limit at another neuron's latent",
    lambda context: _measure(context, lambda latents: latents.roll(1, dims=-1)),
)
