"""Claim `array.calibration`: every test of arrays holds its level under every noise, or refuses.

Each test sees thousands of arrays without the structure that it looks for. A cell of the study is one test under one
noise at one level: the share of arrays that it rejects, a refusal counting as no rejection.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

import torch
from scipy import stats
from torch import Tensor

from rctheory.statistics.arrays import components, interaction, interaction_normal, mean_effects, scale_effects
from rctheory.statistics.arrays.components import double_centred
from rctheory.statistics.arrays.cycles import cycle_sum
from rctheory.statistics.arrays.residuals import lag_correlation
from rctheory.statistics.gates import Estimate, PValues
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.calibration_dissociation import dissociation_p_values
from verification.calibration_noise import INTERACTION, NOISES, PROFILE, draw

LEVELS = (0.05, 0.01)
MOST_REFUSED = 0.5  # a test that refuses more arrays than this makes no statement about the noise
FEW_REFUSED = 0.01  # above it the refusals alone may keep the size below the level: only excess is tested
BATCH = 100
SHAPE = (24, 512)


@dataclass(frozen=True)
class Calibrated:
    """A test in the study.

    Args:
        p_values: from arrays (k, m, n) and a seed to p-values (k,), NaN where refused.
        spared: the axis whose scales are what the test looks for: the scale profile leaves it alone.
        allows_interaction: the null hypothesis allows interaction.
    """

    p_values: Callable[[Tensor, int], Tensor]
    spared: str = ""
    allows_interaction: bool = False


TESTS: Mapping[str, Calibrated] = {
    "mean effects, rows": Calibrated(lambda W, _: mean_effects(W, "rows").p_value, allows_interaction=True),
    "mean effects, columns": Calibrated(lambda W, _: mean_effects(W, "columns").p_value, allows_interaction=True),
    "scale effects, rows": Calibrated(lambda W, _: scale_effects(W, "rows").p_value, "rows"),
    "scale effects, columns": Calibrated(lambda W, _: scale_effects(W, "columns").p_value, "columns"),
    "interaction": Calibrated(lambda W, seed: interaction(W, seed=seed).p_value),
    "interaction, normal null": Calibrated(lambda W, _: interaction_normal(W).p_value),
    "F test, rows": Calibrated(lambda W, _: components(W).rows.p_value),
    "F test, columns": Calibrated(lambda W, _: components(W).columns.p_value),
    "neighbouring rows": Calibrated(lambda W, _: lag_correlation(W, "rows", 1).p_value),
    "neighbouring columns": Calibrated(lambda W, _: lag_correlation(W, "columns", 1).p_value),
}
DISSOCIATION = "dissociation"


@dataclass(frozen=True)
class Cell:
    """One test under one noise at one level."""

    test: str
    noise: str
    level: float
    replicates: int
    rejections: int
    refused: float

    @property
    def rate(self) -> float:
        """Return the share of rejections; NaN where the test refuses the noise."""
        return math.nan if self.refused > MOST_REFUSED else self.rejections / self.replicates

    @property
    def errors(self) -> float:
        """Return how many binomial standard errors the rate lies above the level."""
        return (self.rate - self.level) / sqrt(self.level * (1 - self.level) / self.replicates)

    @property
    def partly_refused(self) -> bool:
        """Return whether refusals alone may keep the rate below the level."""
        return FEW_REFUSED < self.refused <= MOST_REFUSED

    @property
    def p_value(self) -> float:
        """Return the exact binomial p-value of rate = level; of rate <= level where arrays were refused."""
        side: Literal["greater", "two-sided"] = "greater" if self.partly_refused else "two-sided"
        return float(stats.binomtest(self.rejections, self.replicates, self.level, alternative=side).pvalue)

    @property
    def within(self) -> bool:
        """Return whether the rate is within three standard errors of the level, or below where arrays were refused."""
        return self.errors <= 3 and (self.partly_refused or self.errors >= -3)


def study(
    context: Context, tests: Mapping[str, Calibrated], replicates: int, shape: tuple[int, int] = SHAPE
) -> list[Cell]:
    """Run every test under every noise, on the same arrays; what is no noise to a test is left out."""
    cells = []
    for noise in NOISES:
        chosen = {name: test for name, test in tests.items() if noise != INTERACTION or test.allows_interaction}
        context.report_progress(f"{replicates} arrays of {noise}, {len(chosen)} tests")
        found: dict[str, list[Tensor]] = {name: [] for name in chosen}
        for start in range(0, replicates, BATCH):
            size = (min(BATCH, replicates - start), *shape)
            arrays: dict[str, Tensor] = {}
            for name, test in chosen.items():
                key = test.spared if noise == PROFILE else ""
                if key not in arrays:
                    arrays[key] = draw(noise, size, context.generator("calibration", noise, key, start), key)
                found[name].append(test.p_values(arrays[key], context.seed + start))
        for name, parts in found.items():
            cells += _cells(name, noise, torch.cat(parts))
    return cells


def _cells(test: str, noise: str, p: Tensor) -> list[Cell]:
    """Count the rejections of a test under a noise at each level."""
    refused = float(p.isnan().double().mean())
    return [Cell(test, noise, level, len(p), int((p <= level).sum()), refused) for level in LEVELS]


def report(cells: list[Cell]) -> Measurement:
    """Judge each cell by its exact binomial p-value, and show all of them."""
    judged = [cell for cell in cells if not math.isnan(cell.rate)]
    p_values = {f"{cell.test}, {cell.noise}, {cell.level:.0%}": cell.p_value for cell in judged}
    within = sum(cell.within for cell in judged) / len(judged) if judged else math.nan
    tables = []
    for level in LEVELS:
        at_level = [cell for cell in cells if cell.level == level]
        tables.append(_table(f"Size at {level:.0%}, in percent", at_level, lambda cell: 100 * cell.rate))
        title = f"Size at {level:.0%}: binomial standard errors above nominal"
        tables.append(_table(title, at_level, lambda cell: cell.errors))
    tables.append(_table("Refused, in percent", cells[:: len(LEVELS)], lambda cell: 100 * cell.refused))
    outside = [
        f"{cell.test} under {cell.noise} at {cell.level:.0%}: {cell.errors:+.1f}" for cell in judged if not cell.within
    ]
    low = [
        f"{cell.test} under {cell.noise}: {cell.rate:.2%} at {cell.level:.0%}, {cell.refused:.0%} refused"
        for cell in judged
        if cell.partly_refused
    ]
    remarks = (
        f"{cells[0].replicates} arrays for each noise; an empty cell: refused, or the structure that the test is for.",
        f"{sum(cell.within for cell in judged)} of {len(judged)} cells within three binomial standard errors; outside: "
        + ("; ".join(outside) or "none") + ".",
        "In part refused, so at most at its level: " + ("; ".join(low) or "none") + ".",
    )  # fmt: skip
    return Measurement({"size": PValues(p_values), "within": Estimate(within)}, tuple(tables), remarks)


def _table(title: str, cells: list[Cell], value: Callable[[Cell], float]) -> Table:
    """Lay cells out as tests x noises."""
    rows, columns = tuple(dict.fromkeys(c.test for c in cells)), tuple(dict.fromkeys(c.noise for c in cells))
    found = {(cell.test, cell.noise): value(cell) for cell in cells}
    return Table(
        title, rows, columns, tuple(tuple(found.get((row, column), math.nan) for column in columns) for row in rows)
    )


def _measure(context: Context) -> Measurement:
    """Measure the size of every test under every noise; dissociation, of many arrays at once, has arrays of its own."""
    replicates = context.choose(smoke=100, ci=2000, full=20_000)
    cells = study(context, TESTS, replicates)
    alone: list[Cell] = []
    for noise in NOISES:
        context.report_progress(f"dissociation, {replicates} times {noise}")
        for found, effect in ((cells, 1.0), (alone, 0.0)):
            found += _cells(DISSOCIATION, noise, dissociation_p_values(context, noise, replicates, effect))
    measured = report(cells)
    table = Table(
        "Dissociation of noise alone, whose variance of the mean is of order 1/n^2: size in percent",
        tuple(f"at {level:.0%}" for level in LEVELS),
        tuple(NOISES),
        tuple(tuple(100 * cell.rate for cell in alone if cell.level == level) for level in LEVELS),
    )
    lowest = min(cell.rate for cell in alone if cell.level == LEVELS[0])
    remark = (
        f"Dissociation is tested with row effects; without any it is conservative, down to {lowest:.1%} at "
        f"{LEVELS[0]:.0%}, as its table says."
    )
    return replace(measured, tables=(*measured.tables, table), remarks=(*measured.remarks, remark))


def _planted(context: Context, name: str, p_values: Callable[[Tensor, int], Tensor]) -> Measurement:
    """Measure the size of a test that does not hold its level."""
    return report(study(context, {name: Calibrated(p_values)}, context.choose(smoke=100, ci=500, full=2000)))


def _naive(W: Tensor, _seed: int) -> Tensor:
    """Take the four-cycle of the double-centred array for one of independent entries: centring shifts it."""
    m, n = W.shape[-2:]
    residuals = double_centred(W)[0]
    square = residuals.square().double().mean(dim=(-1, -2))
    z = cycle_sum(residuals)[0] / (2 * sqrt(m * (m - 1) * n * (n - 1)) * square.square())
    p_value: Tensor = torch.special.ndtr(-z)
    return p_value


def _unchecked(W: Tensor, _seed: int) -> Tensor:
    """Take F = MS_r / MS_e for an F variate whatever the variances."""
    m, n = W.shape[-2:]
    F = components(W).rows.F
    return torch.from_numpy(stats.f.sf(F.numpy(), m - 1, (m - 1) * (n - 1)))


EXPERIMENT = Experiment("tests of arrays without structure, seven noises and an interaction", _measure)
DOUBLE_CENTRED = Experiment(
    "the four-cycle of the double-centred array, with the null of independent entries",
    lambda context: _planted(context, "interaction", _naive),
)
UNCHECKED_F = Experiment(
    "the F test of rows that does not ask for equal variances",
    lambda context: _planted(context, "F test, rows", _unchecked),
)
