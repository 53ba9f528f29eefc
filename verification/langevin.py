"""Claim `closure.langevin`: what the signatures leave unexplained is fresh residual, of variance 2 tau t."""

from rctheory.dynamics import Signatures, train
from rctheory.dynamics.optimizers import Langevin
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.fluctuations import mean_estimate
from verification.random_networks import random_data, random_network

WIDTHS = (3, 220, 180, 2)
DATA, STEPS, STEP, TEMPERATURE = 4, 25, 0.05, 0.2
MIDDLE = 1


def _measure(context: Context, simulated: float = TEMPERATURE) -> Measurement:
    """Take the gradient part, rebuilt from signatures, off the trained weights, and look at the rest."""
    stream = context.generator("langevin")
    network = random_network(WIDTHS, stream)
    x, y = random_data(WIDTHS[0], WIDTHS[-1], DATA, stream)
    rest = -network.weights[MIDDLE]

    def observe(_index: int, _network: object, signatures: Signatures) -> None:
        d, a = signatures.deltas[MIDDLE], signatures.activations[MIDDLE]
        rest.add_(d.T @ a, alpha=STEP / DATA)

    noise = (Langevin(simulated, context.seed),)
    trained = train(network, x, y, step=STEP, steps=STEPS, updates=noise, observer=observe)
    rest += trained.weights[MIDDLE]
    per_time = 2 * TEMPERATURE * STEP * STEPS
    # Entries are independent given the signatures' history in the limit: 39,600 of them know the variance to 0.7%.
    variance = mean_estimate(rest.square().flatten(), scale=1 / per_time)
    # A neuron reads the rest as a mean over the axis below: its square, times the width, has the same variance.
    read = (rest @ network.masses[MIDDLE]).square() / network.masses[MIDDLE].square().sum()
    share = float(read.mean() / per_time)
    remark = f"read by a neuron: {share:.3f} of 2 tau t over the width, averaged over {WIDTHS[2]} neurons"
    return Measurement({"variance": variance}, remarks=(remark,))


EXPERIMENT = Experiment("trained weights less their gradient part, tau = 0.2, t = 1.25", _measure)
HALF_NOISE = Experiment(
    "noise of variance tau t in place of 2 tau t", lambda context: _measure(context, TEMPERATURE / 2)
)
