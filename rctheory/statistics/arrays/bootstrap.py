"""The pigeonhole bootstrap: rows and columns are resampled independently, and its surplus is taken away."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from scipy import special
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import chunks, generator, tolerance
from rctheory.statistics.arrays.intervals import (
    Interval,
    degenerate,
    dimensions_of,
    freedom_of,
    refused,
    student_quantile,
)
from rctheory.statistics.arrays.outcome import require_arrays

CHUNK_BYTES = 64 << 20
FEWEST_DRAWS = 99
Method = Literal["basic", "percentile", "normal"]


class Statistic(Protocol):
    """A statistic of an array whose rows and columns carry masses.

    Args of a call: arrays (b, m, n); masses of rows (k, m) and of columns (k, n), each adding up to 1. Returns (b, k).
    The arrays are never resampled: a unit drawn twice has twice the mass.
    """

    def __call__(self, arrays: Tensor, rows: Tensor, columns: Tensor, /) -> Tensor:
        """Evaluate the statistic for each array and each pair of masses."""


@dataclass(frozen=True)
class Mean:
    """The mean of `transform` of the entries, sum_ij p_i q_j f(W_ij); the grand mean when there is no transform."""

    transform: Callable[[Tensor], Tensor] | None = None

    def __call__(self, arrays: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the weighted means, (b, k), by one matrix product over all arrays."""
        values = self.values(arrays)
        b, m, n = values.shape
        sums = (rows.to(values) @ values.transpose(0, 1).reshape(m, b * n)).view(-1, b, n)
        return torch.einsum("kbn,kn->bk", sums, columns.to(values))

    def values(self, arrays: Tensor) -> Tensor:
        """Return the transformed entries."""
        return arrays if self.transform is None else self.transform(arrays)


GRAND_MEAN = Mean()


@dataclass(frozen=True)
class Spread:
    """Variances over draws, (b,): `pigeonhole` of the statistic as drawn; the rest as in `QuadrupletVariance`."""

    pigeonhole: Tensor
    rows: Tensor
    columns: Tensor
    second: Tensor
    dimensions: Tensor
    freedom: Tensor
    rounding: Tensor

    @property
    def variance(self) -> Tensor:
        """Return the variance of the statistic: what single rows and columns do, less what they do together."""
        return self.rows + self.columns - self.second


def pigeonhole_interval(
    W: Tensor,
    statistic: Statistic = GRAND_MEAN,
    *,
    draws: int = 999,
    level: float = 0.95,
    seed: int = 0,
    method: Method = "percentile",
) -> Interval:
    """Return a bootstrap interval for a statistic of a row-column array.

    Rows and columns are drawn with replacement, independently (multinomial masses p and q). The variance over draws is
    too large: what two units do together enters three times. For the grand mean its expectation is

        s_r^2 / m + s_c^2 / n + 3 s^2 / (mn)    instead of    s_r^2 / m + s_c^2 / n + s^2 / (mn)

    up to factors (m-1)/m and (n-1)/n, and (MS_r + MS_c - MS_e) / (mn) has no bias. So the deviations of the draws are
    scaled to that variance, and by the ratio of Student's quantile to the normal one. For other statistics the parts of
    second order are taken from second differences over pairs of draws, of rows alone, columns alone and both, and taken
    away twice as well; this is without bias up to third order.
    The limit is that of single rows and columns. Arrays in which they do not significantly move the statistic are
    degenerate and refused: noise, `r_i c_j` with centred factors, the square of a mean that is zero.

    Args:
        W: arrays (..., m, n).
        statistic: what is estimated; smooth in the masses.
        draws: number of draws; shared by all arrays.
        level: nominal coverage.
        seed: root seed of the draws.
        method: `percentile` (the scaled deviations as drawn), `basic` (reflected), `normal` (their spread alone). Under
            skew latents the first covers best: skewness of a mean and of its standard error go together.

    Raises:
        ShapeError: fewer than two rows or columns, or a statistic that returns another shape than (b, k).
        NumericsError: an entry is NaN or infinite.
        UsageError: fewer than 99 draws, a level outside (0, 1), an unknown method.

    Source: A. Owen, The pigeonhole bootstrap, 2007; claims `array.coverage` and `array.variance-components`.
    """
    W = require_arrays(W)
    _require(draws, level, method)
    m, n = W.shape[-2:]
    flat = W.reshape(-1, m, n)
    p = multinomial_masses(m, draws, generator(seed, "pigeonhole", "rows", m))
    q = multinomial_masses(n, draws, generator(seed, "pigeonhole", "columns", n))
    split = chunks(len(flat), 8 * (draws * n + 4 * m * n), CHUNK_BYTES)
    parts = [_interval(flat[chunk.start : chunk.stop], statistic, p, q, level, method) for chunk in split]
    estimate, low, high, sd, where = (torch.cat(part).reshape(W.shape[:-2]) for part in zip(*parts, strict=True))
    return refused(Interval(estimate, low, high, sd), where)


