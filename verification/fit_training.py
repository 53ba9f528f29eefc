"""Claim `fit.training`: a row-column law fits the middle matrix of a network the better, the longer it has trained.

Training adds outer products of signatures to the mean kernel and leaves the residual as it was. At the start of an
iid-initialised network there is nothing but residual, and no interaction of rows and columns to be seen.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from scipy import stats
from torch import Tensor

from rctheory.dynamics import CROSS_ENTROPY, Network, Signatures, train
from rctheory.measures import RCFit, fit_rc
from rctheory.numerics import generator
from rctheory.statistics.arrays import interaction
from rctheory.statistics.gates import Estimate, PValues, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.digits import ansatz, digits
from verification.signature_laws import batches, one_hot

STEP = 1.0
GAIN, RESIDUAL = 0.5, 1.0  # of the middle matrix at the start: mean kernel and residual, standard deviations
MIDDLE = 1
Plant = Callable[[Tensor], Tensor]


def _plan(context: Context) -> tuple[int, int, tuple[int, ...]]:
    """Return width, number of networks, and the steps after which their middle matrices are fitted."""
    return context.choose(
        smoke=(96, 3, (0, 10, 30)),
        ci=(192, 8, (0, 10, 25, 50, 100, 200)),
        full=(512, 16, (0, 25, 50, 100, 200, 400, 800)),
    )


@lru_cache(maxsize=4)
def _middle(context: Context, gain: float) -> dict[int, Tensor]:
    """Train networks and return their middle matrices (seeds, n, n) after some steps, once in a process."""
    width, seeds, steps = _plan(context)
    data, _ = digits()
    start = ansatz(gain=gain, residual=RESIDUAL).sample(
        (width, width), range(seeds), root=context.seed, dtype=torch.float32, device=context.device
    )
    kept: dict[int, Tensor] = {}

    def observe(index: int, network: Network, _signatures: Signatures) -> None:
        if index in steps:
            kept[index] = network.weights[MIDDLE].double().cpu()

    x, y = data.x.to(context.device), one_hot(data.labels).to(context.device)
    picks = (pick.to(context.device) for pick in batches(len(x), context.seed, steps[-1]))
    end = train(start, x, y, step=STEP, steps=steps[-1], loss=CROSS_ENTROPY, batches=picks, observer=observe)
    return kept | {steps[-1]: end.weights[MIDDLE].double().cpu()}


def _measure(context: Context, plant: Plant | None = None, start_gain: float = 0.0) -> Measurement:
    """Fit the middle matrices of row-column networks over training, and test those of iid-initialised ones.

    Args:
        context: circumstances.
        plant: a planted error, put into every matrix that has trained.
        start_gain: the mean kernel that an iid-initialised network has: a planted error unless it is 0.
    """
    bare = Context(context.seed, context.tier, context.device)
    context.report_progress("training row-column networks, and iid-initialised ones")
    grown, free = _middle(bare, GAIN), _middle(bare, start_gain)
    if plant:
        grown = {step: plant(W) if step else W for step, W in grown.items()}
    fits = {}
    for step, W in grown.items():
        context.report_progress(f"fitting {len(W)} matrices after {step} steps")
        fits[step] = [fit_rc(matrix, seed=context.seed) for matrix in W]
    first, last = min(grown), max(grown)
    effects = {step: interaction(W, seed=context.seed).effect for step, W in grown.items()}
    starting, ended = (interaction(free[step], seed=context.seed).p_value for step in (first, last))
    quantities: dict[str, Quantity] = {
        "growth": _mean(
            [after - before for before, after in zip(*(_held_out(fits[s]) for s in (first, last)), strict=True)]
        ),
        "effect_growth": _mean((effects[last] - effects[first]).tolist()),
        "residual": _mean([_residual(fit) / RESIDUAL for fit in fits[last]]),
        "iid_start": PValues({f"seed {seed}": float(p) for seed, p in enumerate(starting)}),
        "iid_end": PValues({f"seed {seed}": float(p) for seed, p in enumerate(ended)}),
    }
    return Measurement(quantities, (_table(fits, effects, free, context.seed),))


def _held_out(fits: list[RCFit]) -> list[float]:
    return [fit.goodness.held_out for fit in fits]


def _residual(fit: RCFit) -> float:
    """Return the standard deviation of the fitted residual, root mean square over the units."""
    s, t = (units.latents[:, -1].exp().square().mean() for units in (fit.rows, fit.columns))
    return math.sqrt(float(s * t))


def _mean(values: list[float]) -> Estimate:
    """Return the mean over seeds with its Student-t interval."""
    sample = torch.tensor(values, dtype=torch.float64)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(sample.std()) / math.sqrt(len(values))
    mean = float(sample.mean())
    return Estimate(mean, (mean - half, mean + half))


def _table(fits: dict[int, list[RCFit]], effects: dict[int, Tensor], free: dict[int, Tensor], seed: int) -> Table:
    """Return the course of the fit over training, means over seeds."""
    titles = ("rank", "explained", "held out", "interaction", "residual", "excess kurtosis", "interaction, iid start")
    rows = []
    for step in sorted(fits):
        columns = [
            [float(fit.rank) for fit in fits[step]],
            [fit.goodness.explained for fit in fits[step]],
            _held_out(fits[step]),
            effects[step].tolist(),
            [_residual(fit) for fit in fits[step]],
            [fit.goodness.excess_kurtosis for fit in fits[step]],
            interaction(free[step], seed=seed).effect.tolist(),
        ]
        rows.append(tuple(sum(column) / len(column) for column in columns))
    names = tuple(f"step {step}" for step in sorted(fits))
    return Table("The middle matrix over training, means over seeds", names, titles, tuple(rows), "text")


def _shuffled(W: Tensor) -> Tensor:
    """Shuffle all entries of each matrix: the law of entries stays, rows and columns are gone."""
    order = torch.randperm(W[0].numel(), generator=generator(0, "shuffled entries"))
    return W.flatten(start_dim=1)[:, order].reshape(W.shape)


EXPERIMENT = Experiment("fits of the middle matrix of networks that learn digits, over training", _measure)
SHUFFLED = Experiment("the entries of the trained matrices shuffled", lambda context: _measure(context, _shuffled))
NOT_IID = Experiment(
    "a row-column kernel in the network called iid-initialised", lambda context: _measure(context, start_gain=GAIN)
)
