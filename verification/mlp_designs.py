"""Claim `mlp.designs`: how fast the zero-shot error of a trained network falls, by the design that picks its units.

Blind designs draw units: m^(-1/2). Designs that see what each unit is worth (influence functions on a few training
inputs) spread the kept units evenly over the law of neurons. Where neurons lie on a line the latents' part of the error
falls faster than 1/m, and what is left is of order 1/m: the residual and the second order.
"""

from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

from rctheory.dynamics import Network, accuracy
from rctheory.dynamics.influence import mass_derivatives
from rctheory.measures import (
    DESIGNS,
    FeatureDesign,
    Herding,
    Importance,
    Quantisation,
    Reweighted,
    Rule,
    TreeStrata,
    compensate,
)
from rctheory.numerics import generator
from rctheory.statistics.gates import Curve, Quantity
from rctheory.statistics.rates import Point, effective_width
from rctheory.suite.experiment import Context, Experiment, Measurement, Table, Tier
from rctheory.transfer import take
from verification.tasks import CIFAR10, DIGITS, FASHION, Law, Task, gaussian, line, trained
from verification.transfers import layout_of
from verification.variates import point_with_variate, pooled_points

SHARES = ((1, 16), (3, 32), (1, 8), (3, 16), (1, 4), (3, 8), (1, 2))
POOL, PROBES = 64, 16  # training inputs whose influences are known; how many of them a draw sees
CALIBRATION, HELD_OUT = 4096, 360  # at most; least squares want more inputs than units
STEPS = 400
WIDTHS = {Tier.SMOKE: 512, Tier.CI: 1024, Tier.FULL: 2048}
DRAWS = {Tier.SMOKE: (4, 64), Tier.CI: (6, 64), Tier.FULL: (16, 256)}  # see _draws
BLIND = {"iid": "iid", "without_replacement": "without-replacement"}
SEEING: dict[str, FeatureDesign] = {
    "importance": Importance(),
    "strata": TreeStrata(),
    "herding": Herding(bandwidth=1.0),
    "quadrature": Reweighted(Herding(bandwidth=1.0), ridge=1e-3, bandwidth=1.0),
    "quantisation": Quantisation(sweeps=20),
}
WITH_REPLACEMENT = ("iid", "importance")
COMPENSATION = "compensation"
# On 16-dimensional latents; the smoke tier, on which controls run, keeps what a gate looks at.
WIDE = ("without_replacement", "strata", "quadrature", "quantisation", COMPENSATION)
Rules = list[Rule]


@dataclass(frozen=True)
class _Source:
    """A trained network, what its units are worth on a pool of training inputs, and the inputs it is judged on.

    Args:
        network: with hidden layers of n units.
        worth: d f / d p of each hidden layer, (inputs, outputs, n).
        calibration: training inputs for the least squares.
        x, labels: held-out data.
        held_out: d f / d p of each hidden layer there, (inputs x outputs, n).
    """

    network: Network
    worth: tuple[Tensor, ...]
    calibration: Tensor
    x: Tensor
    labels: Tensor
    held_out: tuple[Tensor, ...]

    @property
    def width(self) -> int:
        """Return n."""
        return self.network.widths[1]


@cache
def _source(task: Task, law: Law, width: int, root: int, device: torch.device) -> _Source:
    """Train once in a process."""
    network = trained(task, law, width, STEPS, root, device)
    training, held_out = task.data()
    order = torch.randperm(len(training.x), generator=generator(root, "designs", "inputs"))
    pool, calibration = (training.x[order[part]].to(device) for part in (slice(POOL), slice(POOL, POOL + CALIBRATION)))
    worth = tuple(values.cpu() for values in mass_derivatives(network, pool))
    x, labels = (part[:HELD_OUT].to(device) for part in (held_out.x, held_out.labels))
    there = tuple(values.flatten(0, 1).cpu() for values in mass_derivatives(network, x))
    return _Source(network, worth, calibration, x, labels, there)


