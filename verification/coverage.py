"""Claim `array.coverage`: 95% intervals of row-column arrays hold the truth in 93 to 97 of 100 arrays.

Arrays W_ij = F(r_i, c_j) + s e_ij with normal latents and residuals, of known mean and known share of variance of the
rows. Intervals from quadruplets for both; from the pigeonhole bootstrap for the mean. What comes out is the coverage
farthest from 95% over all laws, shapes and statistics.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from rctheory.numerics import generator
from rctheory.statistics.arrays import Interval, pigeonhole_interval, quadruplet_interval, quadruplet_variance
from rctheory.statistics.arrays.bootstrap import GRAND_MEAN as MEAN
from rctheory.statistics.arrays.bootstrap import multinomial_masses
from rctheory.statistics.arrays.quadruplet_kernels import GRAND_MEAN, ROW_SHARE
from rctheory.statistics.gates import Estimate, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table

NOMINAL = 0.95
BATCH = 500
DRAWS = 399
NODES = 64


@dataclass(frozen=True)
class Law:
    """W_ij = F(r_i, c_j) + s e_ij, everything standard normal."""

    kernel: Callable[[Tensor, Tensor], Tensor]
    residual: float

    def draw(self, batch: int, m: int, n: int, stream: torch.Generator) -> Tensor:
        """Draw arrays (batch, m, n)."""
        r, c, e = (torch.randn(batch, *shape, generator=stream) for shape in ((m, 1), (1, n), (m, n)))
        return self.kernel(r, c) + self.residual * e

    def truths(self) -> dict[str, float]:
        """Return mean and share of the variance of rows, by Gauss-Hermite quadrature over the latents."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        x, p = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
        values = self.kernel(x[:, None], x[None, :])
        rows = values @ p
        mean = float(rows @ p)
        variance = float(p @ (values - mean).square() @ p) + self.residual**2
        return {"mean": mean, "row share": float((rows - mean).square() @ p) / variance}


LAWS = {
    "additive": Law(lambda r, c: 1 + 0.8 * r + 0.8 * c, 1.0),
    "multiplicative": Law(lambda r, c: (1 + r / 2) * (1 + c / 2), 0.7),
    "nonlinear in the latents": Law(lambda r, c: torch.tanh(r + c + 0.5), 0.5),
}
PRODUCT = {"product of centred factors": Law(lambda r, c: r * c, 0.0)}

Method = Callable[[Tensor, int], Interval]


def _uncorrected(W: Tensor, seed: int) -> Interval:
    """Return the percentile interval of the pigeonhole bootstrap as it is, with no array refused."""
    m, n = W.shape[-2:]
    p, q = (multinomial_masses(size, DRAWS, generator(seed, "uncorrected", side)) for side, size in enumerate((m, n)))
    drawn = MEAN(W, p, q).double().sort(dim=1).values
    place = round((1 - NOMINAL) / 2 * (DRAWS + 1))
    return Interval(W.mean(dim=(1, 2)).double(), drawn[:, place - 1], drawn[:, -place], drawn.std(dim=1))


def _independent(W: Tensor, _seed: int) -> Interval:
    """Return the interval that takes all entries for independent: mean +- 1.96 s / sqrt(mn)."""
    mean, sd = W.double().mean(dim=(1, 2)), W.double().std(dim=(1, 2)) / math.sqrt(W[0].numel())
    return _normal(mean, sd)


def _forced(W: Tensor, _seed: int) -> Interval:
    """Return the interval of the quadruplets with no array refused."""
    parts = quadruplet_variance(W, GRAND_MEAN)
    return _normal(parts.estimate, parts.variance.clamp(min=0).sqrt())


def _normal(mean: Tensor, sd: Tensor) -> Interval:
    reach = float(special.ndtri((1 + NOMINAL) / 2)) * sd
    return Interval(mean, mean - reach, mean + reach, sd)


QUADRUPLETS = ("quadruplets", "mean")
PIGEONHOLE = ("pigeonhole", "mean")
METHODS: Mapping[tuple[str, str], Method] = {
    QUADRUPLETS: lambda W, _: quadruplet_interval(W, GRAND_MEAN, NOMINAL),
    PIGEONHOLE: lambda W, seed: pigeonhole_interval(W, draws=DRAWS, level=NOMINAL, seed=seed),
}
SHARES: Mapping[tuple[str, str], Method] = {
    ("quadruplets", "row share"): lambda W, _: quadruplet_interval(W, ROW_SHARE, NOMINAL)
}
UNCORRECTED = ("pigeonhole, uncorrected", "mean")


