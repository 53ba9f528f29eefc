"""Claim `transfer.duplication`: copies that share the mass of their source keep function and trajectory."""

import torch
from torch import Tensor

from rctheory.dynamics import Network, Signatures, train
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.random_networks import largest, random_data, random_network, relative_error
from verification.transfers import duplicate

INPUTS, OUTPUTS, DATA, STEPS, STEP = 3, 2, 5, 20, 0.2


def _copies(n: int, stream: torch.Generator) -> Tensor:
    """Draw multiplicities 1 to 4 and return the shuffled source indices of the copies."""
    counts = torch.randint(1, 5, (n,), generator=stream)
    indices = torch.arange(n).repeat_interleave(counts)
    return indices[torch.randperm(indices.numel(), generator=stream)]


def _trajectory(network: Network, x: Tensor, y: Tensor, rate: float = 1.0) -> list[Tensor]:
    """Return the outputs before every step and at the end."""
    outputs: list[Tensor] = []

    def observe(_index: int, _network: Network, signatures: Signatures) -> None:
        outputs.append(signatures.outputs)

    trained = train(network, x, y, step=STEP * rate, steps=STEPS, observer=observe)
    return [*outputs, trained.outputs(x)]


def _measure(context: Context, *, untied: bool = False, standard_rate: bool = False) -> Measurement:
    """Duplicate random networks of depth 2 to 4 with random masses, and train source and copy side by side."""
    function, trajectory = [], []
    for depth in (2, 3, 4):
        stream = context.generator("duplication", depth)
        network = random_network([INPUTS, *[7 + 2 * k for k in range(depth - 1)], OUTPUTS], stream)
        x, y = random_data(INPUTS, OUTPUTS, DATA, stream)
        plan = {f"hidden.{k}": _copies(network.widths[k], stream) for k in range(1, depth)}
        wrong = {"hidden.1": plan["hidden.1"].flip(0)} if untied else None
        grown = duplicate(network, plan, rows_only=wrong)
        # In the standard parametrisation with one rate for all widths, the copies of n units move n/m times as far.
        rate = network.widths[1] / grown.widths[1] if standard_rate else 1.0
        want, got = _trajectory(network, x, y), _trajectory(grown, x, y, rate)
        function.append(relative_error(got[0], want[0]))
        trajectory.append(relative_error(torch.stack(got), torch.stack(want)))
    return Measurement({"function": Estimate(largest(function)), "trajectory": Estimate(largest(trajectory))})


EXPERIMENT = Experiment("depths 2 to 4, random masses and multiplicities, 20 steps", _measure)
UNTIED_AXIS = Experiment(
    "rows of one layer copied in another order than the next layer's columns",
    lambda context: _measure(context, untied=True),
)
STANDARD_RATE = Experiment(
    "one learning rate for all widths in the standard parametrisation",
    lambda context: _measure(context, standard_rate=True),
)
