"""Claim `fluctuation.influence`: autograd in the masses of a network that is trained, against difference quotients."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

Observable = Callable[[Tensor, Tensor], Tensor]
STEPS, RATE = 3, 0.3


def trained_output(seed: int, first: int, second: int) -> Observable:
    """Return the output of a two-layer network after a few steps of training, as a function of the masses."""
    random = torch.Generator().manual_seed(seed)
    signal, weights, readout = (
        torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((first,), (second, first), (second,))
    )

    def observable(p: Tensor, r: Tensor) -> Tensor:
        w, c = weights, readout
        for _ in range(STEPS):
            hidden = w @ (p * signal)
            error = (r * c * torch.tanh(hidden)).sum() - 0.8
            below = c * (1 - torch.tanh(hidden) ** 2)
            c, w = c - RATE * error * torch.tanh(hidden), w - RATE * error * below[:, None] * signal
        return (r * c * torch.tanh(w @ (p * signal))).sum()

    return observable


def influences(observable: Observable, p: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return J less its mean in both layers."""
    worth = torch.autograd.functional.jacobian(observable, (p, r))
    return worth[0] - (p * worth[0]).sum(), worth[1] - (r * worth[1]).sum()


def masses(seed: int, size: int) -> Tensor:
    """Return random masses with total 1."""
    return torch.softmax(torch.randn(size, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64), 0)


@given(seed=st.integers(0, 2**31), first=st.sampled_from((2, 3)), second=st.sampled_from((2, 3)))
@settings(max_examples=20)
def test_influence_is_the_derivative_along_a_mixture(seed: int, first: int, second: int) -> None:
    """A fourth-order difference quotient along (1 - e) p + e delta_k, through training."""
    observable, p, r = trained_output(seed, first, second), masses(seed, first), masses(seed + 5, second)
    found = influences(observable, p, r)
    step, stencil = 1e-3, ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
    for layer, mass in enumerate((p, r)):
        for unit, point in enumerate(torch.eye(len(mass), dtype=torch.float64)):
            mixed = [
                weight * _with(observable, p, r, layer, mass + shift * step * (point - mass))
                for shift, weight in stencil
            ]
            assert float(sum(mixed)) / step == pytest.approx(float(found[layer][unit]), rel=1e-7, abs=1e-9)


def _with(observable: Observable, p: Tensor, r: Tensor, layer: int, mass: Tensor) -> float:
    return float(observable(mass, r) if layer == 0 else observable(p, mass))


@given(seed=st.integers(0, 2**31), scale=st.floats(0.5, 2.0))
@settings(max_examples=20)
def test_influence_knows_neither_the_scale_of_masses_nor_the_extension(seed: int, scale: float) -> None:
    observable, p, r = trained_output(seed, 3, 2), masses(seed, 3), masses(seed + 5, 2)
    found = influences(observable, p, r)

    def normalised(one: Tensor, two: Tensor) -> Tensor:
        return observable(one / one.sum(), two / two.sum())

    slopes = torch.autograd.functional.jacobian(normalised, (scale * p, scale * r))
    for slope, influence in zip(slopes, found, strict=True):
        torch.testing.assert_close(scale * slope, influence, rtol=1e-10, atol=1e-12)

    def extended(one: Tensor, two: Tensor) -> Tensor:
        return observable(one, two) + (one.sum() - 1) * torch.sin(one).sum() * two.square().sum()

    for other, influence in zip(influences(extended, p, r), found, strict=True):
        torch.testing.assert_close(other, influence, rtol=1e-10, atol=1e-12)
