"""Claim `limit.quadrature`: the limit on Q Gauss-Legendre nodes converges faster than any power of Q."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rctheory.dynamics import Network
from rctheory.measures import trigonometric
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.problems import Regression, regression

REFERENCE_NODES = 96
NODES = (8, 16, 24, 32, 48, 64)
Planted = Callable[[Network], Network]


def _measure(_context: Context, problem: Regression | None = None, planted: Planted | None = None) -> Measurement:
    """Compare the trained limit on Q nodes with the one on 96 nodes, largest difference over the data."""
    problem = problem or regression()

    def solve(nodes: int) -> Tensor:
        network = problem.ansatz.limit(nodes)
        return problem.outputs(problem.train(planted(network) if planted else network))

    reference = solve(REFERENCE_NODES)
    errors = {nodes: float((solve(nodes) - reference).abs().max()) for nodes in NODES}
    table = Table(
        "Largest difference from 96 nodes", tuple(f"Q = {q}" for q in NODES), ("error",),
        tuple((error,) for error in errors.values()), kind="text",
    )  # fmt: skip
    return Measurement({"error_q32": Estimate(errors[32]), "error_q64": Estimate(errors[64])}, tables=(table,))


def _kinked(context: Context) -> Measurement:
    """Give the middle kernel a kink in its column latent: the rule falls back to an algebraic rate."""
    smooth = trigonometric(order=2, frequency=2.5)
    return _measure(context, regression(features=lambda z: smooth((z - 0.3).abs())))


def _uniform(network: Network) -> Network:
    """Give all nodes the same mass, as if they were sampled neurons."""
    masses = [p if bool((p == 1).all()) else torch.full_like(p, 1 / p.numel()) for p in network.masses]
    return replace(network, masses=tuple(masses))


EXPERIMENT = Experiment("the trained limit of the standard problem at Q = 8 to 64 nodes", _measure)
KINKED_KERNEL = Experiment("a kernel with a kink in the latent", _kinked)
UNIFORM_MASSES = Experiment("equal masses at the Gauss nodes", lambda context: _measure(context, planted=_uniform))
