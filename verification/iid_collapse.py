"""Claim `init.iid-collapse`: without row-column structure the middle neurons of a deep network are all alike.

A negative result: a deep mean-field network whose middle matrices are independent noise has no diversity to transfer.
"""

import torch
from torch import Tensor

from rctheory.dynamics import Activation, Ansatz, Network
from rctheory.measures import RCKernel, SeparableKernel, UniformLaw, coordinates, trigonometric
from rctheory.statistics.gates import Curve, Estimate, Quantity
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.problems import Regression, coefficients, regression

# At zero a shifted tanh has a value and a slope, so that a network whose middle layers read nothing still sends signals
# forward and back, and trains; with tanh itself it would rest at zero.
SHIFTED = Activation("shifted tanh", lambda h: torch.tanh(h + 0.5), lambda _h, a: 1 - a.square())
HIDDEN = 3
MIDDLE = 1  # index of the pre-activations of the second hidden layer
RESIDUAL = 2.0


def problem_with(kernel_scale: float) -> Regression:
    """Return the data of the standard problem, three hidden layers, and a mean kernel of a scale in the middle.

    Scale 0 leaves independent zero-mean entries; the residual is the same for every scale.
    """
    basis = trigonometric(order=2, frequency=2.5)
    first = SeparableKernel(basis, coefficients(5, 3, shift=0.3), coordinates(3))
    middle = SeparableKernel(basis, kernel_scale * coefficients(5, 5, shift=1.1), basis)
    last = SeparableKernel(coordinates(1), 2 * coefficients(1, 5, shift=0.7), basis)
    kernels = (RCKernel(first), *[RCKernel(middle, RESIDUAL)] * (HIDDEN - 1), RCKernel(last))
    standard = regression()
    ansatz = Ansatz(3, 1, (UniformLaw(),) * HIDDEN, kernels, SHIFTED)
    return Regression(ansatz, standard.x, standard.y, horizon=3.0, step=0.1)


def _spread(network: Network, x: Tensor) -> list[Tensor]:
    """Return the variance over neurons of what each hidden layer reads, mean over inputs: (seeds,) for each layer."""
    pre, _ = network.activations(x.to(network.weights[0]))
    return [h.var(dim=-1).mean(dim=-1).double().cpu() for h in pre[:-1]]


def _measure(context: Context, kernel_scale: float = 0.0) -> Measurement:
    """Measure the spread of the middle neurons at the start and after training, and how far they moved together."""
    problem = problem_with(kernel_scale)
    exponents, seeds = context.choose(smoke=(range(5, 11), 3), ci=(range(5, 11), 12), full=(range(5, 13), 64))
    curves: dict[str, list[Point]] = {"initial_spread": [], "trained_spread": []}
    moves: list[float] = []
    rows: dict[str, tuple[float, ...]] = {}
    for n in (2**k for k in exponents):
        context.report_progress(f"width {n}, {seeds} seeds")
        start, end, moved = [], [], []
        for network in problem.ansatz.ensembles(
            (n,) * HIDDEN, seeds, root=context.seed, dtype=torch.float32, device=context.device
        ):
            trained = problem.train(network)
            start.append(torch.stack(_spread(network, problem.x)))
            end.append(torch.stack(_spread(trained, problem.x)))
            moved.append(_common_motion(network, trained, problem.x))
        before, after = torch.cat(start, dim=1), torch.cat(end, dim=1)
        curves["initial_spread"].append(Point.rms(n, before[MIDDLE].tolist()))
        curves["trained_spread"].append(Point.rms(n, after[MIDDLE].tolist()))
        moves.append(float(torch.cat(moved).mean().sqrt()))
        rows[f"n = {n}"] = tuple(after.mean(dim=1).sqrt().tolist())
    table = Table(
        "Spread over the neurons of a layer, after training",
        tuple(rows),
        ("first layer", "middle layer", "layer beside the read-out"),
        tuple(rows.values()),
        "text",
    )
    label = "sd over neurons of the middle pre-activation"
    quantities: dict[str, Quantity] = {name: Curve(tuple(p), "width n", label) for name, p in curves.items()}
    quantities["common_motion"] = Estimate(min(moves))
    return Measurement(quantities, (table,))


def _common_motion(network: Network, trained: Network, x: Tensor) -> Tensor:
    """Return the squared change of the mean middle pre-activation through training, mean over inputs: (seeds,)."""
    before, after = (net.activations(x.to(net.weights[0]))[0][MIDDLE] for net in (network, trained))
    return (after - before).mean(dim=-1).square().mean(dim=-1).double().cpu()


EXPERIMENT = Experiment("three hidden layers, independent zero-mean middle matrices", _measure)
ROW_COLUMN = Experiment("middle matrices with a row-column kernel", lambda context: _measure(context, kernel_scale=1.0))
