"""Claims `measure.wasserstein` and `measure.mmd`: how fast the empirical law of n neurons tells the law behind them.

Two independent samples of n are compared. E d(mu_n, mu) <= E d(mu_n, nu_n) <= 2 E d(mu_n, mu) by convexity and the
triangle inequality, so that the rate is that of a sample against the law, without a discretised law in its way.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rctheory.dynamics import SQUARED
from rctheory.measures import (
    GaussianLaw,
    NeuronLaw,
    UniformLaw,
    directions,
    signature_law,
    sliced_wasserstein,
    squared_energy,
    squared_mmd,
    wasserstein,
)
from rctheory.numerics import chunks
from rctheory.statistics.gates import Curve, Quantity
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement, Tier
from verification.problems import regression

DIMENSIONS = (1, 2, 3, 5)
BANDWIDTH = 1.0  # half of the support: of the order of the spread of the law
PROBES = slice(0, 2)
LAYER = 2
Distance = Callable[[Tensor, Tensor], Tensor]
Draw = Callable[[Context, NeuronLaw, int, int], tuple[Tensor, Tensor]]


def _independent(context: Context, law: NeuronLaw, n: int, count: int) -> tuple[Tensor, Tensor]:
    """Draw `count` pairs of independent samples of n points."""
    stream = context.generator("empirical law", n, law.dimension)
    x, y = (law.sample(count * n, stream).reshape(count, n, law.dimension) for _ in range(2))
    return x.to(context.device), y.to(context.device)


def _shared_shift(context: Context, law: NeuronLaw, n: int, count: int) -> tuple[Tensor, Tensor]:
    """Shift each sample as a whole: exchangeable points that are not independent, a planted error."""
    x, y = _independent(context, law, n, count)
    dimension = law.dimension
    shifts = torch.randn(count, 1, dimension, generator=context.generator("shift", n, dimension), dtype=x.dtype)
    return x + shifts.to(x), y


def _distances(distance: Distance, x: Tensor, y: Tensor) -> Tensor:
    """Return the distance of each pair, few pairs at a time: the pairwise distances are n x n."""
    parts = chunks(len(x), 8 * x.shape[-2] ** 2, 1 << 25)
    return torch.cat([distance(x[p.start : p.stop], y[p.start : p.stop]) for p in parts])


def _mean(n: int, values: Tensor, scale: float | None = None) -> Point:
    """Return the mean over pairs with its standard error."""
    return Point(n, float(values.mean()), float(values.std()) / len(values) ** 0.5, len(values), scale)


def _measure_wasserstein(context: Context, distance: Distance = wasserstein) -> Measurement:
    """Measure E W1 of normal samples in each dimension, and of the signatures of trained networks."""
    sizes = [2**k for k in context.choose(smoke=range(4, 10), ci=range(4, 10), full=range(5, 12))]
    area, line = context.choose(smoke=(4096, 512), ci=(8192, 1024), full=(65536, 4096))
    quantities: dict[str, Quantity] = {}
    for dimension in DIMENSIONS:
        context.report_progress(f"W1 in dimension {dimension}")
        points = []
        # On the line large samples are cheap, and small ones still feel the tails of the law.
        for n in [4 * n for n in sizes] if dimension == 1 else sizes:
            count = line if dimension == 1 else max(12, area // n)
            values = _distances(distance, *_independent(context, GaussianLaw(dimension), n, count))
            points.append(_mean(n, values, n / math.log(n) if dimension == 2 else None))
        label = "n / log n" if dimension == 2 else "sample size n"
        quantities[f"dimension_{dimension}"] = Curve(tuple(points), label, "E W1 of two samples")
    quantities["signatures"] = _signatures(context, distance)
    return Measurement(quantities)


def _signatures(context: Context, distance: Distance) -> Curve:
    """Measure E W1 between the signature laws of a layer of two independent trained networks."""
    problem = regression()
    widths = [2**k for k in context.choose(smoke=range(3, 9), ci=range(4, 10), full=range(4, 12))]
    area = context.choose(smoke=2048, ci=8192, full=65536)
    points = []
    for n in widths:
        context.report_progress(f"signatures of trained networks, width {n}")
        laws = []
        # Twice as many networks as pairs; float32 rounds at 1e-7, the smallest distance here is 1e-2.
        seeds = 2 * max(16, min(128, area // n))
        for network in problem.ansatz.ensembles((n, n), seeds, root=context.seed, dtype=torch.float32):
            trained = problem.train(network)
            x, y = problem.x.to(torch.float32)[PROBES], problem.y.to(torch.float32)[PROBES]
            signatures = trained.signatures(x, y, SQUARED)
            laws.append(signature_law(signatures.activations[LAYER], signatures.deltas[LAYER - 1]).double())
        pairs = torch.cat(laws)
        points.append(_mean(n, _distances(distance, pairs[0::2], pairs[1::2])))
    return Curve(tuple(points), "width n", "E W1 of two signature laws")


def _measure_mmd(context: Context, draw: Draw = _independent, power: int = 1) -> Measurement:
    """Measure the root mean square of MMD, energy distance and sliced W1 in each dimension.

    The squares of the first two have the mean c / n at every n; sliced W1 needs larger n, and no pairwise distances.
    """
    exponents, pairs = context.choose(smoke=(range(1, 7), 768), ci=(range(2, 8), 1024), full=(range(4, 12), 2048))
    quantities: dict[str, Quantity] = {}
    for dimension in DIMENSIONS:
        context.report_progress(f"MMD, energy distance and sliced W1 in dimension {dimension}")
        share = 2 * dimension - 1
        slices = directions(min(share, 8), dimension, context.generator("slices", dimension))
        distances: dict[str, tuple[int, Distance]] = {
            "mmd": (1, lambda x, y: squared_mmd(x, y, BANDWIDTH)),
            "energy": (1, squared_energy),
            "sliced": (16, partial(_squared_sliced, slices=slices)),
        }
        for name, (factor, distance) in distances.items():
            points = []
            for n in (factor * 2**k for k in exponents):
                # The squared distance concentrates as the dimension grows: fewer pairs see it equally well.
                count = 2 * pairs // share if name == "sliced" else pairs // share
                x, y = draw(context, UniformLaw(dimension), n, count)
                points.append(Point.rms(n, (_distances(distance, x, y) ** power).tolist()))
            quantities[f"{name}_{dimension}"] = Curve(tuple(points), "sample size n", "RMS distance of two samples")
    return Measurement(quantities)


def _squared_sliced(x: Tensor, y: Tensor, slices: Tensor) -> Tensor:
    squares: Tensor = sliced_wasserstein(x, y, slices).square()
    return squares


def _light(context: Context) -> Context:
    """Give a control the work of the smoke tier: its slopes are far outside the gates."""
    return replace(context, tier=Tier.SMOKE)


def _unmatched(x: Tensor, y: Tensor) -> Tensor:
    """Couple the points in the order in which they come: a planted error."""
    lengths: Tensor = (x - y).norm(dim=-1)
    return lengths.mean(dim=-1)


def _one_coordinate(x: Tensor, y: Tensor) -> Tensor:
    """Compare the first coordinate alone: a planted error."""
    return wasserstein(x[..., :1], y[..., :1])


WASSERSTEIN = Experiment(
    "normal samples in dimension 1, 2, 3, 5, and signatures of trained networks", _measure_wasserstein
)
UNMATCHED = Experiment(
    "points coupled in the order in which they come", lambda context: _measure_wasserstein(_light(context), _unmatched)
)
ONE_COORDINATE = Experiment(
    "the first coordinate compared alone", lambda context: _measure_wasserstein(_light(context), _one_coordinate)
)
MMD = Experiment("MMD, energy distance and sliced W1 of uniform samples in dimension 1, 2, 3, 5", _measure_mmd)
SQUARE = Experiment(
    "the squared distance taken for the distance", lambda context: _measure_mmd(_light(context), power=2)
)
SHARED_SHIFT = Experiment(
    "points that share a random shift: exchangeable, not independent",
    lambda context: _measure_mmd(_light(context), _shared_shift),
)
