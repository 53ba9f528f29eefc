"""Claim `chaos.pairs`: two fixed neurons of a trained network have a covariance of order 1/n.

Neurons are fixed by their latents. Let h(z) be the pre-activation of a neuron of latent z in the limit, and
r_i = h_i - h(z_i) what neuron i of a trained network of width n has besides. Given the two latents, Cov(h_i, h_j) is
E[r_i r_j] up to a product of two biases, O(n^-2). All pairs of a layer are exchangeable: one network gives the average,

    (n (mean_i r_i)^2 - mean_i r_i^2) / (n - 1),

which has the same mean as r_1 r_2 and, being nearly a square, no cancellation.
"""

import numpy as np
import torch
from torch import Tensor

from rctheory.dynamics import Network
from rctheory.dynamics.ansatz import Sampler, independent
from rctheory.measures import NeuronLaw
from rctheory.statistics.gates import Curve, Quantity
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.problems import Regression, regression

NODES = 48  # the limit is exact to 1e-6 there (claim limit.quadrature); the smallest r is 1e-2
LAYERS = {1: "first_layer", 2: "second_layer"}


def _limit_functions(problem: Regression, *, trained: bool) -> list[Tensor]:
    """Return, for each hidden layer, the Legendre coefficients of z -> h(z, x): (NODES, B)."""
    limit = problem.ansatz.limit(NODES)
    limit = problem.train(limit) if trained else limit
    pre, _ = limit.activations(problem.x)
    nodes, _ = problem.ansatz.laws[0].rule(NODES)
    return [torch.from_numpy(np.polynomial.legendre.legfit(nodes, h.T.numpy(), NODES - 1)) for h in pre[:-1]]


def pair_covariance(values: Tensor) -> Tensor:
    """Return the average of r_i r_j over pairs i != j and over inputs, for r (seeds, B, n): (seeds,)."""
    n = values.shape[-1]
    squares = n * values.mean(dim=-1).square() - values.square().mean(dim=-1)
    return squares.mean(dim=-1) / (n - 1)


def _covariances(problem: Regression, network: Network, latents: list[Tensor], limit: list[Tensor]) -> list[Tensor]:
    """Return each layer's pair covariance of pre-activations."""
    pre, _ = network.activations(problem.x.to(network.weights[0]))
    found = []
    for h, z, coefficients in zip(pre[:-1], latents, limit, strict=True):
        basis = torch.from_numpy(np.polynomial.legendre.legvander(z[..., 0].numpy(), NODES - 1))
        found.append(pair_covariance(h.cpu().double() - (basis @ coefficients).transpose(-1, -2)))
    return found


def _ensemble(
    context: Context, problem: Regression, n: int, seeds: int, limits: dict[bool, list[Tensor]], sampler: Sampler
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the pair covariances of each layer, (seeds,), before and after training."""
    before: list[list[Tensor]] = []
    after: list[list[Tensor]] = []
    first = 0
    # float32 rounds at 1e-7; the smallest covariance here is the square of 5e-3.
    for network in problem.ansatz.ensembles(
        (n, n), seeds, root=context.seed, dtype=torch.float32, device=context.device, sampler=sampler
    ):
        chunk = range(first, first + len(network.weights[0]))
        first = chunk.stop
        latents = problem.ansatz.latents((n, n), chunk, root=context.seed, sampler=sampler)
        before.append(_covariances(problem, network, latents, limits[False]))
        after.append(_covariances(problem, problem.train(network), latents, limits[True]))
    started, trained = ([torch.cat(parts) for parts in zip(*run, strict=True)] for run in (before, after))
    return started, trained


def _measure(context: Context, sampler: Sampler = independent) -> Measurement:
    """Average the covariance over pairs and seeds at doubling widths, in both hidden layers."""
    problem = regression()
    limits = {trained: _limit_functions(problem, trained=trained) for trained in (False, True)}
    widths = context.choose(smoke=range(3, 9), ci=range(4, 10), full=range(5, 13))
    points: dict[int, list[Point]] = {layer: [] for layer in LAYERS}
    rows: dict[str, tuple[float, ...]] = {}
    for n in (2**k for k in widths):
        seeds = _seeds(context, n, control=sampler is not independent)
        context.report_progress(f"width {n}, {seeds} seeds")
        before, after = _ensemble(context, problem, n, seeds, limits, sampler)
        means = []
        for layer in LAYERS:
            values = after[layer - 1]
            se = float(values.std()) / len(values) ** 0.5
            points[layer].append(Point(n, abs(float(values.mean())), se, len(values)))
            means += [n * float(before[layer - 1].mean()), n * float(values.mean())]
        rows[f"n = {n}"] = tuple(means)
    columns = tuple(f"layer {layer}, {when}" for layer in LAYERS for when in ("at the start", "trained"))
    table = Table("n times the covariance of two neurons", tuple(rows), columns, tuple(rows.values()), "text")
    quantities: dict[str, Quantity] = {
        name: Curve(tuple(points[layer]), "width n", "covariance of two fixed neurons")
        for layer, name in LAYERS.items()
    }
    return Measurement(quantities, (table,))


def _seeds(context: Context, n: int, *, control: bool) -> int:
    """Spend the same work at every width beyond the first few."""
    if control:
        return 48
    most, area = context.choose(smoke=(1024, 64), ci=(1536, 128), full=(8192, 1024))
    return max(context.choose(smoke=192, ci=288, full=512), min(most, most * area**2 // n**2))


def _shared_shift(law: NeuronLaw, n: int, stream: torch.Generator) -> Tensor:
    """Move all latents of a layer by one common random amount: neurons stay exchangeable but share a secret."""
    shift = 0.5 * torch.rand(1, law.dimension, generator=stream, dtype=torch.float64)
    return law.sample(n, stream) * 0.5 + shift


EXPERIMENT = Experiment("two hidden layers, trained: all pairs of neurons, given their latents", _measure)
SHARED_SHIFT = Experiment(
    "latents of a layer that share a random shift", lambda context: _measure(context, _shared_shift)
)
