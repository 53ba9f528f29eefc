"""The row-column correlation pattern: which pairs of entries are correlated, and which could be by chance.

Entries that share a row latent or a column latent may be correlated; entries that share nothing may not. A neuron is
the row of one matrix and the column of the next: entries of the two that share it may be correlated too. Every
correlation comes with the interval and the p-value that a group of permutations gives it: from the exact moments of
that group (O(mn), no draws), or from random permutations where `permutations` says how many (exact at any size).
"""

import math
from dataclasses import fields

import torch
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.statistics.arrays.correlation_draws import between_by_draws, within_by_draws
from rctheory.statistics.arrays.correlation_nulls import Correlation, apart, neuron_alone, neuron_and_column, shared
from rctheory.statistics.arrays.outcome import require_arrays
from rctheory.statistics.arrays.unit_sums import column_means, replicates, sums_of_columns, sums_of_rows

__all__ = ["Correlation", "between_correlations", "within_correlations"]
LEVEL = 0.95


def within_correlations(
    array: Tensor,
    *,
    permutations: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Correlation]:
    """Correlate pairs of entries of one array that share a row, a column, or nothing.

    With y the entries less the mean of their column, R_i = sum_j y_ij and Q = sum_ij y_ij^2,

        row:     sum_i (R_i^2 - sum_j y_ij^2) / ((n - 1) Q)         all pairs in a row
        column:  the same with rows and columns exchanged
        nothing: sum_ij y_ij y_{i+1,j+1} / Q                        neighbours along the diagonal, indices cyclic

    Chance, for pairs in a row: every column is permuted independently of the others. The mean is 0, variance and third
    moment are closed (`permuted_moments`); the reference is Pearson's type III law with these moments. Rows of unequal
    scale are not exchangeable in that way; there the signs of the entries are (`flipped_moments`). For each tail the
    larger p-value is taken, so that it holds under either group. An interaction breaks both groups, as a mean effect
    does: it ties the columns (`mean_effects` tells the two apart).
    Chance, for pairs that share nothing: the rows are permuted; given the columns, the products of each row with the
    next are uncorrelated, and Student's t compares their mean with their spread. Neighbours, not all pairs: all pairs
    that share nothing add up to what rows and columns leave, and would say nothing of their own.

    Args:
        array: (..., m, n) with m, n >= 4; `log_sizes` of an array for correlations of scales.
        permutations: random permutations instead of moments: O(mn) each, for small arrays.
        level: probability that the interval holds under chance.
        seed: root seed of the permutations.

    Returns:
        Correlations named `row`, `column`, `nothing`.

    Raises:
        ShapeError: fewer than four rows or columns.
        NumericsError: an entry is NaN or infinite.
        UsageError: fewer permutations than the level needs, or a level outside (0, 1).

    Source: the pattern of arXiv 2408.08681; claim `array.correlations`.
    """
    array = require_arrays(array, 4, 4)
    _require(permutations, level)
    parts = []
    for (chunk,) in replicates(array):
        if permutations is None:
            rows, columns = sums_of_rows(chunk), sums_of_columns(chunk)
            parts.append({"row": shared(rows, level), "column": shared(columns, level), "nothing": apart(rows, level)})
        else:
            parts.append(within_by_draws(chunk.double(), permutations, level, seed))
    return _join(parts, array.shape[:-2])


