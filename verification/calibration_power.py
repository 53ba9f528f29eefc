"""Claim `array.power`: the calibrated tests of arrays see what they are for, as well as theory says.

A signal of strength z moves the expectation of a statistic by z of its standard deviations under Gaussian noise. The
amplitudes follow from the expectations: s_r^2 for row effects, sigma^2 of the log scales, a^4 for a spike a u v^T.
Latents are normal, scaled to a mean square of 1.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import pi, sqrt

import torch
from scipy import stats
from torch import Tensor

from rctheory.statistics.arrays import components, interaction, interaction_normal, mean_effects, scale_effects
from rctheory.statistics.gates import Estimate, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.calibration_noise import draw

M, N = 64, 128
STRENGTHS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
Strengths = tuple[float, ...]
LEVEL = 0.05
BATCH = 100
LOG_VARIANCE = pi**2 / 8  # of log |x|, x standard normal
NOISES = ("Gaussian", "t3")


@dataclass(frozen=True)
class Signal:
    """A structure of growing strength.

    Args:
        plant: from noise (k, m, n), strength and a stream to arrays that carry the structure.
        tests: by label, p-values of a test that should see it.
    """

    plant: Callable[[Tensor, float, torch.Generator], Tensor]
    tests: Mapping[str, Callable[[Tensor, int], Tensor]]


def _latents(count: int, units: int, stream: torch.Generator) -> Tensor:
    """Draw normal latents (count, units) of mean square 1."""
    latents = torch.randn(count, units, generator=stream)
    size: Tensor = torch.linalg.vector_norm(latents, dim=-1, keepdim=True)
    return latents * sqrt(units) / size


def _row_effects(noise: Tensor, z: float, stream: torch.Generator) -> Tensor:
    """Add r_i with z = s_r^2 n sqrt((m - 1) / 2)."""
    return noise + sqrt(z / (N * sqrt((M - 1) / 2))) * _latents(len(noise), M, stream).unsqueeze(-1)


def _row_scales(noise: Tensor, z: float, stream: torch.Generator) -> Tensor:
    """Multiply by exp(sigma g_i) with z = sigma^2 n sqrt((m - 1) / 2) over the variance of log |noise|."""
    sigma = sqrt(z * LOG_VARIANCE / (N * sqrt((M - 1) / 2)))
    scales = torch.exp(sigma * _latents(len(noise), M, stream))
    return noise * scales.unsqueeze(-1)


def _spike(noise: Tensor, z: float, stream: torch.Generator) -> Tensor:
    """Add a u_i v_j with z = a^4 sqrt(m (m-1) n (n-1)) / 2: the four-cycle over all entries moves by z."""
    a = (2 * z / sqrt(M * (M - 1) * N * (N - 1))) ** 0.25
    u, v = _latents(len(noise), M, stream), _latents(len(noise), N, stream)
    return torch.baddbmm(noise, u.unsqueeze(-1), v.unsqueeze(-2), alpha=a)


SIGNALS = {
    "row effects": Signal(
        _row_effects,
        {
            "mean effects": lambda W, _: mean_effects(W, "rows").p_value,
            "F test": lambda W, _: components(W).rows.p_value,
        },
    ),
    "row scales": Signal(_row_scales, {"scale effects": lambda W, _: scale_effects(W, "rows").p_value}),
    "spike": Signal(
        _spike,
        {
            "interaction": lambda W, seed: interaction(W, seed=seed).p_value,
            "interaction, normal null": lambda W, _: interaction_normal(W).p_value,
        },
    ),
}
GATED = 8.0
GATES = {
    "row_effects": ("row effects", "mean effects"),
    "row_scales": ("row scales", "scale effects"),
    "spike": ("spike", "interaction"),
    "spike_normal": ("spike", "interaction, normal null"),
}


@dataclass(frozen=True)
class Power:
    """Rejections of one test at one strength."""

    rejections: int
    refusals: int
    replicates: int

    @property
    def rate(self) -> float:
        """Return the share of rejections; NaN where nearly all arrays were refused."""
        return math.nan if self.refusals > 0.9 * self.replicates else self.rejections / self.replicates

    def estimate(self) -> Estimate:
        """Return the rate with its exact 95% interval."""
        interval = stats.binomtest(self.rejections, self.replicates).proportion_ci()
        return Estimate(self.rate, (float(interval.low), float(interval.high)))


def _shuffled(arrays: Tensor, stream: torch.Generator) -> Tensor:
    """Permute the entries of every array, all in one way: the same entries, without rows and columns."""
    order = torch.randperm(M * N, generator=stream)
    return torch.flatten(arrays, -2).index_select(-1, order).view_as(arrays)


def _curve(
    context: Context, signal: str, noise: str, replicates: int, strengths: Strengths, shuffle: bool
) -> dict[tuple[str, float], Power]:
    """Count rejections of every test of a signal; every strength has the same noise and latents."""
    found: dict[tuple[str, float], list[Tensor]] = {}
    for start in range(0, replicates, BATCH):
        size = (min(BATCH, replicates - start), M, N)
        still = draw(noise, size, context.generator("power", signal, noise, start))
        for z in strengths:
            arrays = SIGNALS[signal].plant(still, z, context.generator("power", "signal", signal, noise, start))
            if shuffle:
                arrays = _shuffled(arrays, context.generator("power", "shuffle", signal, noise, start))
            for label, test in SIGNALS[signal].tests.items():
                found.setdefault((label, z), []).append(test(arrays, context.seed + start))
    counts = {}
    for key, parts in found.items():
        p = torch.cat(parts)
        counts[key] = Power(int((p <= LEVEL).sum()), int(p.isnan().sum()), len(p))
    return counts


def _measure(context: Context, shuffle: bool = False) -> Measurement:
    """Measure the power of every test against its signal, in two noises."""
    replicates = context.choose(smoke=200, ci=200 if shuffle else 500, full=4000)
    noises = context.choose(smoke=NOISES[:1], ci=NOISES, full=NOISES)
    strengths = context.choose(smoke=(0.0, GATED), ci=STRENGTHS, full=STRENGTHS)
    rows, values = [], []
    quantities: dict[str, Quantity] = {}
    for noise in noises:
        for signal, planted in SIGNALS.items():
            context.report_progress(f"{signal} of {len(strengths)} strengths in {noise} noise")
            counts = _curve(context, signal, noise, replicates, strengths, shuffle)
            for label in planted.tests:
                rows.append(f"{signal}, {label}, {noise}")
                values.append(tuple(100 * counts[label, z].rate for z in strengths))
            if noise == NOISES[0]:
                gated = {gate: label for gate, (of, label) in GATES.items() if of == signal}
                quantities |= {gate: counts[label, GATED].estimate() for gate, label in gated.items()}
    title = f"Power at {LEVEL:.0%}, in percent, against the strength in standard deviations of noise"
    table = Table(title, tuple(rows), tuple(f"{z:g}" for z in strengths), tuple(values))
    remarks = (
        f"{replicates} arrays of {M} x {N} for each strength. In t3 noise strengths are those of unit Gaussian noise.",
        "The F test and the normal null refuse what they cannot calibrate: heavy tails, and an interaction so strong "
        "that it makes the variances of rows unequal. A refusal is no rejection; an empty cell is refused throughout.",
    )
    return Measurement(quantities, (table,), remarks)


EXPERIMENT = Experiment("row effects, row scales and a spike of growing strength", _measure)
SHUFFLED = Experiment("the entries of every array permuted", lambda context: _measure(context, shuffle=True))