def draw_rules(source: _Source, name: str, m: int, stream: torch.Generator, *, shuffled: bool = False) -> Rules:
    """Return a rule of m units for each hidden layer; shuffled, a design sees the features of other units."""
    n = source.width
    if name not in SEEING:
        design = DESIGNS[BLIND.get(name, "without-replacement")]
        uniform = torch.full((m,), 1 / m, dtype=torch.float64)
        return [Rule(n, design.draw(n, m, stream), uniform) for _ in source.worth]
    probes = torch.randperm(POOL, generator=stream)[:PROBES]
    rules = []
    for worth in source.worth:
        features = worth[probes].flatten(0, 1).T
        if shuffled:
            features = features[torch.randperm(n, generator=stream)]
        rules.append(SEEING[name].choose(features, m, stream))
    return rules


def shrink(network: Network, rules: Rules, columns: Rules | None = None) -> Network:
    """Return the network of the units of the rules, their weights as masses.

    Args:
        network: the source.
        rules: of each hidden layer.
        columns: a planted error: other rules for what reads the units.
    """
    names = [f"hidden.{layer}" for layer in range(1, len(rules) + 1)]
    plan = {name: rule.indices for name, rule in zip(names, rules, strict=True)}
    if columns is not None:
        plan |= {f"{name}.columns": rule.indices for name, rule in zip(names, columns, strict=True)}
    tensors = take(network.tensors(), layout_of(network, tied=columns is None), plan)
    inner = (rule.weights.to(network.masses[0]) for rule in columns or rules)
    return network.with_tensors(tensors, (network.masses[0], *inner, network.masses[-1]))


def compensated(
    source: Network, small: Network, rules: Rules, x: Tensor, shuffle: torch.Generator | None = None
) -> Network:
    """Fit every matrix that reads sampled units to what the source's read, layer by layer on the compressed stream.

    Args:
        source: the network that was sampled.
        small: the sampled one.
        rules: of each hidden layer.
        x: calibration inputs.
        shuffle: a planted error: the fit sees the activations of other units.
    """
    wanted = source.activations(x)[0]
    weights = list(small.weights)
    for layer in range(1, len(weights)):
        kept = small.activations(x)[1][layer] * small.masses[layer]
        if shuffle is not None:
            kept = kept[:, torch.randperm(kept.shape[1], generator=shuffle).to(kept.device)]
        targets = wanted[layer] if layer == len(rules) else wanted[layer][:, rules[layer].indices.to(x.device)]
        weights[layer] = compensate(kept, targets, weights[layer].T).T.contiguous()
        small = replace(small, weights=tuple(weights))
    return small


@dataclass(frozen=True)
class _Runner:
    """Shrinks one source by every design; the controls plant their errors here."""

    source: _Source
    root: int
    tied: bool = True
    shuffled: bool = False

    def points(self, name: str, draws: int) -> tuple[list[Point], list[float]]:
        """Return RMS changes of the outputs at every width, and mean accuracies."""
        source, n = self.source, self.source.width
        outputs = source.network.outputs(source.x)
        points, scores, squares = [], [], {}

        def scale(m: int) -> float:
            return float(m) if name in WITH_REPLACEMENT else effective_width(m, n)

        for over, under in SHARES:
            m = n * over // under
            errors, linear, right = [], [], []
            for draw in range(draws):
                small, rules = self._shrunk(name, m, draw)
                errors.append((small.outputs(source.x) - outputs).flatten().cpu())
                right.append(accuracy(small, source.x, source.labels))
                if name in BLIND:
                    linear.append(_linear(source, rules))
            if name in BLIND:
                first = _first_order(source, name, m)
                points.append(point_with_variate(m, torch.stack(errors), torch.stack(linear), first, scale(m)))
            squares[m] = torch.stack(errors).square().mean(dim=1).tolist()
            scores.append(sum(right) / draws)
        return points or list(pooled_points(squares, scale)), scores

    def _shrunk(self, name: str, m: int, draw: int) -> tuple[Network, Rules]:
        streams = (generator(self.root, "designs", name, m, draw, part) for part in ("rows", "columns"))
        draws = [partial(draw_rules, self.source, name, m, stream, shuffled=self.shuffled) for stream in streams]
        rules = draws[0]()
        small = shrink(self.source.network, rules, None if self.tied else draws[1]())
        if name != COMPENSATION:
            return small, rules
        shuffle = generator(self.root, "designs", name, m, draw, "shuffle") if self.shuffled else None
        return compensated(self.source.network, small, rules, self.source.calibration, shuffle), rules