def between_correlations(
    first: Tensor,
    second: Tensor,
    *,
    columns_shared: bool = False,
    permutations: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Correlation]:
    """Correlate entries of two arrays that share a neuron, the row of both.

    With y and z the entries less the means of their columns, R_i and S_i their sums over row i, Q_y and Q_z their sums
    of squares,

        neuron:             sum_i R_i S_i / sqrt(n_y n_z Q_y Q_z)             columns not shared
                            sum_i (R_i S_i - y_i . z_i) / ((n - 1) sqrt(Q_y Q_z))     shared: other column, same neuron
        neuron and column:  sum_i y_i . z_i / sqrt(Q_y Q_z)                    shared only

    Chance: the neurons of the second array are permuted against those of the first, whole rows. A sum
    sum_i M_{i pi(i)}, M centred both ways, has mean 0 and variance |M|^2 / (m - 1). Reference: for row sums alone
    Pitman's beta law of r^2, by its two exact moments; the normal law where M has larger rank.

    Neurons must match row by row. Where they nest, the caller lays them out: r query heads that meet one key head are
    one row each of (keys, r x columns), their copies side by side; a transposed reader, such as down-projections, is
    given transposed.

    Args:
        first: (..., m, n_y) with m >= 4.
        second: (..., m, n_z) on the same neurons; n_z = n_y and the same columns where these are shared.
        columns_shared: column j of both is the same unit.
        permutations: random permutations instead of moments: O(m) each, with columns shared O(mn).
        level: probability that the interval holds under chance.
        seed: root seed of the permutations.

    Returns:
        Correlations named `neuron` and, with columns shared, `neuron and column`.

    Raises:
        ShapeError: fewer than four rows, or shapes that do not match.
        NumericsError: an entry is NaN or infinite.
        UsageError: fewer permutations than the level needs, or a level outside (0, 1).

    Source: the pattern of arXiv 2408.08681; claim `array.correlations`.
    """
    first, second = require_arrays(first, 4, 2), require_arrays(second, 4, 2)
    _require_matched(first, second, columns_shared)
    _require(permutations, level)
    parts = []
    for y, z in replicates(first, second):
        if permutations is not None:
            parts.append(between_by_draws(y.double(), z.double(), columns_shared, permutations, level, seed))
        elif columns_shared:
            scale = (sums_of_rows(y).size * sums_of_rows(z).size).sqrt()
            parts.append(neuron_and_column(_centred(y), _centred(z), scale, level))
        else:
            sums = sums_of_rows(y), sums_of_rows(z)
            parts.append({"neuron": neuron_alone(*sums, level)})
    return _join(parts, first.shape[:-2])


def _centred(array: Tensor) -> Tensor:
    """Return arrays (b, m, n) less the means of their columns."""
    return array - column_means(array).to(array.dtype).unsqueeze(1)


def _join(parts: list[dict[str, Correlation]], leading: torch.Size) -> dict[str, Correlation]:
    """Join the chunks of replicates and restore the leading axes."""
    names = [field.name for field in fields(Correlation)]

    def join(kind: str, name: str) -> Tensor:
        return torch.cat([getattr(part[kind], name) for part in parts]).reshape(leading)

    return {kind: Correlation(*(join(kind, name) for name in names)) for kind in parts[0]}


def _require(permutations: int | None, level: float) -> None:
    """Refuse a level that is none, and permutations that cannot reach it."""
    if not 0 < level < 1:
        raise UsageError(f"level {level}", "a number between 0 and 1", "give the probability of the interval")
    fewest = math.ceil(2 / (1 - level) - 1e-9) - 1
    if permutations is not None and permutations < fewest:
        found = f"{permutations} permutations at level {level:g}"
        raise UsageError(found, f"at least {fewest}", "ask for more permutations, or for None: exact moments")


def _require_matched(first: Tensor, second: Tensor, columns_shared: bool) -> None:
    """Refuse arrays that do not run over the same neurons, or over the same columns where these are shared."""
    kept = slice(None) if columns_shared else slice(None, -1)
    if first.shape[kept] != second.shape[kept] or first.dtype != second.dtype:
        found = f"arrays of shapes {tuple(first.shape)} in {first.dtype} and {tuple(second.shape)} in {second.dtype}"
        expected = "the same rows" + (" and columns" if columns_shared else "") + ", leading axes and dtype"
        raise ShapeError(found, expected, "put the shared axis first: transpose the array that reads the neurons")
