"""Claim `width.bias`: the mean of small networks over every outcome; second derivatives by autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.spaces import Space, TwoValued
from tests.proofs.statistical_worlds import UNIT

functions = st.integers(0, 2**32 - 1)


@given(seed=functions, first=st.sampled_from((2, 3)), second=st.sampled_from((1, 2)), variance=st.floats(0.1, 1.0))
def test_mean_of_a_quadratic_network_by_enumeration(seed: int, first: int, second: int, variance: float) -> None:
    random = np.random.default_rng(seed)
    kernel, signal, readout = (torch.from_numpy(random.uniform(-1, 1, shape)) for shape in ((2, 2), (2,), (2,)))
    laws = {"z": ((first,), UNIT), "y": ((second,), UNIT), "xi": ((second, first), TwoValued(variance, 0.5))}
    space = Space.product(laws)
    z, y = ((space.variables[name] > 0).long() for name in "zy")
    weights = kernel[y[:, :, None], z[:, None, :]] + space.variables["xi"]
    outputs = (readout[y] * torch.einsum("oij,oj->oi", weights, signal[z]).div(first).square()).mean(dim=1)
    chance = torch.tensor((1 - UNIT.chance, UNIT.chance), dtype=torch.float64)
    read = kernel * signal  # by latent of the reader, of the unit
    limit = (chance * readout * (read @ chance) ** 2).sum()
    second_derivative = 2 * torch.einsum("y,y,ya,yb->ab", chance, readout, read, read)
    masses = (second_derivative.diagonal() @ chance - chance @ second_derivative @ chance) / 2
    residual = variance * (chance @ readout) * (chance @ signal**2)
    assert float(space.mean(outputs) - limit) == pytest.approx(float(masses + residual) / first, rel=1e-9, abs=1e-13)


@given(seed=functions, first=st.sampled_from((2, 3)), second=st.sampled_from((2, 3)))
def test_second_derivatives_by_autograd(seed: int, first: int, second: int) -> None:
    """In the masses, and summed over the weights, for tanh."""
    random = np.random.default_rng(seed)
    weights, signal, readout = (torch.from_numpy(random.normal(size=s)) for s in ((second, first), first, second))
    r = torch.full((second,), 1 / second, dtype=torch.float64)

    def output(p: Tensor, w: Tensor) -> Tensor:
        return (r * readout * torch.tanh(w @ (p * signal))).sum()

    p = torch.full((first,), 1 / first, dtype=torch.float64)
    (masses, _), (_, cells) = torch.autograd.functional.hessian(output, (p, weights))
    hidden = torch.tanh(weights @ (p * signal))
    bent = readout * -2 * hidden * (1 - hidden**2)
    claimed = torch.einsum("i,i,ij,ik,j,k->jk", r, bent, weights, weights, signal, signal)
    torch.testing.assert_close(masses, claimed, rtol=1e-10, atol=1e-13)
    trace = float(torch.einsum("ijij->", cells))
    assert trace == pytest.approx(float(bent.mean() * signal.square().mean()) / first, rel=1e-10, abs=1e-13)
