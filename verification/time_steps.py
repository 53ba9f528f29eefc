"""Claims `time.euler` and `time.rk4`: orders in the time step of gradient descent and of the Runge-Kutta scheme."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from rctheory.dynamics import SQUARED, Network
from rctheory.dynamics.flow import MIDPOINT, flow
from rctheory.dynamics.training import train, velocity
from rctheory.statistics.gates import Curve
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.problems import Regression, regression

NODES = 32  # the same nodes everywhere: what is compared is time alone
RK4_REFERENCE_STEPS = 640
EULER_STEPS = (40, 80, 160, 320, 640, 1280)
RK4_STEPS = (5, 10, 20, 40, 80, 160)
Scheme = Callable[[Regression, Network, int], Network]
"""Train the limit to the horizon of its problem in so many steps."""


def _orders(steps: tuple[int, ...], scheme: Scheme, reference: Tensor) -> Measurement:
    """Return the largest error of the trained outputs at each time step."""
    problem = regression()
    points = []
    for count in steps:
        trained = scheme(problem, problem.ansatz.limit(NODES), count)
        error = float((problem.outputs(trained) - reference).abs().max())
        points.append(Point(count, error, scale=problem.horizon / count))
    return Measurement({"slope": Curve(tuple(points), "time step", "error of the trained outputs")})


@cache
def _rk4_reference() -> Tensor:
    """Return the outputs at the horizon by many steps of order 4: exact to 1e-10."""
    problem = regression()
    return problem.outputs(_runge_kutta(problem, problem.ansatz.limit(NODES), RK4_REFERENCE_STEPS))


@cache
def _scipy_reference() -> Tensor:
    """Return the outputs at the horizon by SciPy's Dormand-Prince scheme of order 8, an independent integrator."""
    problem = regression()
    start = problem.ansatz.limit(NODES)
    sizes = [w.numel() for w in start.weights]

    def network(flat: np.ndarray) -> Network:
        parts = torch.from_numpy(flat.copy()).split(sizes)
        weights = [part.reshape(w.shape) for part, w in zip(parts, start.weights, strict=True)]
        return Network(tuple(weights), start.masses, start.activation)

    def slope(_time: float, flat: np.ndarray) -> np.ndarray:
        signatures = network(flat).signatures(problem.x, problem.y, SQUARED)
        return torch.cat([v.reshape(-1) for v in velocity(signatures)]).numpy()

    flat = torch.cat([w.reshape(-1) for w in start.weights]).numpy()
    done = solve_ivp(slope, (0, problem.horizon), flat, method="DOP853", rtol=1e-12, atol=1e-13)
    return problem.outputs(network(done.y[:, -1]))


def _descent(problem: Regression, network: Network, steps: int) -> Network:
    return train(network, problem.x, problem.y, step=problem.horizon / steps, steps=steps)


def _runge_kutta(problem: Regression, network: Network, steps: int) -> Network:
    return flow(network, problem.x, problem.y, horizon=problem.horizon, steps=steps)


def _midpoint(problem: Regression, network: Network, steps: int) -> Network:
    return flow(network, problem.x, problem.y, horizon=problem.horizon, steps=steps, tableau=MIDPOINT)


def _equal_stages(problem: Regression, network: Network, steps: int) -> Network:
    tableau = ((0.0, 1 / 2, 1 / 2, 1.0), (1 / 4,) * 4)
    return flow(network, problem.x, problem.y, horizon=problem.horizon, steps=steps, tableau=tableau)


def _longer_step(problem: Regression, network: Network, steps: int) -> Network:
    """Descend with a step larger by a tenth: the point of the flow at another time."""
    return train(network, problem.x, problem.y, step=1.1 * problem.horizon / steps, steps=steps)


def _euler(context: Context, scheme: Scheme = _descent) -> Measurement:
    return _orders(EULER_STEPS[: context.choose(smoke=5, ci=6, full=6)], scheme, _rk4_reference())


def _rk4(_context: Context, scheme: Scheme = _runge_kutta) -> Measurement:
    return _orders(RK4_STEPS, scheme, _scipy_reference())


EULER = Experiment("gradient descent on the limit against a fine flow of order 4, 40 to 1280 steps", _euler)
EULER_MIDPOINT = Experiment("the velocity taken at half a step: order two", lambda context: _euler(context, _midpoint))
EULER_TIME = Experiment("a step larger by a tenth: another time", lambda context: _euler(context, _longer_step))
RK4 = Experiment("Runge-Kutta on the limit against SciPy's integrator of order 8, 5 to 160 steps", _rk4)
RK4_EQUAL_STAGES = Experiment(
    "the four stages weighted equally: order two", lambda context: _rk4(context, _equal_stages)
)
