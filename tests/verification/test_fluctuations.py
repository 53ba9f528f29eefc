"""Antithetic blocks: the first order cancels, the second is minus half the bias."""

from dataclasses import replace

import torch

from rctheory.dynamics import ACTIVATIONS
from verification.fluctuations import antithetic_blocks
from verification.problems import regression


def test_blocks_cancel_what_is_linear_in_the_law() -> None:
    """One hidden layer before training: the output is a mean over neurons, and the mean of the halves is the whole."""
    problem = replace(regression(residual=0.0, hidden=1), horizon=0.0)
    assert float(antithetic_blocks(problem, 8, 20, 0).abs().max()) <= 1e-6  # float32


def test_blocks_see_the_bilinear_part() -> None:
    """Two linear hidden layers before training: the halves miss exactly the cross terms, a quarter of the coupling."""
    problem = replace(regression(residual=0.0, activation=ACTIVATIONS["linear"]), horizon=0.0)
    n, seeds = 6, 4
    got = antithetic_blocks(problem, n, seeds, 0)
    whole = problem.ansatz.sample((2 * n, 2 * n), range(seeds))
    first, middle, last = (w.double() for w in whole.weights)
    x = problem.x
    parts = [
        torch.einsum("skj,sji,sip,bp->sbk", last[:, :, a], middle[:, a, b], first[:, b], x).flatten(1) / (4 * n * n)
        for a in (slice(0, n), slice(n, 2 * n))
        for b in (slice(0, n), slice(n, 2 * n))
    ]
    # whole = sum of the four; halves = twice the diagonal parts: the difference is cross minus diagonal.
    torch.testing.assert_close(got, parts[1] + parts[2] - parts[0] - parts[3], rtol=1e-4, atol=1e-6)
