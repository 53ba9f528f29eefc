"""Random permutations for correlations of pairs of entries: exact at any size, for arrays small enough to permute."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from rctheory.numerics import generator, tolerance
from rctheory.statistics.arrays.correlation_nulls import Correlation

Values = dict[str, Tensor]


def within_by_draws(x: Tensor, permutations: int, level: float, seed: int) -> dict[str, Correlation]:
    """Correlate entries of arrays (b, m, n), float64, that share a row, a column, or nothing.

    One draw permutes every column for itself, every row for itself, or whole rows; all replicates share the draws.
    """
    b, m, n = x.shape
    stream = generator(seed, "correlations", m, n)

    def draws() -> Iterator[Values]:
        for _ in range(permutations):
            columns = torch.rand(m, n, generator=stream).argsort(dim=0).expand(b, m, n)
            rows = torch.rand(m, n, generator=stream).argsort(dim=1).expand(b, m, n)
            order = torch.randperm(m, generator=stream)
            yield {
                "row": _shared(x.gather(1, columns)),
                "column": _shared(x.gather(2, rows).mT),
                "nothing": _apart(x[:, order]),
            }

    return _against({"row": _shared(x), "column": _shared(x.mT), "nothing": _apart(x)}, draws(), level)


def between_by_draws(
    y: Tensor, z: Tensor, shared: bool, permutations: int, level: float, seed: int
) -> dict[str, Correlation]:
    """Correlate entries of arrays (b, m, n_y) and (b, m, n_z), float64, under permuted rows of the second."""
    y, z = y - y.mean(dim=1, keepdim=True), z - z.mean(dim=1, keepdim=True)
    m, n = y.shape[1:]
    scale = (y.square().sum(dim=(1, 2)) * z.square().sum(dim=(1, 2))).sqrt()
    r, s = y.sum(dim=2), z.sum(dim=2)

    def values(order: Tensor) -> Values:
        together = (r * s[:, order]).sum(dim=1)
        if not shared:
            return {"neuron": together / (scale * math.sqrt(n * z.shape[2]))}
        both = (y * z[:, order]).sum(dim=(1, 2))
        return {"neuron": (together - both) / ((n - 1) * scale), "neuron and column": both / scale}

    stream = generator(seed, "neurons", m)
    draws = (values(torch.randperm(m, generator=stream)) for _ in range(permutations))
    return _against(values(torch.arange(m)), draws, level)


def _shared(x: Tensor) -> Tensor:
    """Return the mean product of two entries of one row, over the mean square, after centring columns."""
    y = x - x.mean(dim=1, keepdim=True)
    size = y.square().sum(dim=(1, 2))
    return (y.sum(dim=2).square().sum(dim=1) - size) / ((x.shape[2] - 1) * size)


def _apart(x: Tensor) -> Tensor:
    """Return the mean product of diagonal neighbours, over the mean square, after centring columns."""
    y = x - x.mean(dim=1, keepdim=True)
    return (y * y.roll((-1, -1), dims=(1, 2))).sum(dim=(1, 2)) / y.square().sum(dim=(1, 2))


def _against(observed: Values, draws: Iterable[Values], level: float) -> dict[str, Correlation]:
    """Rank the observed values among the drawn ones; a tie counts against the hypothesis on neither side."""
    drawn: dict[str, list[Tensor]] = {name: [] for name in observed}
    for values in draws:
        for name, value in values.items():
            drawn[name].append(value)
    return {name: _ranked(observed[name], torch.stack(drawn[name]), level) for name in observed}


def _ranked(value: Tensor, drawn: Tensor, level: float) -> Correlation:
    """Return p = min(1, 2 (1 + #{as far out on the nearer side}) / (B + 1)) and the interval of the draws."""
    slack = tolerance(torch.float64, terms=1 << 20)  # a value that permutes into itself may be rounded otherwise
    tails = torch.stack([(drawn >= value - slack).sum(dim=0), (drawn <= value + slack).sum(dim=0)])
    p = (2 * (1 + tails.min(dim=0).values.double()) / (len(drawn) + 1)).clamp(max=1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=drawn.dtype)
    low, high = drawn.quantile(ends, dim=0)
    return Correlation(value, low, high, torch.where(value.isnan(), torch.nan, p))
