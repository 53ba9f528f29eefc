"""Influence functions: against finite differences and against functionals whose expansion is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.dynamics import ACTIVATIONS, Network, train
from rctheory.dynamics.influence import bias_constant, influence, mass_derivatives
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


@given(networks(max_depth=4, max_width=4), SEEDS)
def test_derivatives_by_the_masses_are_those_of_autograd(widths: list[int], seed: int) -> None:
    generator = stream(seed)
    network = random_network(widths, generator)
    x, _ = random_data(widths[0], widths[-1], 3, generator)
    found = influence(network, lambda changed: changed.outputs(x))
    for values, function, masses in zip(mass_derivatives(network, x), found.functions, found.masses, strict=True):
        flat = values.flatten(0, 1)
        torch.testing.assert_close(flat - (flat @ masses)[:, None], function, rtol=1e-9, atol=1e-9)


def test_derivatives_of_a_batch_of_networks_are_those_of_each() -> None:
    parts = [random_network([3, 4, 5, 2], stream(seed), uniform=True) for seed in (0, 1)]
    batch = replace(parts[0], weights=tuple(torch.stack(ws) for ws in zip(*(p.weights for p in parts), strict=True)))
    x = torch.randn(6, 3, generator=stream(2), dtype=torch.float64)
    for together, *alone in zip(mass_derivatives(batch, x), *(mass_derivatives(p, x) for p in parts), strict=True):
        assert together.shape[:3] == (2, 6, 2)
        torch.testing.assert_close(together, torch.stack(alone))
