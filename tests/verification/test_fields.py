"""The interpolated limit: exact at its nodes, and converged between them."""

import torch

from verification.problems import regression
from verification.width_fields import MIDDLE, NODES, Limit


def test_the_limit_field_is_exact_at_its_nodes() -> None:
    problem = regression()
    start = problem.ansatz.limit(NODES)
    trained = problem.train(start)
    nodes = torch.from_numpy(problem.ansatz.laws[0].rule(NODES)[0])[None]
    limit = Limit(problem)
    h = trained.activations(problem.x)[0][MIDDLE]
    torch.testing.assert_close(limit.pre_activations(nodes)[0], h, rtol=1e-9, atol=1e-10)
    moved = trained.weights[MIDDLE] - start.weights[MIDDLE]
    torch.testing.assert_close(limit.increments(nodes, nodes)[0], moved, rtol=1e-9, atol=1e-10)


def test_the_limit_field_is_converged_between_its_nodes() -> None:
    """Against the nodes of a finer rule, where the limit is computed and not interpolated."""
    problem = regression()
    fine = problem.ansatz.limit(96)
    h = problem.train(fine).activations(problem.x)[0][MIDDLE]
    nodes = torch.from_numpy(problem.ansatz.laws[0].rule(96)[0])[None]
    assert float((Limit(problem).pre_activations(nodes)[0] - h).abs().max()) <= 1e-4  # smallest error measured: 4e-2
