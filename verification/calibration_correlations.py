"""Claim `array.correlations`: the p-values of the correlation pattern hold their level, and planted ties are seen."""

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from rctheory.statistics.arrays import Correlation, between_correlations, within_correlations
from rctheory.statistics.gates import Estimate
from rctheory.suite.experiment import Context, Experiment, Measurement
from verification.calibration import SHAPE, Calibrated, report, study

LEVEL = 0.05
TIE = 0.15  # of a row, column or neuron effect, and the correlation of entries at the same place


@lru_cache(maxsize=1)
def _within(W: Tensor) -> dict[str, Correlation]:
    """Correlate inside arrays, once for the tests that look at the same ones."""
    return within_correlations(W)


@lru_cache(maxsize=1)
def _unrelated(W: Tensor) -> dict[str, Correlation]:
    """Correlate each array with the next one of the batch, as if they shared neurons and columns."""
    return between_correlations(W, W.roll(1, 0), columns_shared=True)


TESTS = {
    "pairs in a row": Calibrated(lambda W, _: _within(W)["row"].p_value),
    "pairs in a column": Calibrated(lambda W, _: _within(W)["column"].p_value),
    "pairs that share nothing": Calibrated(lambda W, _: _within(W)["nothing"].p_value, allows_interaction=True),
    "one neuron": Calibrated(
        lambda W, _: between_correlations(W, W.roll(1, 0))["neuron"].p_value, allows_interaction=True
    ),
    "one neuron, other column": Calibrated(lambda W, _: _unrelated(W)["neuron"].p_value, allows_interaction=True),
    "neuron and column": Calibrated(lambda W, _: _unrelated(W)["neuron and column"].p_value, allows_interaction=True),
}


def _planted(context: Context) -> dict[str, Tensor]:
    """Return the p-values of each correlation where it is planted in normal noise."""
    count, (m, n) = context.choose(smoke=50, ci=200, full=2000), SHAPE

    def draw(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=stream)

    stream = context.generator("correlations planted")
    rows, columns, first, second = draw(m, 1), draw(1, n), draw(m, n), draw(m, n)
    both = within_correlations(first + TIE * (rows + columns))
    neuron = between_correlations(first + TIE * rows, second + TIE * rows)
    cell = between_correlations(first, second + TIE * first, columns_shared=True)
    kinds = {"row": both["row"], "column": both["column"], "neuron": neuron["neuron"]}
    return {kind: found.p_value for kind, found in (kinds | {"cell": cell["neuron and column"]}).items()}


def _measure(
    context: Context,
    tests: dict[str, Calibrated] = TESTS,
    planted: Callable[[Context], dict[str, Tensor]] = _planted,
) -> Measurement:
    """Measure the size of every p-value under every noise, and the power of each at one tie."""
    sizes = report(study(context, tests, context.choose(smoke=100, ci=2000, full=20_000)))
    power = {kind: float((p <= LEVEL).double().mean()) for kind, p in planted(context).items()}
    seen = ", ".join(f"{kind} {share:.1%}" for kind, share in power.items())
    remarks = (*sizes.remarks, f"Seen at {LEVEL:.0%} with a tie of {TIE}: {seen}.")
    return Measurement({**sizes.quantities, "power": Estimate(min(power.values()))}, sizes.tables, remarks)


def _renamed(context: Context) -> dict[str, Tensor]:
    """Return the p-value of a tie of neurons that stand in another order in the second array."""
    stream = context.generator("correlations renamed")
    rows, first, second = (torch.randn(100, *s, generator=stream) for s in ((SHAPE[0], 1), SHAPE, SHAPE))
    found = between_correlations(first + TIE * rows, second + TIE * rows.roll(1, 1))
    return {"neuron": found["neuron"].p_value}


MISLED = {"pairs in a row": Calibrated(lambda W, _: _within(W)["row"].p_value, allows_interaction=True)}
EXPERIMENT = Experiment("correlations of pairs under seven noises and an interaction, and planted ones", _measure)
MEAN_EFFECTS = Experiment(
    "pairs in a row taken for a test of mean effects, which an interaction misleads", partial(_measure, tests=MISLED)
)
RENAMED = Experiment(
    "neurons renamed in one of two arrays that share them",
    partial(_measure, tests={"pairs in a row": TESTS["pairs in a row"]}, planted=_renamed),
)
