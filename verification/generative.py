"""Claim `transfer.generative`: networks whose neurons are drawn from a fitted row-column law, not copied.

The middle matrix is fitted by a mean kernel of low rank and a residual. With a the inputs of a layer, what the residual
adds to a pre-activation is an average of n independent terms, of order n^(-1/2) and independent over the neurons of the
layer, up to what training has made of it; the outputs average these in turn: its first order and its second are both
O(1/n). So the fitted law has the source's function up to O(1/n), and m neurons drawn from it have that of the law up to
C m^(-1/2), with a fresh residual or with none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

from rctheory.dynamics import Network, accuracy
from rctheory.measures import DESIGNS, RCFit, fit_rc
from rctheory.statistics.gates import Curve, Estimate, Quantity
from rctheory.statistics.rates import Point
from rctheory.suite.experiment import Context, Experiment, Measurement, Table, Tier
from rctheory.transfer.generative import Neurons
from verification.digits import ansatz, digits
from verification.tasks import run
from verification.transfers import layout_of, resample

RESIDUAL = 8.0  # of the middle matrix, standard deviation: more than half of its squares, even after training
STEPS = 200
MIDDLE = "weights.2"
Fit = Callable[[Tensor], RCFit]
Kind = tuple[bool, float]  # with a fresh residual or without one, and smoothing
MEAN, FRESH = "mean kernel", "fresh residual"
KINDS: dict[str, Kind | None] = {
    MEAN: (False, 0.0),
    FRESH: (True, 0.0),
    "smoothing 0.3": (True, 0.3),
    "smoothing 1": (True, 1.0),
    "iid copies": None,
}


@dataclass(frozen=True)
class _Plan:
    """How much a tier does.

    Args:
        ladder: widths n, and how many networks of each are fitted.
        source: width of the network from whose law others are drawn.
        draws: widths m, and how many networks of each are drawn for a rate.
        few: how many of each of the kinds that no gate looks at.
    """

    ladder: tuple[tuple[int, int], ...]
    source: int
    draws: tuple[tuple[int, int], ...]
    few: int


PLANS = {
    Tier.SMOKE: _Plan(
        ((48, 32), (64, 32), (96, 32), (128, 24), (192, 16)),
        128,
        ((96, 64), (128, 64), (192, 64), (256, 64), (384, 48)),
        8,
    ),
    Tier.CI: _Plan(
        ((48, 32), (64, 32), (96, 32), (128, 24), (192, 16), (256, 12)),
        256,
        ((96, 160), (128, 160), (192, 128), (256, 96), (384, 64), (512, 48), (768, 32)),
        8,
    ),
    Tier.FULL: _Plan(
        ((48, 64), (64, 64), (128, 64), (256, 32), (512, 16), (1024, 6)),
        512,
        ((96, 512), (128, 512), (256, 512), (512, 256), (1024, 128), (2048, 48)),
        32,
    ),
}


@cache
def trained(width: int, seeds: int, root: int, device: torch.device) -> tuple[Network, ...]:
    """Return networks of equal hidden widths that have learned digits, on the CPU; once in a process."""
    start = ansatz(residual=RESIDUAL).sample(
        (width, width), range(seeds), root=root, dtype=torch.float32, device=device
    )
    end = run(start, digits()[0], root, 0, STEPS)
    weights, masses = ([part.cpu() for part in parts] for parts in (end.weights, end.masses))
    return tuple(Network(tuple(w[k] for w in weights), tuple(masses), end.activation) for k in range(seeds))


def of_law(network: Network, fit: RCFit) -> Network:
    """Return a network with the mean kernel of a fitted law in the place of its middle matrix."""
    return network.with_tensors({**network.tensors(), MIDDLE: fit.expected().float()}, network.masses)


def drawn(network: Network, fit: RCFit, width: int, seed: int, kind: Kind, *, tied: bool = True) -> Network:
    """Return a network whose hidden neurons are drawn from a law that was fitted to the middle matrix of another.

    Untied is a planted error: the latents with which a neuron is read are drawn apart from those with which it reads.
    """
    layout = layout_of(network, tied=tied)
    widths = {name: width for name in layout.axes if name.startswith("hidden.")}
    residual, smoothing = kind
    neurons = Neurons(layout, widths, seed=seed, smoothing=smoothing, residual=residual, fit=lambda _: fit)
    tensors = {}
    for name, weights in network.tensors().items():
        # Masses 1/m do here what n/m does to the weights of a checkpoint.
        reads = layout.tensors[name].nests[1][0].name in widths
        tensors[name] = neurons.draw(name, weights) * (width / layout.axes["hidden.1"].size if reads else 1.0)
    inner = torch.full((width,), 1.0 / width)
    return network.with_tensors(tensors, (network.masses[0], inner, inner, network.masses[-1]))


def _moved(network: Network, device: torch.device) -> Network:
    weights, masses = (tuple(part.to(device) for part in parts) for parts in (network.weights, network.masses))
    return Network(weights, masses, network.activation)


def _measure(context: Context, *, tied: bool = True, fit: Fit = fit_rc) -> Measurement:
    """Fit networks of several widths; draw networks of several widths from one fit."""
    plan, device = PLANS[context.tier], context.device
    held_out = digits()[1]
    x, labels = held_out.x.to(device), held_out.labels.to(device)

    def outputs(network: Network) -> Tensor:
        return _moved(network, device).outputs(x)

    floor, shares = [], {}
    for n, seeds in plan.ladder:
        context.report_progress(f"fitting {seeds} networks of width {n}")
        networks = trained(n, seeds, context.seed, device)
        fits = [fit(network.weights[1]) for network in networks]
        off = [outputs(of_law(net, law)) - outputs(net) for net, law in zip(networks, fits, strict=True)]
        floor.append(Point.rms(n, [float(part.square().mean()) for part in off]))
        held = [law.goodness.held_out for law in fits]
        shares[n] = (sum(held) / seeds, sum(float(law.rank) for law in fits) / seeds)

    source = trained(plan.source, dict(plan.ladder).get(plan.source, 1), context.seed, device)[0]
    law = fit(source.weights[1])
    wanted, target = outputs(source), outputs(of_law(source, law))

    def draw(kind: Kind | None, m: int, seed: int) -> Network:
        if kind is None:
            return resample(source, m, DESIGNS["iid"], seed, tied=tied)
        return drawn(source, law, m, seed, kind, tied=tied)

    curves: dict[str, list[Point]] = {name: [] for name in KINDS}
    errors: dict[int, list[float]] = {m: [] for m, _ in plan.draws}
    scores: dict[int, list[float]] = {m: [] for m, _ in plan.draws}
    worst = 1.0
    for m, most in plan.draws:
        for name, kind in KINDS.items():
            draws = most if name in (MEAN, FRESH) else plan.few
            context.report_progress(f"{draws} networks of width {m}: {name}")
            made = [_moved(draw(kind, m, context.seed + k), device) for k in range(draws)]
            found = [network.outputs(x) for network in made]
            curves[name].append(Point.rms(m, [float((f - target).square().mean()) for f in found]))
            off_source = torch.stack([(f - wanted).square().mean() for f in found]).mean().sqrt()
            right = [accuracy(network, x, labels) for network in made]
            errors[m].append(float(off_source / wanted.square().mean().sqrt()))
            scores[m].append(sum(right) / draws)
            worst = min(worst, *right) if (name, m) == (FRESH, plan.draws[-1][0]) else worst
    quantities: dict[str, Quantity] = {
        "floor": Curve(tuple(floor), "width n", "RMS difference of the fitted law from its network"),
        "mean_kernel": Curve(tuple(curves[MEAN]), "width m", "RMS difference from the fitted law"),
        "fresh": Curve(tuple(curves[FRESH]), "width m", "RMS difference from the fitted law"),
        "accuracy": Estimate(worst),
    }
    return Measurement(quantities, _tables(plan, shares, errors, scores), (_remark(plan, law, source, x, labels),))


def _tables(
    plan: _Plan,
    shares: dict[int, tuple[float, float]],
    errors: dict[int, list[float]],
    scores: dict[int, list[float]],
) -> tuple[Table, ...]:
    """Return how networks that are drawn compare with copies, and how well the law describes its matrix."""
    rows = tuple(f"{plan.source} to {m}" for m in errors)

    def columns(values: dict[int, list[float]]) -> Sequence[tuple[float, ...]]:
        return tuple(tuple(row) for row in values.values())

    widths, heads = tuple(f"width {n}" for n in shares), ("predicted share of squares", "rank")
    return (
        Table(
            "Difference from the source, relative to its outputs", rows, tuple(KINDS), tuple(columns(errors)), "text"
        ),
        Table("Held-out accuracy, mean over draws", rows, tuple(KINDS), tuple(columns(scores)), "text"),
        Table(
            "The fitted law of the middle matrix, means over networks", widths, heads, tuple(shares.values()), "text"
        ),
    )


def _remark(plan: _Plan, law: RCFit, source: Network, x: Tensor, labels: Tensor) -> str:
    before, fitted = (accuracy(_moved(net, x.device), x, labels) for net in (source, of_law(source, law)))
    return (
        f"held-out accuracy of the source, width {plan.source}: {before:.4f}, of its fitted law {fitted:.4f}; the mean "
        f"kernel, of rank {law.rank}, takes {law.goodness.explained:.2f} of the squares of the middle matrix away. "
        "Smoothed latents are no longer those of a trained network: what they change does not vanish with the width."
    )


EXPERIMENT = Experiment("networks that learn digits, their neurons drawn anew from the fitted law", _measure)
UNTIED = Experiment(
    "latents of reading and writing matrices drawn apart",
    lambda context: _measure(replace(context, tier=Tier.SMOKE), tied=False),
)
RANK_ONE = Experiment(
    "a mean kernel of rank one in the name of the fitted law",
    lambda context: _measure(replace(context, tier=Tier.SMOKE), fit=partial(fit_rc, max_rank=1)),
)
