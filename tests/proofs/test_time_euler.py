"""Claim `time.euler`: a nonlinear system, its flow from a solver of scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

starts = st.tuples(st.floats(-1, 1), st.floats(-1, 1))


def field(y: np.ndarray) -> np.ndarray:
    """A nonlinear velocity in the plane."""
    return np.array([np.tanh(y[1]) - 0.3 * y[0] + 0.4, np.sin(y[0]) * y[1] - 0.2])


def slope(y: np.ndarray) -> np.ndarray:
    """The derivative of the velocity, by hand."""
    return np.array([[-0.3, 1 - np.tanh(y[1]) ** 2], [np.cos(y[0]) * y[1], np.sin(y[0])]])


def flow(y: np.ndarray, time: float) -> np.ndarray:
    """Return the solution."""
    return solve_ivp(lambda _, state: field(state), (0, time), y, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]


def euler(y: np.ndarray, steps: int) -> np.ndarray:
    """Return the state at time 1."""
    for _ in range(steps):
        y = y + field(y) / steps
    return y


@given(start=starts)
@settings(max_examples=10)
def test_local_and_global_error_of_a_nonlinear_system(start: tuple[float, float]) -> None:
    """Local: -h^2/2 F'[F]. Global: halving the step halves the error."""
    y, h = np.array(start), 1e-3
    local = (y + h * field(y) - flow(y, h)) / h**2
    np.testing.assert_allclose(local, -slope(y) @ field(y) / 2, rtol=0, atol=3e-3)
    errors = [np.linalg.norm(euler(y, steps) - flow(y, 1.0)) for steps in (400, 800)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.05)
