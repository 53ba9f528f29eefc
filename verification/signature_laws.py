"""Claims `signature.widths` and `signature.fashion-mnist`: trained networks of different widths share their signatures.

The signature of a neuron is what it does on fixed probe inputs, s_i = (a_i(x_k), d_i(x_k))_k: free of its label and of
its latent. A network of width n and an independent one of width 2n have signature laws at a squared distance
v (1/n + 1/(2n)) in the mean if they share a limit: the root mean square falls like n^(-1/2). W1 would feel the
dimension of the signatures; the maximum mean discrepancy and the energy distance do not.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from rctheory.dynamics import CROSS_ENTROPY, Ansatz, Network, accuracy, train
from rctheory.measures import signature_law, squared_energy, squared_mmd
from rctheory.numerics import generator
from rctheory.statistics.gates import Curve, Estimate, Quantity
from rctheory.statistics.rates import effective_width
from rctheory.suite.experiment import Context, Experiment, Measurement, Table, Tier
from verification.digits import Split, ansatz, digits
from verification.fashion import fashion, folder
from verification.variates import pooled_points

PROBES, HIDDEN = 8, 2
BATCH, STEP = 64, 2.0
BANDWIDTH = 4.0  # of the order of the distance of two signatures, (2 x 16)^(1/2), coordinates having variance one
_FEW = 4
Data = Callable[[], tuple[Split, Split]]
Plant = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trained:
    """Signatures of trained networks of one width, by hidden layer (seeds, n, 2 K), and their held-out accuracies."""

    layers: tuple[Tensor, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """How much a tier does: widths, each compared with its double; how many networks of a width; steps of training."""

    widths: tuple[int, ...]
    least: int
    most: int
    area: int
    steps: int

    def seeds(self, n: int) -> int:
        """Return how many networks of width n to train: the work of one grows like n^2, and is spread evenly."""
        return max(self.least, min(self.most, self.area**2 // n**2))


WIDTHS = (64, 96, 128, 192, 256, 384, 512, 1024)
DIGITS_PLANS = {
    Tier.SMOKE: Plan((64, 96, 128, 192, 256, 384), 6, 48, 640, 12),
    Tier.CI: Plan(WIDTHS, 4, 32, 2048, 60),
    Tier.FULL: Plan((*WIDTHS, 1536, 2048), 16, 128, 16384, 200),
}
# The laws of networks that learn clothes vary more from network to network: more of them are needed.
FASHION_PLANS = DIGITS_PLANS | {
    Tier.SMOKE: Plan((64, 96, 128, 192, 256, 384), 12, 96, 1280, 24),
    Tier.CI: Plan(WIDTHS, 8, 48, 3072, 60),
}
Plans = Mapping[Tier, Plan]


def batches(count: int, root: int, steps: int) -> Iterator[Tensor]:
    """Draw mini-batches out of `count` data; the same sequence for every width and every network."""
    stream = generator(root, "signatures", "batches")
    for _ in range(steps):
        yield torch.randint(count, (BATCH,), generator=stream)


def trained(law: Ansatz, data: Split, width: int, seeds: int, context: Context, *, steps: int) -> Iterator[Network]:
    """Yield batches of networks of equal hidden widths, trained by mini-batch SGD at mean-field rates."""
    x, y = (part.to(context.device) for part in (data.x, one_hot(data.labels)))
    for start in law.ensembles(
        (width, width), seeds, root=context.seed, dtype=torch.float32, device=context.device, budget=1 << 26
    ):
        picks = (pick.to(context.device) for pick in batches(len(x), context.seed, steps))
        yield train(start, x, y, step=STEP, steps=steps, loss=CROSS_ENTROPY, batches=picks)


def one_hot(labels: Tensor) -> Tensor:
    """Return class probabilities (B, 10) of labels (B,)."""
    return torch.nn.functional.one_hot(labels, 10).float()


@lru_cache(maxsize=64)
def _signatures(data: Data, width: int, seeds: int, steps: int, context: Context, law: int) -> Trained:
    """Train networks of one law, once in a process for the experiment and its controls."""
    training, held_out = data()
    probes = Split(held_out.x[:PROBES].to(context.device), one_hot(held_out.labels[:PROBES]).to(context.device))
    layers: list[list[Tensor]] = [[] for _ in range(HIDDEN)]
    scores = []
    rest = held_out.x[PROBES : PROBES + 1000], held_out.labels[PROBES : PROBES + 1000]
    law_of_weights = ansatz(training.x.shape[1], law=law)
    for network in trained(law_of_weights, training, width, seeds, context, steps=steps):
        signatures = network.signatures(probes.x, probes.labels, CROSS_ENTROPY)
        for layer, kept in enumerate(layers, 1):
            kept.append(signature_law(signatures.activations[layer], signatures.deltas[layer - 1]).cpu())
        x, labels = (part.to(context.device) for part in rest)
        scores += [accuracy(replace(network, weights=one), x, labels) for one in zip(*network.weights, strict=True)]
    return Trained(tuple(torch.cat(kept) for kept in layers), tuple(scores))


def _measure(context: Context, data: Data, plans: Plans, plant: Plant | None = None, laws: int = 0) -> Measurement:
    """Measure the distance of the signature laws of networks of width n and of independent ones of width 2n.

    Args:
        context: circumstances.
        data: training and held-out data.
        plans: how much each tier does.
        plant: a planted error, put into the signatures of width n and not into those of width 2n.
        laws: how far the number of the law of width n is from that of width 2n.
    """
    plan = plans[context.tier]
    # Circumstances that are keys of a cache must compare equal: they say nothing.
    bare = replace(context, report_progress=_silent)
    squares: dict[str, dict[int, list[float]]] = {
        f"{kind}_{layer}": {} for layer in (1, 2) for kind in ("mmd", "energy")
    }
    scores: dict[int, tuple[float, ...]] = {}
    for n in plan.widths:
        context.report_progress(f"{plan.seeds(n)} networks of width {n}, {plan.seeds(2 * n)} of width {2 * n}")
        # A control needs few networks of its own to be seen.
        few = min(_FEW, plan.seeds(n)) if laws else plan.seeds(n)
        narrow = _signatures(data, n, few, plan.steps, bare, laws)
        wide = _signatures(data, 2 * n, plan.seeds(2 * n), plan.steps, bare, 0)
        scores |= {n: narrow.accuracies, 2 * n: wide.accuracies}
        for layer, (x, y) in enumerate(zip(narrow.layers, wide.layers, strict=True), 1):
            for kind, values in _squares(plant(x) if plant else x, y).items():
                squares[f"{kind}_{layer}"][n] = values
    quantities: dict[str, Quantity] = {name: _curve(values) for name, values in squares.items()}
    quantities["accuracy"] = Estimate(min(sum(values) / len(values) for values in scores.values()))
    rows = {f"width {n}": (sum(values) / len(values), min(values)) for n, values in sorted(scores.items())}
    table = Table("Held-out accuracy", tuple(rows), ("mean over seeds", "worst"), tuple(rows.values()), "text")
    return Measurement(quantities, (table,), (f"{PROBES} probe inputs: signatures of dimension {2 * PROBES}.",))


def _curve(squares: dict[int, list[float]]) -> Curve:
    """Return the root mean squares of the distances of width n to 2n."""
    points = pooled_points(squares, lambda n: effective_width(n, 2 * n, nested=False))
    return Curve(points, "effective width 1 / (1/n + 1/(2n))", "RMS distance of two signature laws")


def _silent(_message: str) -> None:
    """Say nothing."""


def _squares(x: Tensor, y: Tensor) -> dict[str, list[float]]:
    """Return squared distances of networks x (seeds, n, d) to networks y: one number for each of y, independent.

    Every coordinate is given variance one first, so that activations and backward signals count alike.
    """
    scale = y.flatten(0, 1).std(dim=0)
    x, y = x / scale, y / scale
    pairs = [[(x[i], wide) for i in range(k, len(x), len(y))] for k, wide in enumerate(y[: len(x)])]
    distances: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mmd": partial(squared_mmd, bandwidth=BANDWIDTH),
        "energy": squared_energy,
    }
    return {
        kind: [sum(float(distance(*pair)) for pair in group) / len(group) for group in pairs]
        for kind, distance in distances.items()
    }


def _mispaired(signatures: Tensor) -> Tensor:
    """Give every neuron the backward signal of the next one: both marginal laws stay."""
    forward, backward = signatures.chunk(2, dim=-1)
    return torch.cat([forward, backward.roll(1, dims=-2)], dim=-1)


def _nothing() -> None:
    """Require nothing."""


def _experiments(
    title: str, data: Data, plans: Plans, requires: Callable[[], object] = _nothing
) -> tuple[Experiment, ...]:
    """Return the experiment on a data set and its two controls."""

    def of(name: str, **options: Any) -> Experiment:
        return Experiment(name, lambda context: _measure(context, data, plans, **options), requires)

    return (
        of(f"signature laws of two hidden layers trained on {title}, widths 64 to 2048"),
        of("forward signals paired with another neuron's backward signals", plant=_mispaired),
        of("networks of another law", laws=1),
    )


DIGITS, MISPAIRED, ANOTHER_LAW = _experiments("digits", digits, DIGITS_PLANS)
FASHION, FASHION_MISPAIRED, FASHION_ANOTHER_LAW = _experiments("Fashion-MNIST", fashion, FASHION_PLANS, folder)