def share(hits: int, of: int) -> Estimate:
    """Return a share with its exact 95% interval; nothing to count is no share."""
    if not of:
        return Estimate(math.nan)
    interval = stats.binomtest(hits, of).proportion_ci()
    return Estimate(hits / of, (float(interval.low), float(interval.high)))


def batches(context: Context, law: Law, name: str, shape: tuple[int, int], arrays: int) -> Sequence[tuple[Tensor, int]]:
    """Return arrays of a law in batches, with the seed of each for a bootstrap: draws are shared in a batch only."""
    m, n = shape
    return [
        (law.draw(min(BATCH, arrays - first), m, n, context.generator("coverage", name, m, n, first)), first)
        for first in range(0, arrays, BATCH)
    ]


def _coverage(
    context: Context, laws: Mapping[str, Law], methods: Mapping[tuple[str, str], Method], arrays: int
) -> dict[str, dict[tuple[str, str], Estimate]]:
    """Return, for each law and shape, the coverage of each method; refused arrays do not count."""
    found: dict[str, dict[tuple[str, str], Estimate]] = {}
    for name, law in laws.items():
        truths = law.truths()
        for shape in context.choose(smoke=((48, 48),), ci=((64, 64), (48, 96)), full=((64, 64), (48, 96), (96, 384))):
            context.report_progress(f"{name}, {shape[0]} x {shape[1]}, {arrays} arrays")
            counts = dict.fromkeys(methods, (0, 0))
            for W, seed in batches(context, law, name, shape, arrays):
                for method, interval in methods.items():
                    found_here = interval(W, seed + context.seed)
                    given, truth = ~found_here.low.isnan(), truths[method[1]]
                    inside = given & (found_here.low <= truth) & (truth <= found_here.high)
                    hits, of = counts[method]
                    counts[method] = hits + int(inside.sum()), of + int(given.sum())
            found[f"{name}, {shape[0]} x {shape[1]}"] = {method: share(*counts[method]) for method in methods}
    return found


def _farthest(estimates: Sequence[Estimate]) -> Estimate:
    """Return the coverage farthest from the nominal one; one that is not a number is farther than all."""
    return max(estimates, key=lambda e: math.inf if math.isnan(e.value) else abs(e.value - NOMINAL))


def _measure(
    context: Context,
    laws: Mapping[str, Law] = LAWS,
    methods: Mapping[tuple[str, str], Method] | None = None,
    arrays: int | None = None,
) -> Measurement:
    """Count how often each interval holds the truth."""
    smoke = context.choose(smoke=True, ci=False, full=False)
    laws = {"additive": laws["additive"]} if smoke and "additive" in laws else laws
    if methods is None:
        methods = dict(METHODS) if smoke else {**METHODS, **SHARES, UNCORRECTED: _uncorrected}
    arrays = arrays or context.choose(smoke=2000, ci=4000, full=20_000)
    found = _coverage(context, laws, methods, arrays)
    quantities: dict[str, Quantity] = {
        kind: _farthest([row[method] for row in found.values() for method in row if method[0] == kind])
        for kind in ("quadruplets", "pigeonhole")
    }
    values = tuple(tuple(estimate.value for estimate in row.values()) for row in found.values())
    columns = tuple(f"{kind}: {what}" for kind, what in methods)
    table = Table(f"Coverage of {NOMINAL:.0%} intervals, {arrays} arrays each", tuple(found), columns, values, "text")
    return Measurement(quantities, (table,))


EXPERIMENT = Experiment("intervals of three laws of arrays, square and not", _measure)
INDEPENDENT = Experiment(
    "the standard error of independent entries, s / sqrt(mn)",
    lambda context: _measure(context, methods=dict.fromkeys(METHODS, _independent), arrays=1000),
)
FORCED = Experiment(
    "intervals forced on r_i c_j with centred factors, where they are to be refused",
    lambda context: _measure(context, PRODUCT, {QUADRUPLETS: _forced, PIGEONHOLE: _uncorrected}, 1000),
)
