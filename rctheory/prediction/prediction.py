"""The predicted loss of a transfer, before it is made: mean and standard deviation over the draw of its units.

With masses p_j = c_j n / m the loss changes by g'(p - 1) + (p - 1)' H (p - 1) / 2 + .... The first term is n times a
sampled mean of g: its mean is 0, its variance n^2 Var(sampled mean of g), which every design knows exactly. With
H = T E[s s'] the second has the mean T n^2 E Var(sampled mean of s) / 2, by the same formula. Masses of few units
are skewed: (p_j - 1)^2 follows p_j - 1 with a slope b_j, so that b_j H_jj / 2 adds to the influence g_j of a unit. Axes
are drawn independently, so that variances and shifts add.

A unit that makes most of a token's stream is felt only when it is gone, because the norm behind it divides by its size:
derivatives at 1 are small, the removal is not. Where the loss without such a unit was measured, the jump
d_j = D_j - (H_jj / 2 - g_j) is added on the event that it is not drawn, of probability a_j: d_j a_j to the mean,
-d_j a_j / Var(p_j) to the influence, and to the variance what of the event does not follow the mass.
Source: claims `influence.loss-change`, `sampling.variance`.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from rctheory.errors import UsageError
from rctheory.measures.designs import Design
from rctheory.prediction.influence import Influence

HEAVY = 1.0  # excess kurtosis of the first order beyond which the normal law says little about tails
DOMINANT = 0.1  # share of the variance in one unit, whose loss no derivative at 1 describes
CONVERGED = 0.3  # nats: a larger predicted mean is beyond what two orders describe
CURVED = 0.5  # sd of the second order relative to the first beyond which the expansion has not converged


@dataclass(frozen=True)
class AxisPrediction:
    """What sampling one axis does to the mean loss of the text.

    Args:
        axis: the axis instance.
        units: its number n of units.
        width: the number m that is to be taken.
        shift: mean of the loss change over draws, to second order; NaN where the second order was not measured.
        first: standard deviation of the first order.
        tilted: the same with what follows it of the second order and of removals; NaN where the second order was not
            measured.
        second: standard deviation of the rest of these; NaN likewise.
        elsewhere: standard deviation of the first order on endless text of the same kind: without the noise of this
            text, from products of different windows; NaN with one window.
        text_error: relative standard error of `first` by the choice of the text (jackknife); NaN with one window.
        excess_kurtosis: of the (tilted) first order; 0 for a normal law.
        dominance: largest share of one unit in the variance of the (tilted) first order.
    """

    axis: str
    units: int
    width: int
    shift: float
    first: float
    tilted: float
    second: float
    elsewhere: float
    text_error: float
    excess_kurtosis: float
    dominance: float

    @property
    def sd(self) -> float:
        """Return the standard deviation of the loss change: first order, tilted, and second order."""
        first = self.first if self.tilted != self.tilted else self.tilted
        return sqrt(first**2 + (0.0 if self.second != self.second else self.second**2))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return why the normal approximation is not to be trusted; empty where it is."""
        found = []
        if not abs(self.excess_kurtosis) <= HEAVY:
            found.append(f"heavy tails: excess kurtosis {self.excess_kurtosis:.2g}")
        if not self.dominance <= DOMINANT:
            found.append(f"one unit carries {self.dominance:.0%} of the variance")
        if self.second > CURVED * self.first:
            found.append(f"curved: second order {self.second / self.first:.0%} of the first")
        return tuple(found)


