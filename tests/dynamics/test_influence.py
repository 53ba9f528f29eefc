"""Influence functions: against finite differences and against functionals whose expansion is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.dynamics import ACTIVATIONS, Network, train
from rctheory.dynamics.influence import bias_constant, influence
from rctheory.errors import ShapeError
from rctheory.measures import UniformLaw
from tests.helpers import SEEDS, networks, stream
from verification.random_networks import random_data, random_network


def _mean_network(values: torch.Tensor, masses: torch.Tensor) -> Network:
    """Return a linear network whose output on x = 1 is the mean of `values` under `masses`."""
    one = torch.ones(1, dtype=torch.float64)
    return Network((values[:, None], torch.ones(1, len(values)).double()), (one, masses, one), ACTIVATIONS["linear"])


@given(networks(max_depth=3, max_width=4), SEEDS)
def test_influence_is_the_derivative_by_finite_differences(widths: list[int], seed: int) -> None:
    """Move mass towards one neuron, train again, and compare: (f((1-t) mu + t delta_q) - f(mu)) / t."""
    generator = stream(seed)
    network = random_network(widths, generator)
    x, y = random_data(widths[0], widths[-1], 2, generator)

    def observe(start: Network) -> torch.Tensor:
        return train(start, x, y, step=0.1, steps=4).outputs(x)

    first = influence(network, observe)
    t = 1e-5
    for layer in range(1, len(widths) - 1):
        q = seed % widths[layer]
        moved = []
        for sign in (1, -1):
            masses = [p.clone() for p in network.masses]
            masses[layer] *= 1 - sign * t
            masses[layer][q] += sign * t
            moved.append(observe(replace(network, masses=tuple(masses))).reshape(-1))
        difference = (moved[0] - moved[1]) / (2 * t)
        # Central differences err by t^2 and by rounding / t: 1e-10 each, times derivatives of order up to 100.
        torch.testing.assert_close(first.functions[layer - 1][:, q], difference, rtol=1e-6, atol=1e-7)


@given(st.integers(2, 8), st.integers(1, 50), SEEDS)
def test_prediction_is_the_variance_of_a_sampled_mean(nodes: int, n: int, seed: int) -> None:
    generator = stream(seed)
    values = torch.randn(nodes, generator=generator, dtype=torch.float64)
    masses = torch.rand(nodes, generator=generator, dtype=torch.float64) + 0.1
    masses /= masses.sum()
    first = influence(_mean_network(values, masses), lambda net: net.outputs(torch.ones(1, 1).double()))
    variance = (masses * values.square()).sum() - (masses * values).sum().square()
    torch.testing.assert_close(first.variance((n,)), (variance / n).reshape(1), rtol=1e-10, atol=1e-14)
    assert float((first.functions[0] @ masses).abs().max()) <= 1e-13


@given(st.integers(2, 6), SEEDS)
def test_bias_of_a_square_is_its_variance_over_n(nodes: int, seed: int) -> None:
    """E[(mean of n draws)^2] - mean^2 = variance / n, exactly: the constant of the square is the variance."""
    generator = stream(seed)
    values = torch.randn(nodes, generator=generator, dtype=torch.float64)
    masses = torch.rand(nodes, generator=generator, dtype=torch.float64) + 0.1
    masses /= masses.sum()
    network = _mean_network(values, masses)
    (constant,) = bias_constant(network, lambda net: net.outputs(torch.ones(1, 1).double()).square())
    variance = (masses * values.square()).sum() - (masses * values).sum().square()
    torch.testing.assert_close(constant, variance.reshape(1), rtol=1e-10, atol=1e-13)


def test_interpolation_is_exact_on_polynomials_and_refuses_other_nodes() -> None:
    nodes, _ = UniformLaw().rule(6)
    units = UniformLaw().quadrature(6)
    values = units.latents[:, 0] ** 5 - units.latents[:, 0]
    first = influence(_mean_network(values, units.masses), lambda net: net.outputs(torch.ones(1, 1).double()))
    latents = torch.linspace(-1, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(first.at(0, nodes, latents)[0], latents**5 - latents, rtol=1e-10, atol=1e-12)
    with pytest.raises(ShapeError, match="7 nodes for 6 values"):
        first.at(0, np.zeros(7), latents)
