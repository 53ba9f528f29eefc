"""Order parameters of deep linear networks against whole networks."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.dynamics import ACTIVATIONS, Network, train
from rctheory.dynamics.linear import LinearClosure, gram
from rctheory.errors import NumericsError, ShapeError
from tests.helpers import SEEDS, stream
from verification.random_networks import random_data, random_masses


@given(st.lists(st.integers(1, 4), min_size=3, max_size=6), st.lists(st.integers(1, 6), min_size=5, max_size=5), SEEDS)
def test_order_parameters_are_the_network_at_every_width(ranks: list[int], widths: list[int], seed: int) -> None:
    generator = stream(seed)
    hidden = len(ranks) - 2
    shapes = list(zip(widths[:hidden], ranks[1:-1], strict=True))
    features = [torch.randn(n, r, generator=generator).double() for n, r in shapes]
    masses = [random_masses(n, generator) for n in widths[:hidden]]
    coefficients = tuple(torch.randn(rows, columns, generator=generator).double() for columns, rows in pairwise(ranks))
    closure = LinearClosure(coefficients, tuple(gram(f, p) for f, p in zip(features, masses, strict=True)))
    ones = [torch.ones(n, dtype=torch.float64) for n in (ranks[0], ranks[-1])]
    network = Network(tuple(closure.weights(features)), (ones[0], *masses, ones[1]), ACTIVATIONS["linear"])
    x, y = random_data(ranks[0], ranks[-1], 3, generator)
    torch.testing.assert_close(x @ closure.product().T, network.outputs(x), rtol=1e-10, atol=1e-10)
    small = 1e-3 / (1 + float(network.outputs(x).abs().max()))
    trained, closed = train(network, x, y, step=small, steps=5), closure.train(x, y, step=small, steps=5)
    for weight, predicted in zip(trained.weights, closed.weights(features), strict=True):
        torch.testing.assert_close(predicted, weight, rtol=1e-10, atol=1e-11)


def test_shapes_and_divergence_are_refused() -> None:
    c = (torch.ones(2, 3).double(), torch.ones(1, 2).double())
    with pytest.raises(ShapeError, match="L >= 2 and L - 1"):
        LinearClosure(c, ())
    with pytest.raises(ShapeError, match=r"Gram matrix 1 of shape \(3, 3\)"):
        LinearClosure(c, (torch.eye(3).double(),))
    with pytest.raises(NumericsError, match=r"C\^1 after 300 steps"):
        LinearClosure(c, (torch.eye(2).double(),)).train(
            torch.ones(2, 3).double(), torch.zeros(2, 1).double(), step=100.0, steps=300
        )