@dataclass(frozen=True)
class Prediction:
    """The predicted loss of a transfer.

    Args:
        loss: of the source on the text, in nats for each token.
        loss_error: its standard error by the choice of the text.
        axes: one prediction for each axis instance that changes.
    """

    loss: float
    loss_error: float
    axes: tuple[AxisPrediction, ...]

    @property
    def shift(self) -> float:
        """Return the mean of the loss change."""
        return sum(axis.shift for axis in self.axes)

    @property
    def sd(self) -> float:
        """Return the standard deviation of the loss change over draws."""
        return sqrt(sum(axis.sd**2 for axis in self.axes))

    @property
    def converged(self) -> bool:
        """Return whether the change is small enough for two orders to describe it."""
        return self.shift <= CONVERGED

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of all axes, each with its axis."""
        return tuple(f"{axis.axis}: {warning}" for axis in self.axes for warning in axis.warnings)


def predict(influence: Influence, widths: Mapping[str, int], design: Design) -> Prediction:
    """Predict the loss after every named axis instance is sampled to its width.

    Args:
        influence: measured on the source.
        widths: m by axis instance.
        design: how units are drawn.

    Raises:
        UsageError: an axis whose influence was not measured.
        LawError: a width that the design cannot give.
    """
    unknown = sorted(set(widths) - set(influence.gradients))
    if unknown:
        known = ", ".join(list(influence.gradients)[:4])
        raise UsageError(f"axis {unknown[0]} without influence", f"one of {known}", "measure it first")
    axes = tuple(predict_axis(influence, axis, m, design) for axis, m in widths.items())
    count = len(influence.losses)
    error = float(influence.losses.std() / sqrt(count)) if count > 1 else float("nan")
    return Prediction(influence.loss, error, axes)


def predict_axis(influence: Influence, axis: str, m: int, design: Design) -> AxisPrediction:
    """Predict what sampling one axis instance to m units does; raises like `predict`."""
    gradients, scores = influence.gradients[axis], influence.scores[axis].flatten(0, 1)
    n, mean = gradients.shape[-1], gradients.mean(dim=0)
    variance = n**2 * float(design.variance(mean, m))
    shift = second = tilted = float("nan")
    tilt = mean
    if len(scores):
        curvature = influence.tokens * scores.square().mean(dim=0)
        jumps = _jumps(influence.removals.get(axis, {}), mean, curvature, m, design)
        shift = influence.tokens * n**2 * float(design.variance(scores, m).mean()) / 2 + jumps.mean
        tilt = mean + design.mass_skew(n, m).to(mean) * curvature / 2 + jumps.slopes
        tilted = n * sqrt(max(float(design.variance(tilt, m)), 0.0))
    if len(scores) > 1:
        squared = (n**2 * _covariances(design, scores, m)).square()
        pairs = len(scores) * (len(scores) - 1)
        quadratic = influence.tokens**2 * float(squared.sum() - squared.diagonal().sum()) / pairs / 2
        second = sqrt(quadratic + jumps.rest)
    return AxisPrediction(
        axis,
        n,
        m,
        shift,
        sqrt(max(variance, 0.0)),
        tilted,
        second,
        _elsewhere(gradients, m, design),
        _jackknife(gradients, m, design),
        float(design.excess_kurtosis(tilt, m)) if variance > 0 else 0.0,
        _largest_share(tilt) if variance > 0 else 0.0,
    )


@dataclass(frozen=True)
class _Jumps:
    """What removals add to the two orders: to the mean, to the influence (n,), and to the variance beside it."""

    mean: float
    slopes: Tensor
    rest: float


def _jumps(removals: Mapping[int, float], slope: Tensor, curvature: Tensor, m: int, design: Design) -> _Jumps:
    """Project the jumps of units that are not drawn on their masses.

    Cov(1{p = 0}, p) = -a, because p - 1 = -1 there; the event's variance a (1 - a) less a^2 / Var(p) remains.
    """
    n, slopes, mean, rest = len(slope), torch.zeros_like(slope), 0.0, 0.0
    absence = design.absence(n, m)
    for unit, change in removals.items():
        jump = change - float(curvature[unit] / 2 - slope[unit])
        one = torch.zeros(n, dtype=torch.float64)
        one[unit] = n
        spread, absent = float(design.variance(one, m)), float(absence[unit])
        if absent > 0 and spread > 0:
            mean += jump * absent
            slopes[unit] = -jump * absent / spread
            rest += jump**2 * max(absent * (1 - absent) - absent**2 / spread, 0.0)
    return _Jumps(mean, slopes, rest)


def _largest_share(influence: Tensor) -> float:
    """Return the largest share of one unit in the squares about the mean."""
    centred = (influence - influence.mean()).square()
    return float(centred.max() / centred.sum())


def _covariances(design: Design, values: Tensor, m: int) -> Tensor:
    """Return the covariances of sampled means of several values (R, n) -> (R, R), by polarisation."""
    return torch.stack([(design.variance(values + v, m) - design.variance(values - v, m)) / 4 for v in values])


def _elsewhere(gradients: Tensor, m: int, design: Design) -> float:
    """Return the first order's sd on endless text: windows of their own average the noise of a text out of products.

    Var(mean of B windows) = V / B + (1 - 1/B) C, with V the mean of the windows' own and C of pairs of windows.
    """
    count, n = gradients.shape
    if count < 2:
        return float("nan")
    together = float(design.variance(gradients.mean(dim=0), m))
    own = float(design.variance(gradients, m).mean())
    return n * sqrt(max((together - own / count) / (1 - 1 / count), 0.0))


def _jackknife(gradients: Tensor, m: int, design: Design) -> float:
    """Return the relative standard error of the first order's sd, by leaving out windows."""
    count = len(gradients)
    if count < 2:
        return float("nan")
    left = (gradients.sum(dim=0) - gradients) / (count - 1)
    logs = design.variance(left, m).clamp(min=1e-300).log() / 2
    return sqrt(float((logs - logs.mean()).square().sum()) * (count - 1) / count)


def cheapest(
    influence: Influence, candidates: Sequence[Mapping[str, int]], design: Design, budget: float, sigmas: float = 2.0
) -> int | None:
    """Return the first of several transfers, from the cheapest up, whose predicted loss change keeps to a budget.

    Args:
        influence: measured on the source, with the second order.
        candidates: widths by axis instance, from the smallest model to the largest.
        design: how units are drawn.
        budget: most that the loss may rise, in nats for each token.
        sigmas: how many standard deviations above the mean must still keep to it.

    Returns:
        The index of the transfer; None where none does. It is found by bisection, because a wider sample costs less.
    """

    def keeps(widths: Mapping[str, int]) -> bool:
        found = predict(influence, widths, design)
        return found.shift + sigmas * found.sd <= budget  # NaN keeps to no budget

    index = bisect_left(candidates, True, key=keeps)  # the first that keeps to it
    return index if index < len(candidates) else None
