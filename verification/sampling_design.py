"""Claim `sampling.design`: even latents change the exponent of the width error, until a residual sets it."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rctheory.dynamics import TANH, Ansatz
from rctheory.dynamics.ansatz import Sampler, independent
from rctheory.measures import NeuronLaw, RCKernel, SeparableKernel, UniformLaw, coordinates, stratified
from rctheory.statistics.gates import Curve, Quantity
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement, Tier
from verification.problems import Regression, coefficients, regression

FREQUENCY = 1.2
# Gauss nodes per dimension and hidden layer: the limit is exact to 1e-8, 1e-8 and 1e-5; in 4 dimensions to 4e-4, an
# order below the smallest error that is measured there, and to 2e-5 with the 7 of the full tier.
NODES = {1: 64, 2: 14, 3: 9, 4: 5}
RESIDUAL = 2.0  # of order one, and large enough to outweigh the strata's own n^(-3/2) from width 8 on
Ladder = Sequence[tuple[int, int]]


def scrambled_sobol(law: NeuronLaw, n: int, stream: torch.Generator) -> Tensor:
    """Draw the n latents of a scrambled Sobol net (n a power of two)."""
    return law.scrambled_sobol(n, stream)


def waves(dimension: int) -> SeparableKernel:
    """Return the middle kernel on latents of a dimension: 1, cos, sin of every coordinate, coupled by a full core.

    The activation couples the coordinates: the integrands are not sums of functions of one coordinate.
    """
    size = 2 * dimension + 1
    return SeparableKernel(_features, coefficients(size, size, shift=1.1), _features)


def _features(latents: Tensor) -> Tensor:
    angles = FREQUENCY * latents
    return torch.cat([torch.ones_like(latents[..., :1]), torch.cos(angles), torch.sin(angles)], dim=-1)


def problem_in(dimension: int) -> Regression:
    """Return the data of the standard problem with latents of a dimension, without residual."""
    size, law, middle = 2 * dimension + 1, UniformLaw(dimension), waves(dimension)
    first = SeparableKernel(_features, coefficients(size, 3, shift=0.3), coordinates(3))
    last = SeparableKernel(coordinates(1), coefficients(1, size, shift=0.7), _features)
    standard = regression()
    ansatz = Ansatz(3, 1, (law, law), (RCKernel(first), RCKernel(middle), RCKernel(last)), TANH)
    return Regression(ansatz, standard.x, standard.y)


def _curve(context: Context, problem: Regression, nodes: int, sampler: Sampler, ladder: Ladder) -> Curve:
    """Return the RMS error of trained networks whose latents come from a sampler, against the limit."""
    limit = problem.outputs(problem.train(problem.ansatz.limit(nodes)))
    points = []
    for n, seeds in ladder:
        squares = []
        # float32 rounds the outputs at 1e-6; the smallest error here is 1e-4.
        for network in problem.ansatz.ensembles(
            (n, n), seeds, root=context.seed, sampler=sampler, dtype=torch.float32, device=context.device
        ):
            errors = problem.outputs(problem.train(network)).cpu() - limit
            squares.append(errors.square().mean(dim=(-1, -2)))
        points.append(Point.rms(n, torch.cat(squares).tolist()))
    return Curve(tuple(points), "width n", "RMS error of the trained output")


def _measure(context: Context, even: Sampler = stratified, net: Sampler = scrambled_sobol) -> Measurement:
    """Train networks of even latents: strata without and with a residual, Sobol nets in 2 to 4 dimensions."""
    even_seeds, net_seeds = context.choose(smoke=(192, 32), ci=(512, 64), full=(4096, 512))
    exponents = context.choose(smoke=range(3, 9), ci=range(3, 9), full=range(4, 12))
    strata, nets = (
        [(2**k, max(16, min(seeds, seeds * 128**2 // 4**k))) for k in exponents] for seeds in (even_seeds, net_seeds)
    )
    quantities: dict[str, Quantity] = {}
    for name, residual in (("stratified", 0.0), ("residual", RESIDUAL)):
        context.report_progress(f"strata, residual {residual:g}")
        quantities[name] = _curve(context, regression(residual), NODES[1], even, strata)
    for dimension in (2, 3, 4):
        context.report_progress(f"Sobol nets in {dimension} dimensions")
        nodes = NODES[dimension] + context.choose(smoke=0, ci=0, full=2)
        quantities[f"sobol_{dimension}"] = _curve(context, problem_in(dimension), nodes, net, nets)
    return Measurement(quantities)


EXPERIMENT = Experiment("trained networks on stratified latents and on scrambled Sobol nets", _measure)
INDEPENDENT = Experiment(
    "independent draws in the name of strata and nets",
    lambda context: _measure(replace(context, tier=Tier.SMOKE), independent, independent),
)