def _first_order(source: _Source, name: str, m: int) -> float:
    """Return the exact variance of the first-order change, mean over the held-out outputs."""
    variances = (DESIGNS[BLIND[name]].variance(worth, m).mean() for worth in source.held_out)
    return float(sum(variances))


def _linear(source: _Source, rules: Rules) -> Tensor:
    """Return the first-order change of the held-out outputs, flattened."""
    parts = zip(rules, source.held_out, strict=True)
    return torch.stack([rule.mean(worth) - worth.mean(dim=1) for rule, worth in parts]).sum(dim=0)


def _measure(context: Context, task: Task, *, tied: bool = True, shuffled: bool = False) -> Measurement:
    """Shrink networks on a line and on 16-dimensional latents, by every design."""
    n, (few, many) = WIDTHS[context.tier], DRAWS[context.tier]
    context.report_progress(f"training at width {n}")
    runner, wide = (
        _Runner(_source(task, law, n, context.seed, context.device), context.seed, tied, shuffled)
        for law in (line, gaussian)
    )
    quantities: dict[str, Quantity] = {}
    tables = []
    for title, by, names in (
        ("a line", runner, (*BLIND, *SEEING, COMPENSATION)),
        ("16 dimensions", wide, ("quantisation",) if context.tier is Tier.SMOKE else WIDE),
    ):
        errors, scores = {}, {}
        for name in names:
            context.report_progress(f"latents on {title}: {name}")
            draws = _draws(name, few, many)
            points, scores[name] = by.points(name, draws)
            errors[name] = tuple(point.error for point in points)
            abscissa = "width m" if name in WITH_REPLACEMENT else "effective width 1 / (1/m - 1/n)"
            if by is runner or name == "quantisation":
                key = name if by is runner else "quantisation_16"
                quantities[key] = Curve(tuple(points), abscissa, "RMS change of the outputs")
        tables += _tables(by.source, title, errors, scores)
    return Measurement(
        quantities, tuple(tables), (_remark(runner.source, "a line"), _remark(wide.source, "16 dimensions"))
    )


def _draws(name: str, few: int, many: int) -> int:
    """Return how often a design is drawn: those that take long seldom."""
    if name in BLIND or name == "importance":
        return many
    return 4 * few if name in ("strata", COMPENSATION) else few


def _tables(
    source: _Source, title: str, errors: dict[str, tuple[float, ...]], scores: dict[str, list[float]]
) -> list[Table]:
    widths = tuple(f"m = {source.width * over // under}" for over, under in SHARES)
    rms = Table(f"RMS change of the outputs, latents on {title}", tuple(errors), widths, tuple(errors.values()), "text")
    right = tuple(tuple(values) for values in scores.values())
    return [rms, Table(f"Held-out accuracy, latents on {title}", tuple(scores), widths, right, "text")]


def _remark(source: _Source, title: str) -> str:
    outputs = source.network.outputs(source.x)
    right = accuracy(source.network, source.x, source.labels)
    size = float(outputs.square().mean().sqrt())
    return f"latents on {title}: width {source.width}, accuracy {right:.4f}, RMS output {size:.3f}"


def _experiments(task: Task) -> tuple[Experiment, ...]:
    """Return the experiment on a task and its two controls."""

    def of(title: str, **planted: bool) -> Experiment:
        def run(context: Context) -> Measurement:
            # An error is seen with little work.
            return _measure(replace(context, tier=Tier.SMOKE) if planted else context, task, **planted)

        return Experiment(title, run, task.requires)

    return (
        of(f"networks trained on {task.title}, shrunk to 1/16 to 1/2 of their units by eight designs"),
        of("every design sees the features of other units", shuffled=True),
        of("rows of a layer picked independently of the next layer's columns", tied=False),
    )


EXPERIMENT, SHUFFLED, UNTIED = _experiments(DIGITS)
FASHION_EXPERIMENT, FASHION_SHUFFLED, FASHION_UNTIED = _experiments(FASHION)
CIFAR10_EXPERIMENT, CIFAR10_SHUFFLED, CIFAR10_UNTIED = _experiments(CIFAR10)
