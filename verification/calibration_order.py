"""Claim `order.calibration`: permutation tests of order, alone or in families, and of two laws hold their level.

They are exact, so the study has nothing to excuse: under every noise the share of rejections is the level itself, up to
binomial error. A second study shows what they see.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from rctheory.numerics import generator, stream_seed
from rctheory.statistics.comparison import compare_laws
from rctheory.statistics.gates import Estimate
from rctheory.statistics.multiplicity import max_t
from rctheory.statistics.order import LAG_ONE, ORDER_STATISTICS, OrderStatistic
from rctheory.statistics.permutation import PermutationTest, order_tests
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.calibration import Calibrated, report, study

SHAPE = (64, 128)
UNITS = 128  # of the vectors of the power study
LEVEL = 0.05
STRENGTHS = (0.0, 0.25, 0.5, 1.0)
PERMUTATIONS, RELABELLINGS = 199, 99  # both levels lie on the grid
GROUP = 10  # arrays that share permutations: p-values of a group depend on each other, but little
HEADS = 16


def _log_norms(W: Tensor) -> tuple[Tensor, Tensor]:
    """Return log norms of rows and columns, (k, m) and (k, n)."""
    squares = W.double().square()
    return squares.sum(dim=-1).log() / 2, squares.sum(dim=-2).log() / 2


def _tested(
    vectors: list[dict[str, Tensor]], seed: int, statistics: Sequence[OrderStatistic] = ORDER_STATISTICS
) -> list[PermutationTest]:
    """Test every vector of every array; `vectors` holds those of one array by name, the tests follow in that order."""
    tests = []
    for start in range(0, len(vectors), GROUP):
        hypotheses = {
            f"{name} of {place}": [{name: vector[None, None]}]
            for place, named in enumerate(vectors[start : start + GROUP])
            for name, vector in named.items()
        }
        group_seed = stream_seed(seed, "order", start)
        found = order_tests(hypotheses, statistics=statistics, permutations=PERMUTATIONS, seed=group_seed)
        tests += list(found.values())
    return tests


def order_of_units(x: Tensor, seed: int, statistics: Sequence[OrderStatistic] = ORDER_STATISTICS) -> Tensor:
    """Return the p-value of the order of each vector, (k, n) to (k,)."""
    return torch.tensor([test.p_value for test in _tested([{"x": vector} for vector in x], seed, statistics)])


def family_of_axes(W: Tensor, seed: int) -> Tensor:
    """Return the smallest adjusted p-value of three axes of equal size: rows, and columns in two halves."""
    rows, columns = _log_norms(W)
    half = columns.shape[1] // 2
    vectors = [{"rows": r, "left": c[:half], "right": c[half:]} for r, c in zip(rows, columns, strict=True)]
    tests = _tested(vectors, seed)
    families = [tests[k : k + 3] for k in range(0, len(tests), 3)]
    return torch.tensor([min(max_t({str(k): t.replicates for k, t in enumerate(f)}).values()) for f in families])


def two_laws(W: Tensor, seed: int) -> Tensor:
    """Return the p-value that the first half of the rows and the second have one law of signatures."""
    signatures = W.double().unflatten(-1, (2, -1)).square().mean(dim=-1).log() / 2
    half = signatures.shape[1] // 2
    return torch.tensor(
        [
            compare_laws(s[:half], s[half:], permutations=RELABELLINGS, seed=stream_seed(seed, "laws", k)).p_value
            for k, s in enumerate(signatures)
        ]
    )


TESTS: Mapping[str, Calibrated] = {
    "order of columns": Calibrated(lambda W, seed: order_of_units(_log_norms(W)[1], seed), allows_interaction=True),
    "family of three axes": Calibrated(family_of_axes, allows_interaction=True),
    "two laws": Calibrated(two_laws, allows_interaction=True),
}


def _echo(noise: Tensor, strength: float, lag: int) -> Tensor:
    """Add to each unit a part of the noise of the unit `lag` places before it."""
    return noise + strength * noise.roll(lag, dims=-1)


def _along(noise: Tensor) -> Tensor:
    """Return the index of each unit, standardised."""
    index = torch.arange(noise.shape[-1], dtype=noise.dtype)
    return (index - index.mean()) / index.std(correction=0)


SIGNALS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "neighbours alike": lambda noise, s: _echo(noise, s, 1),
    "units two apart alike": lambda noise, s: _echo(noise, s, 2),
    "units 32 apart alike": lambda noise, s: _echo(noise, s, 32),
    "drift": lambda noise, s: noise + s * _along(noise),
    "drift of the spread": lambda noise, s: noise * torch.exp(s * _along(noise)),
    "runs of 32": lambda noise, s: noise + s * torch.tensor([1.0, -1.0, 1.0, -1.0]).repeat_interleave(UNITS // 4),
}


@lru_cache(maxsize=1)
def _power(seed: int, replicates: int) -> tuple[Estimate, Table]:
    """Measure how often each signal is seen at the level of 5%, by all statistics, by lag 1 alone, and between laws.

    The experiment and its controls share it: once in a process.
    """
    rows: dict[str, list[float]] = {}
    for strength in STRENGTHS:
        for signal, plant in SIGNALS.items():
            noise = torch.randn(replicates, UNITS, generator=generator(seed, "order", "power", signal))
            for label, statistics in (("all statistics", ORDER_STATISTICS), ("lag 1 alone", LAG_ONE)):
                p = order_of_units(plant(noise, strength), seed, statistics=statistics)
                rows.setdefault(f"{signal}: {label}", []).append(float((p <= LEVEL).double().mean()))
        arrays = torch.randn(replicates, *SHAPE, generator=generator(seed, "order", "power", "laws"))
        arrays[:, : SHAPE[0] // 2] *= 1 + strength / 4
        p = two_laws(arrays, seed)
        rows.setdefault("scales a quarter of it apart: two laws", []).append(float((p <= LEVEL).double().mean()))
    seen = min(shares[-1] for label, shares in rows.items() if not label.endswith("alone"))
    title = f"Share of rejections at {LEVEL:.0%} against the strength of a signal, {UNITS} units"
    columns = tuple(f"{strength:g}" for strength in STRENGTHS)
    return Estimate(seen), Table(title, tuple(rows), columns, tuple(tuple(shares) for shares in rows.values()))


def _measure(context: Context, tests: Mapping[str, Calibrated], arrays: int) -> Measurement:
    """Measure the size of tests under every noise, and the power of those that are right."""
    measured = report(study(context, tests, arrays, SHAPE))
    context.report_progress("power")
    power, table = _power(context.seed, context.choose(smoke=10, ci=200, full=2000))
    return Measurement({**measured.quantities, "power": power}, (*measured.tables, table), measured.remarks)


def _smallest(W: Tensor, seed: int) -> Tensor:
    """Take the smallest of the p-values of single statistics for a p-value."""
    x = _log_norms(W)[1]
    each = [order_of_units(x, seed, statistics=(statistic,)) for statistic in ORDER_STATISTICS]
    return torch.stack(each).amin(dim=0)


def _flat(W: Tensor, seed: int) -> Tensor:
    """Permute all columns though they belong to heads, each of a scale of its own."""
    scales = torch.randn(len(W), HEADS, generator=generator(seed, "order", "heads"))
    return order_of_units(_log_norms(W)[1] + scales.repeat_interleave(SHAPE[1] // HEADS, dim=1), seed)


EXPERIMENT = Experiment(
    "permutation tests of order and comparisons of laws, arrays without structure under eight noises",
    lambda context: _measure(context, TESTS, context.choose(smoke=40, ci=2000, full=20_000)),
)
SMALLEST = Experiment(
    "the smallest p-value of seven statistics, taken for the p-value of all",
    lambda context: _measure(
        context, {"order of columns": Calibrated(_smallest)}, context.choose(smoke=40, ci=100, full=100)
    ),
)
FLAT_HEADS = Experiment(
    "heads of different scales, their columns permuted as if they were one axis",
    lambda context: _measure(
        context, {"order of columns": Calibrated(_flat)}, context.choose(smoke=40, ci=100, full=100)
    ),
)
