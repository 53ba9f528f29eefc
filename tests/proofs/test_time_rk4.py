"""Claim `time.rk4`: Taylor coefficients of a step by autograd in the step, in two dimensions; global order."""

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from proofs.time_rk4 import trees

values = st.floats(-1, 1)


def field(y: Tensor) -> Tensor:
    """A nonlinear velocity in the plane."""
    return torch.stack((torch.tanh(y[1]) - 0.3 * y[0] + 0.4, torch.sin(y[0]) * y[1] - 0.2))


def step(y: Tensor, h: Tensor | float) -> Tensor:
    """Return one Runge-Kutta step."""
    one = field(y)
    two = field(y + h / 2 * one)
    three = field(y + h / 2 * two)
    return y + h / 6 * (one + 2 * two + 2 * three + field(y + h * three))


def along(quantity: Tensor, y: Tensor) -> Tensor:
    """Return the time derivative of a function of y along the flow."""
    rows = [torch.autograd.grad(part, y, create_graph=True)[0] for part in quantity]
    return torch.stack(rows) @ field(y)


@given(start=st.tuples(values, values))
@settings(max_examples=4)
def test_taylor_coefficients_of_a_step_by_autograd(start: tuple[float, float]) -> None:
    """Equal to those of the solution up to the fourth; the fifth differs."""
    y = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    h = torch.zeros((), dtype=torch.float64, requires_grad=True)
    method, solution = step(y, h) - y, field(y)
    for order in range(1, 6):
        method = torch.stack([torch.autograd.grad(part, h, create_graph=True)[0] for part in method])
        if order < 5:
            torch.testing.assert_close(method, solution, rtol=1e-10, atol=1e-11)
        solution = along(solution, y) if order < 4 else solution
    assert float((method - along(solution, y)).detach().abs().max()) > 1e-6


def test_global_error_falls_with_the_fourth_power() -> None:
    start = torch.tensor((0.3, -0.4), dtype=torch.float64)
    runs = {n: reduce(lambda y, _, n=n: step(y, 1 / n), range(n), start) for n in (8, 16, 512)}
    errors = [float((runs[n] - runs[512]).norm()) for n in (8, 16)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.25)


def test_the_trees_are_all_rooted_trees() -> None:
    """1, 1, 2, 4, 9, 20 rooted trees with 1 to 6 vertices (OEIS A000081)."""
    assert [len(trees(order)) for order in range(1, 7)] == [1, 1, 2, 4, 9, 20]
