"""Claim `wellposed.picard`: the limit exists and is the only one, by Picard's iterates and by four discretisations."""

from itertools import combinations, islice, pairwise

import numpy as np
import torch
from torch import Tensor

from rctheory.dynamics import factored
from rctheory.dynamics.ansatz import Rule, gauss_nodes, sobol_nodes
from rctheory.dynamics.flow import flow
from rctheory.dynamics.picard import picard
from rctheory.measures import NeuronLaw, Units
from rctheory.statistics.gates import Curve, Estimate
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.problems import Regression, regression
from verification.random_networks import largest

NODES, HORIZON = 24, 4.0
FIRST, LAST = 6, 16  # eleven ratios; earlier iterates have not spread over the whole path, later ones meet rounding
FLOW_STEPS = 320


def _fejer(law: NeuronLaw, nodes: int, _stream: torch.Generator) -> Units:
    """Return Fejer's rule, at Chebyshev points of [-1, 1]."""
    angles = (np.arange(nodes) + 0.5) * np.pi / nodes
    orders = np.arange(1, nodes // 2 + 1)
    masses = (1 - 2 * (np.cos(2 * np.outer(angles, orders)) / (4 * orders**2 - 1)).sum(axis=1)) / nodes
    return Units(torch.from_numpy(np.cos(angles))[:, None], torch.from_numpy(masses))


def _other_coordinates(law: NeuronLaw, nodes: int, _stream: torch.Generator) -> Units:
    """Return z = sin(pi v / 2) at Gauss nodes in v, whose density is pi/4 cos(pi v / 2)."""
    points, weights = law.rule(nodes)
    masses = weights * np.cos(np.pi * points / 2) * np.pi / 2
    return Units(torch.from_numpy(np.sin(np.pi * points / 2))[:, None], torch.from_numpy(masses / masses.sum()))


def _equal_masses(law: NeuronLaw, nodes: int, stream: torch.Generator) -> Units:
    """Plant another law: Gauss nodes as if they were sampled neurons."""
    return Units.sampled(gauss_nodes(law, nodes, stream).latents)


def _successive_differences(problem: Regression, relaxation: float) -> tuple[list[float], float]:
    """Return the distances of successive iterates, and that of the last iterate's outputs from the flow's."""
    start = problem.ansatz.limit(NODES)
    iterates = picard(start, problem.x, problem.y, horizon=HORIZON, points=40, relaxation=relaxation)
    paths = list(islice(iterates, LAST + 12))
    distances = [a.distance(b) for a, b in pairwise(paths)]
    exact = flow(start, problem.x, problem.y, horizon=HORIZON, steps=FLOW_STEPS)
    gap = float((problem.outputs(paths[-1].end()) - problem.outputs(exact)).abs().max())
    return distances, gap


def _agreement(context: Context, problem: Regression, first: Rule) -> tuple[float, Table]:
    """Train the limit on four independent sets of nodes; return the largest difference of outputs, and all of them."""
    control = first is not gauss_nodes
    sobol = 1 << 14 if control else context.choose(smoke=1 << 15, ci=1 << 16, full=1 << 20)
    rules: dict[str, tuple[Rule, int]] = {
        "Gauss-Legendre": (first, 128),
        "Chebyshev points": (_fejer, 192),
        "other latent coordinates": (_other_coordinates, 192),
        "scrambled Sobol": (sobol_nodes, sobol),
    }
    outputs: dict[str, Tensor] = {}
    for name, (rule, nodes) in rules.items():
        context.report_progress(f"{name}, {nodes} nodes")
        start = factored.limit(problem.ansatz, nodes, rule=rule, root=context.seed, device=context.device)
        x, y = problem.x.to(context.device), problem.y.to(context.device)
        trained = factored.train(start, x, y, step=problem.step, steps=round(problem.horizon / problem.step))
        outputs[name] = trained.outputs(x).cpu()
    gaps = {(a, b): float((outputs[a] - outputs[b]).abs().max()) for a, b in combinations(rules, 2)}
    rows = tuple(f"{a} / {b}" for a, b in gaps)
    table = Table("Difference of the trained limits", rows, ("difference",), tuple((g,) for g in gaps.values()), "text")
    return largest(gaps.values()), table


def _measure(context: Context, *, relaxation: float = 1.0, first: Rule = gauss_nodes) -> Measurement:
    """Iterate on path space, then compare discretisations of the laws."""
    problem = regression(residual=0.0)
    context.report_progress("iterating on path space")
    distances, gap = _successive_differences(problem, relaxation)
    ratios = {k: distances[k] / distances[k - 1] for k in range(FIRST, LAST + 1)}
    growth = largest(b / a for a, b in pairwise(ratios.values()))
    disagreement, table = _agreement(context, problem, first)
    points = tuple(Point(k, ratio) for k, ratio in ratios.items())
    return Measurement(
        {
            "ratio": Curve(points, "iterate k", "ratio of successive differences"),
            "growth": Estimate(growth),
            "fixed_point": Estimate(gap),
            "agreement": Estimate(disagreement),
        },
        (table,),
        (f"difference of iterates 1 and 2: {distances[0]:.2g}; of {LAST} and {LAST + 1}: {distances[LAST]:.2g}",),
    )


EXPERIMENT = Experiment("paths on [0, 4], 24 nodes a layer; four discretisations of the trained limit", _measure)
UNDER_RELAXED = Experiment(
    "iterates that go half the way: a geometric rate", lambda context: _measure(context, relaxation=0.5)
)
EQUAL_MASSES = Experiment(
    "equal masses at the Gauss nodes: another law", lambda context: _measure(context, first=_equal_masses)
)