def _interval(
    arrays: Tensor, statistic: Statistic, p: Tensor, q: Tensor, level: float, method: Method
) -> tuple[Tensor, ...]:
    """Return estimate, ends, standard error and what is degenerate, for arrays (b, m, n)."""
    m, n = arrays.shape[-2:]
    u, v = p.new_full((1, m), 1 / m), q.new_full((1, n), 1 / n)
    estimate = _evaluate(statistic, arrays, u, v)
    drawn = _evaluate(statistic, arrays, p, q) - estimate
    if isinstance(statistic, Mean):
        spread = _spread_of_mean(statistic.values(arrays).double())
    else:
        spread = _spread(lambda rows, columns: _evaluate(statistic, arrays, rows, columns), p, q, drawn, estimate)
    estimate, sd = estimate.squeeze(1), spread.variance.clamp(min=0).sqrt()
    student = student_quantile(level, spread.freedom)
    normal = float(special.ndtri((1 + level) / 2))
    scaled = _quantiles(drawn, level) * sd / spread.pigeonhole.sqrt() * student / normal
    low, high = {
        "basic": (estimate - scaled[1], estimate - scaled[0]),
        "percentile": (estimate + scaled[0], estimate + scaled[1]),
        "normal": (estimate - student * sd, estimate + student * sd),
    }[method]
    where = degenerate(spread.rows + spread.columns, spread.second, spread.dimensions, spread.rounding)
    return estimate, low, high, sd, where


def _spread_of_mean(values: Tensor) -> Spread:
    """Return the variances over all draws of a mean, which are closed."""
    m, n = values.shape[-2:]
    mean = values.mean(dim=(1, 2), keepdim=True)
    r, c = values.mean(dim=2, keepdim=True), values.mean(dim=1, keepdim=True)
    rows = (r - mean).square().sum(dim=(1, 2)) / m**2
    columns = (c - mean).square().sum(dim=(1, 2)) / n**2
    mixed = values - r - c + mean
    both = mixed.square().sum(dim=(1, 2)) / (m * n) ** 2
    rounding = tolerance(torch.float64, terms=64) ** 2 * values.square().mean(dim=(1, 2))
    return Spread(
        rows + columns + both,
        rows * m / (m - 1),
        columns * n / (n - 1),
        both * m / (m - 1) * n / (n - 1),
        dimensions_of(mixed),
        freedom_of(((r - mean).squeeze(2) / m, (c - mean).squeeze(1) / n)),
        rounding,
    )


def _spread(
    evaluate: Callable[[Tensor, Tensor], Tensor], p: Tensor, q: Tensor, drawn: Tensor, estimate: Tensor
) -> Spread:
    """Return the variances over draws of any statistic, its parts of first and second order apart.

    With masses p = u + d of rows, t(u + (d + d')/2) - t(u + d/2) - t(u + d'/2) + t(u) is d H d' / 4 up to third order,
    and the variance of d H d / 2 is half that of d H d'. What is left of the variance over rows is of first order.
    """
    m, n = p.shape[1], q.shape[1]
    u, v = torch.full_like(p, 1 / m), torch.full_like(q, 1 / n)
    rows, columns = evaluate(p, v) - estimate, evaluate(u, q) - estimate
    halves, half_columns = evaluate((p + u) / 2, v), evaluate(u, (q + v) / 2)
    pairs = evaluate((p + p.roll(1, 0)) / 2, v) - halves - halves.roll(1, 1) + estimate
    column_pairs = evaluate(u, (q + q.roll(1, 0)) / 2) - half_columns - half_columns.roll(1, 1) + estimate
    of_rows, of_columns = 8 * pairs.var(dim=1), 8 * column_pairs.var(dim=1)
    first = (rows.var(dim=1) - of_rows).clamp(min=0), (columns.var(dim=1) - of_columns).clamp(min=0)
    k, j = m / (m - 1), n / (n - 1)  # draws from a sample spread less than the population, by this for each unit
    second = k**2 * of_rows + j**2 * of_columns + k * j * (drawn - rows - columns).var(dim=1)
    rounding = (tolerance(torch.float64, terms=64) * estimate.squeeze(1)).square()
    freedom = (first[0] + first[1]).square() / (first[0].square() / (m - 1) + first[1].square() / (n - 1))
    freedom = freedom.nan_to_num(nan=1.0).clamp(min=1.0)
    # One dimension: what is together in a statistic that is not known may be a single product.
    one = torch.ones_like(second)
    return Spread(drawn.var(dim=1), first[0] * k, first[1] * j, second, one, freedom, rounding)


def _quantiles(drawn: Tensor, level: float) -> Tensor:
    """Return the quantiles (1 -+ level) / 2 of draws (b, k), (2, b): draw number (k + 1) q, interpolated."""
    k = drawn.shape[1]
    ordered = drawn.sort(dim=1).values
    places = [min(max((k + 1) * q - 1, 0.0), k - 1.0) for q in ((1 - level) / 2, (1 + level) / 2)]
    return torch.stack([torch.lerp(ordered[:, int(x)], ordered[:, min(int(x) + 1, k - 1)], x % 1) for x in places])


def _evaluate(statistic: Statistic, arrays: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Evaluate a statistic and check what it returns."""
    values = statistic(arrays, rows, columns)
    if values.shape != (len(arrays), len(rows)):
        found = f"a statistic of shape {tuple(values.shape)} on {len(arrays)} arrays and {len(rows)} pairs of masses"
        raise ShapeError(found, f"({len(arrays)}, {len(rows)})", "return a value for each array and pair of masses")
    return values.double()


def multinomial_masses(units: int, draws: int, stream: torch.Generator) -> Tensor:
    """Return multinomial masses (draws, units)."""
    drawn = torch.randint(units, (draws, units), generator=stream)
    return (
        torch.zeros(draws, units, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double()) / units
    )


def _require(draws: int, level: float, method: str) -> None:
    """Refuse options that give no interval."""
    if draws < FEWEST_DRAWS:
        raise UsageError(f"{draws} draws", f"at least {FEWEST_DRAWS}", "ask for more draws")
    if not 0 < level < 1:
        raise UsageError(f"level {level}", "a number between 0 and 1", "give the nominal coverage")
    if method not in ("basic", "percentile", "normal"):
        raise UsageError(f"method {method!r}", "basic, percentile or normal", "choose one of these")
