"""Claims `closure.linear-gram` and `linear.universality`: deep linear networks and their order parameters."""

from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from rctheory.dynamics import ACTIVATIONS, Network, train
from rctheory.dynamics.influence import Influence, influence
from rctheory.dynamics.linear import LinearClosure, gram
from rctheory.measures import GaussianLaw, NeuronLaw, RademacherLaw, UniformLaw, Units
from rctheory.statistics.gates import Estimate, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.fluctuations import mean_estimate
from verification.random_networks import largest, random_data, random_masses, relative_error

INPUTS, OUTPUTS, RANK, DATA = 3, 2, 2, 5
STEP, STEPS = 0.05, 100
NODES = 8
# Laws of the same Gram matrix, the identity: independent coordinates of mean 0 and variance 1.
LAWS: dict[str, tuple[NeuronLaw, float]] = {
    "gaussian": (GaussianLaw(RANK), 1.0),
    "rademacher": (RademacherLaw(RANK), 1.0),
    "uniform": (UniformLaw(RANK), sqrt(3.0)),
}


def _coefficients(depth: int, stream: torch.Generator) -> tuple[Tensor, ...]:
    """Draw C^1..C^L for features of rank `RANK`."""
    sizes = [INPUTS, *[RANK] * (depth - 1), OUTPUTS]
    return tuple(
        torch.randn(rows, columns, generator=stream, dtype=torch.float64) / sqrt(RANK)
        for columns, rows in pairwise(sizes)
    )


def _network(closure: LinearClosure, features: list[Tensor], masses: list[Tensor]) -> Network:
    """Return the whole network, with all its n x n weights, that the order parameters stand for."""
    ones = [torch.ones(n, dtype=torch.float64) for n in (INPUTS, OUTPUTS)]
    return Network(tuple(closure.weights(features)), (ones[0], *masses, ones[1]), ACTIVATIONS["linear"])


def _gram_error(depth: int, stream: torch.Generator, *, population: bool) -> float:
    """Train a finite network and its order parameters side by side; return the largest difference of the weights."""
    widths = [7 + 3 * k for k in range(depth - 1)]
    features = [torch.randn(n, RANK, generator=stream, dtype=torch.float64) for n in widths]
    masses = [random_masses(n, stream) for n in widths]
    identity = torch.eye(RANK, dtype=torch.float64)
    grams = tuple(identity if population else gram(f, p) for f, p in zip(features, masses, strict=True))
    closure = LinearClosure(_coefficients(depth, stream), grams)
    x, y = random_data(INPUTS, OUTPUTS, DATA, stream)
    trained = train(_network(closure, features, masses), x, y, step=STEP, steps=STEPS)
    predicted = closure.train(x, y, step=STEP, steps=STEPS).weights(features)
    return largest(relative_error(p, w) for p, w in zip(predicted, trained.weights, strict=True))


def _measure_gram(context: Context, *, population: bool = False) -> Measurement:
    """Try depths 2 to 5 with random features and masses."""
    errors = [_gram_error(depth, context.generator("linear", depth), population=population) for depth in range(2, 6)]
    return Measurement({"error": Estimate(largest(errors))})


def _limit_network(closure: LinearClosure, law: NeuronLaw, scale: float, depth: int) -> Network:
    """Return the limit on the law's own quadrature nodes."""
    units = law.quadrature(NODES)
    return _network(closure, [scale * units.latents] * (depth - 1), [units.masses] * (depth - 1))


def _sampled_outputs(
    closure: LinearClosure, law: NeuronLaw, scale: float, n: int, seeds: int, data: tuple[Tensor, Tensor],
    stream: torch.Generator,
) -> Tensor:  # fmt: skip
    """Return trained outputs of `seeds` networks of width n, by their empirical Gram matrices: (seeds, M)."""
    grams = []
    for _ in closure.grams:
        latents = scale * law.sample(n * seeds, stream).reshape(seeds, n, RANK)
        grams.append(gram(latents, Units.sampled(latents).masses))
    trained = LinearClosure(closure.coefficients, tuple(grams)).train(*data, step=STEP, steps=STEPS)
    return (data[0] @ trained.product().transpose(-1, -2)).flatten(1)


def _measure_universality(
    context: Context,
    laws: dict[str, tuple[NeuronLaw, float]] = LAWS,
    predict: Callable[[str, dict[str, Influence]], Influence] = lambda name, found: found[name],
    share: int = 1,
) -> Measurement:
    """Compare the limits of three laws with the order parameters, and each law's variance with its own prediction.

    A control needs only one in `share` of the seeds.
    """
    depth, n = 3, 256
    seeds = context.choose(smoke=16_000, ci=32_000, full=400_000) // share
    stream = context.generator("universality")
    identity = torch.eye(RANK, dtype=torch.float64)
    closure = LinearClosure(_coefficients(depth, stream), (identity,) * (depth - 1))
    data = random_data(INPUTS, OUTPUTS, DATA, stream)
    expected = (data[0] @ closure.train(*data, step=STEP, steps=STEPS).product().T).flatten()

    def observe(network: Network) -> Tensor:
        return train(network, *data, step=STEP, steps=STEPS).outputs(data[0])

    found = {
        name: influence(_limit_network(closure, law, scale, depth), observe) for name, (law, scale) in laws.items()
    }
    limits = largest(relative_error(first.value, expected) for first in found.values())
    quantities: dict[str, Quantity] = {"limit": Estimate(limits)}
    rows = []
    for name, (law, scale) in laws.items():
        context.report_progress(f"{name}, {seeds} seeds")
        outputs = _sampled_outputs(closure, law, scale, n, seeds, data, context.generator("universality", name))
        predicted = float(predict(name, found).variance((n,) * (depth - 1)).sum())
        squares = (outputs - outputs.mean(dim=0)).square().sum(dim=1)
        quantities[f"{name}_variance"] = mean_estimate(squares, scale=1 / predicted)
        rows.append((n * predicted, n * float(squares.mean())))
    table = Table(
        "n times the variance, summed over the outputs", tuple(laws), ("predicted", "measured"), tuple(rows), "text"
    )
    return Measurement(quantities, (table,))


GRAM = Experiment("linear networks of depth 2 to 5 against their order parameters, 100 steps", _measure_gram)
POPULATION_GRAM = Experiment(
    "the Gram matrices of the law in place of the sample's", lambda context: _measure_gram(context, population=True)
)
UNIVERSALITY = Experiment("Gaussian, Rademacher and uniform latents of one Gram matrix", _measure_universality)
OTHER_GRAM = Experiment(
    "uniform latents that are not normalised",
    lambda context: _measure_universality(context, {**LAWS, "uniform": (UniformLaw(RANK), 1.0)}, share=8),
)
ONE_CONSTANT = Experiment(
    "the Gaussian variance predicted for every law",
    lambda context: _measure_universality(context, predict=lambda _name, found: found["gaussian"], share=8),
)
