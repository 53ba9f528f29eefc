"""Claim `scaling.ntk`: in the standard 1/sqrt(n) scale a sub-sample of neurons misses the network, at every width.

A negative result: the residual that the mean-field scale averages away is all there is in the standard scale.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.dynamics import Network, train
from rctheory.measures import WithoutReplacement
from rctheory.numerics import generator
from rctheory.statistics.gates import Curve, Estimate, Quantity
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.fluctuations import mean_estimate
from verification.problems import Regression, regression

RATIO = 4  # n / m, fixed while m grows
RATE, STEPS = 1.0, 10
RATIOS = (2, 4, 8, 16)


@dataclass(frozen=True)
class Trained:
    """Weights of trained networks, seeds in front, with their scales: h^l = scale_l W^l a^{l-1}."""

    weights: tuple[Tensor, ...]
    scales: tuple[float, ...]

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs (seeds, B, k) on inputs x (B, n_0)."""
        a = x
        for weight, scale in zip(self.weights, self.scales, strict=True):
            h = scale * (a @ weight.transpose(-1, -2))
            a = torch.tanh(h)
        return h

    def sampled(self, m: int, streams: list[torch.Generator]) -> "Trained":
        """Keep m units of every hidden layer, one draw per layer and seed, and multiply averaged axes by n/m."""
        weights, scales = list(self.weights), list(self.scales)
        for layer in range(len(weights) - 1):
            n = weights[layer].shape[-2]
            kept = torch.stack([WithoutReplacement().draw(n, m, stream) for stream in streams])
            rows, columns = kept[:, :, None], kept[:, None, :]
            weights[layer] = weights[layer].take_along_dim(rows.to(weights[layer].device), dim=-2)
            weights[layer + 1] = weights[layer + 1].take_along_dim(columns.to(weights[layer].device), dim=-1)
            scales[layer + 1] *= n / m
        return Trained(tuple(weights), tuple(scales))


Build = Callable[[Context, Regression, int, int, int], Trained]


def _standard(context: Context, problem: Regression, n: int, seeds: int, steps: int) -> Trained:
    """Train networks of independent normal weights in the scale n^(-1/2), by autograd on the whole batch of seeds."""
    sizes = (problem.x.shape[1], n, n, 1)
    scales = (sizes[0] ** -0.5, n**-0.5, n**-0.5)
    shapes = [(sizes[layer + 1], sizes[layer]) for layer in range(3)]
    streams = [generator(context.seed, "standard", n, seed) for seed in range(seeds)]
    weights = tuple(torch.stack([torch.randn(*shape, generator=s) for s in streams]) for shape in shapes)
    current = Trained(tuple(w.to(context.device) for w in weights), scales)
    x, y = problem.x.to(current.weights[0]), problem.y.to(current.weights[0])
    for _ in range(steps):
        leaves = tuple(w.requires_grad_() for w in current.weights)
        risk = 0.5 * (Trained(leaves, scales).outputs(x) - y).square().mean(dim=(-1, -2)).sum()
        gradients = torch.autograd.grad(risk, leaves)
        current = Trained(tuple((w - RATE * g).detach() for w, g in zip(leaves, gradients, strict=True)), scales)
    return current


def _mean_field(context: Context, problem: Regression, n: int, seeds: int, steps: int) -> Trained:
    """Train networks of the row-column ansatz in the mean-field scale: what the negative result is contrasted with."""
    start: Network = problem.ansatz.sample(
        (n, n), range(seeds), root=context.seed, dtype=torch.float32, device=context.device
    )
    x, y = problem.x.to(start.weights[0]), problem.y.to(start.weights[0])
    trained = train(start, x, y, step=problem.step, steps=steps)
    return Trained(trained.weights, (1.0, 1 / n, 1 / n))


def _error(context: Context, problem: Regression, trained: Trained, m: int) -> Point:
    """Return the RMS change of the outputs when m units are kept, relative to the RMS of the outputs."""
    n, seeds = trained.weights[0].shape[-2], len(trained.weights[0])
    streams = [generator(context.seed, "kept", n, m, seed) for seed in range(seeds)]
    x = problem.x.to(trained.weights[0])
    outputs = trained.outputs(x)
    change = (trained.sampled(m, streams).outputs(x) - outputs).square().mean(dim=(-1, -2))
    return Point.rms(m, (change / outputs.square().mean()).double().tolist())


def _missed_variance(network: Trained, x: Tensor, ratio: int, root: int) -> Tensor:
    """Return the missed over the predicted variance of what layer 2 reads, where layer 1 is sampled: (seeds,).

    Predicted is n/m - 1 times the mean square of what it reads; before training, where the residual is independent of
    the signals.
    """
    signals = torch.tanh(network.scales[0] * (x @ network.weights[0].transpose(-1, -2)))
    weight, n = network.weights[1], network.weights[1].shape[-1]
    streams = [generator(root, "variance", n, ratio, seed) for seed in range(len(weight))]
    kept = torch.stack([WithoutReplacement().draw(n, n // ratio, stream) for stream in streams]).to(weight.device)
    read = signals @ weight.transpose(-1, -2)
    part = signals.take_along_dim(kept[:, None, :], dim=-1), weight.take_along_dim(kept[:, None, :], dim=-1)
    change = ratio * (part[0] @ part[1].transpose(-1, -2)) - read
    return (change.square().mean(dim=(-1, -2)) / read.square().mean() / (ratio - 1)).double().cpu()


def _hull(estimates: list[Estimate]) -> Estimate:
    """Return the hull of several estimates of 1: one gate for all; the value is the one farthest from 1."""
    value = max((e.value for e in estimates), key=lambda ratio: abs(ratio - 1))
    intervals = [e.interval or (e.value, e.value) for e in estimates]
    return Estimate(value, (min(low for low, _ in intervals), max(high for _, high in intervals)))


def _measure(context: Context, build: Build = _standard) -> Measurement:
    """Sub-sample trained networks of doubling width at a fixed ratio, and one width at several ratios."""
    problem = regression()
    exponents = context.choose(smoke=range(2, 8), ci=range(3, 9), full=range(4, 11))
    seeds = context.choose(smoke=96, ci=192, full=512)
    points = []
    for m in (2**k for k in exponents):
        context.report_progress(f"{RATIO * m} neurons to {m}")
        count = max(16, min(seeds, seeds * 128**2 // (RATIO * m) ** 2))
        points.append(_error(context, problem, build(context, problem, RATIO * m, count, STEPS), m))
    context.report_progress(f"one layer, ratios {RATIOS}")
    start = build(context, problem, 256, 64, 0)
    x = problem.x.to(start.weights[0])
    missed = [mean_estimate(_missed_variance(start, x, ratio, context.seed)) for ratio in RATIOS]
    quantities: dict[str, Quantity] = {
        "variance": _hull(missed),
        "slope": Curve(tuple(points), "neurons m that are kept, of 4 m", "relative RMS change of the outputs"),
    }
    return Measurement(quantities)


EXPERIMENT = Experiment("trained networks in the scale n^(-1/2), a quarter of the units kept", _measure)
MEAN_FIELD = Experiment(
    "the mean-field scale and a row-column kernel: there the error falls",
    lambda context: _measure(context, _mean_field),
)
