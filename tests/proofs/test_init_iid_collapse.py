"""Claim `init.iid-collapse`: the spread by enumeration, and a trained network of three hidden layers in the limit."""

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.layers import Map, generator, seeds


@given(below=st.integers(1, 4), layer=st.integers(2, 3), seed=seeds)
def test_spread_by_enumeration(below: int, layer: int, seed: int) -> None:
    """Every outcome of a +-s matrix: the variance over neurons has mean s^2 mean(a^2) / n, given the signals."""
    signal, deviation = generator(seed)(below), 0.7
    outcomes = itertools.product((-deviation, deviation), repeat=below * layer)
    matrices = torch.tensor(list(outcomes), dtype=torch.float64).reshape(-1, layer, below)
    spread = (matrices @ signal / below).var(1).mean().item()
    assert math.isclose(spread, deviation**2 * (signal**2).mean().item() / below, rel_tol=1e-10)


def trained(kernel: float, seed: int, activation: Map = torch.sigmoid, steps: int = 5) -> tuple[Tensor, Tensor]:
    """Train three hidden layers, the averages of the residual being zero; return what layer 2 reads, its gradient.

    The middle matrices are `kernel` times a structured part and carry no residual: it is what the limit leaves of
    independent entries. Widths 6, 5, 4, input 3, one output; mean-field rates.
    """
    draw = generator(seed)
    weights = [draw(6, 3), kernel * draw(5, 6), kernel * draw(4, 5), draw(1, 4)]
    weights = [weight.requires_grad_() for weight in weights]
    scales, masses = (1, 6, 5, 4), (6, 30, 20, 4)
    x, target = draw(7, 3), draw(7, 1)
    for _ in range(steps):
        signal, read = x, []
        for weight, scale in zip(weights, scales, strict=True):
            read.append(signal @ weight.T / scale)
            signal = activation(read[-1])
        for entry in read:
            entry.retain_grad()
        ((read[-1] - target) ** 2).mean().backward()
        with torch.no_grad():
            for weight, mass in zip(weights, masses, strict=True):
                weight -= 0.3 * mass * weight.grad
                weight.grad = None
    assert read[1].grad is not None
    return read[1].detach(), read[1].grad


def spread_over_neurons(values: Tensor) -> float:
    return (values - values[:, :1]).abs().max().item()


@given(seed=seeds)
def test_neurons_between_two_structureless_layers_stay_equal(seed: int) -> None:
    """Written with autograd; with a structured kernel the neurons differ from the first step on."""
    read, gradient = trained(0.0, seed)
    assert read.abs().max() > 1e-8  # it has begun to read
    assert gradient.abs().max() > 1e-8
    assert spread_over_neurons(read) <= 1e-10 * read.abs().max()
    assert spread_over_neurons(gradient) <= 1e-10 * gradient.abs().max()
    assert spread_over_neurons(trained(1.0, seed)[0]) > 1e-3


@given(seed=seeds)
def test_an_activation_that_vanishes_at_zero_never_starts(seed: int) -> None:
    read, gradient = trained(0.0, seed, torch.tanh)
    assert read.abs().max() == 0
    assert gradient.abs().max() == 0
