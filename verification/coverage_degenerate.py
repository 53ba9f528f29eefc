"""Claim `array.degenerate`: arrays in which no single row or column moves a statistic are recognised and refused."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from scipy import special
from torch import Tensor

from rctheory.statistics.arrays import Interval, pigeonhole_interval, quadruplet_interval, quadruplet_variance
from rctheory.statistics.arrays.quadruplet_kernels import GRAND_MEAN, SQUARED_MEAN
from rctheory.statistics.gates import Estimate, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.coverage import LAWS, Law, batches, share

DEGENERATE = {
    "r_i c_j": Law(lambda r, c: r * c, 0.0),
    "r_i c_j and noise": Law(lambda r, c: 0.5 * r * c, 1.0),
    "sin(r_i c_j)": Law(lambda r, c: torch.sin(r * c), 0.0),
    "noise": Law(lambda r, c: 0 * r * c, 1.0),
}
CENTRED = {"centred mean effects": Law(lambda r, c: r + c, 0.5)}

Refuses = Callable[[Tensor, int], Tensor]
LEVEL = 0.01


def _refused(interval: Interval) -> Tensor:
    """Return which arrays were refused; without a reason none counts as refused."""
    return interval.low.isnan() & bool(interval.refusal)


def _quadruplets(W: Tensor, _seed: int) -> Tensor:
    return _refused(quadruplet_interval(W, GRAND_MEAN))


def _square(W: Tensor, _seed: int) -> Tensor:
    return _refused(quadruplet_interval(W, SQUARED_MEAN))


def _pigeonhole(W: Tensor, seed: int) -> Tensor:
    return _refused(pigeonhole_interval(W, draws=99, seed=seed))


def _f_tests(W: Tensor, _seed: int) -> Tensor:
    """Refuse where neither F test, of rows or of columns, rejects at the level: MS_r / MS_e and MS_c / MS_e."""
    m, n = W.shape[-2:]
    parts = quadruplet_variance(W, GRAND_MEAN)
    freedom = (m - 1) * (n - 1)
    p = [
        special.fdtrc(size - 1, freedom, (v / parts.second).numpy())
        for size, v in ((m, parts.rows), (n, parts.columns))
    ]
    return torch.from_numpy((p[0] > LEVEL / 2) & (p[1] > LEVEL / 2))


def _shares(context: Context, laws: Mapping[str, Law], refuses: Mapping[str, Refuses]) -> dict[str, list[Estimate]]:
    """Return, for each law and shape, the share of arrays that each method refuses."""
    arrays = context.choose(smoke=500, ci=1000, full=10_000)
    found: dict[str, list[Estimate]] = {}
    for name, law in laws.items():
        for shape in context.choose(smoke=((32, 48),), ci=((64, 64), (48, 96)), full=((64, 64), (48, 96))):
            context.report_progress(f"{name}, {shape[0]} x {shape[1]}, {arrays} arrays")
            counts = dict.fromkeys(refuses, 0)
            for W, seed in batches(context, law, name, shape, arrays):
                for method, refuse in refuses.items():
                    counts[method] += int(refuse(W, seed + context.seed).sum())
            found[f"{name}, {shape[0]} x {shape[1]}"] = [share(count, arrays) for count in counts.values()]
    return found


def _measure(
    context: Context, quadruplets: Refuses = _quadruplets, pigeonhole: Refuses = _pigeonhole, square: Refuses = _square
) -> Measurement:
    """Count refusals of degenerate arrays, which are to be many, and of others, which are to be few."""
    both = {"quadruplets": quadruplets, "pigeonhole": pigeonhole}
    degenerate, others = _shares(context, DEGENERATE, both), _shares(context, LAWS, both)
    squares = _shares(context, CENTRED, {"square": square})
    of_square = [row[0] for row in squares.values()]

    def least(column: int) -> Estimate:
        return min((row[column] for row in degenerate.values()), key=lambda estimate: estimate.value)

    quantities: dict[str, Quantity] = {
        "quadruplets": min(least(0), *of_square, key=lambda estimate: estimate.value),
        "pigeonhole": least(1),
        "others": max((e for row in others.values() for e in row), key=lambda estimate: estimate.value),
    }
    rows = {name: tuple(e.value for e in row) for name, row in (degenerate | others).items()}
    table = Table("Share of arrays refused, grand mean", tuple(rows), tuple(both), tuple(rows.values()), "text")
    remark = f"The square of a zero mean, of arrays with centred mean effects: refused {of_square[0].value:.1%}."
    return Measurement(quantities, (table,), (remark,))


EXPERIMENT = Experiment("intervals asked for on degenerate arrays and on others", _measure)
F_TESTS = Experiment(
    "degeneracy judged by the F tests of rows and columns, which an interaction misleads",
    partial(_measure, quadruplets=_f_tests, pigeonhole=_f_tests),
)
