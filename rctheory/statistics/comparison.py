"""Two samples of unit signatures: does one law stand behind both?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.numerics import chunks, numpy_generator, require_finite

MOST_UNITS = 2048  # of each sample: the distances of 2 x 2048 units take 67 MB
BATCH_BYTES = 16 << 20  # of the relabellings that are compared at once
NORMAL_MAD = 1.482602218505602  # sd over the median absolute deviation of a Gaussian
NULL_LEVELS = (0.025, 0.975)
Labels = Callable[[np.random.Generator, int, int, int], np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """How far two samples are apart, and how far chance would put them.

    Args:
        distance: square root of the energy distance, in pooled standard deviations.
        p_value: exact when all units are exchangeable between the samples, on the grid 1/(B+1), ..., 1.
        null_low: 2.5% quantile of the distance over random relabellings.
        null_high: 97.5% quantile.
        permutations: B.
        units: how many units of each sample were compared.
        shifts: for each coordinate, median of the second sample minus that of the first, in pooled standard deviations.
        spreads: for each coordinate, log of the scale of the second sample over that of the first.
        correlations: for each coordinate, the correlation of paired units; empty where the samples are not paired.
    """

    distance: float
    p_value: float
    null_low: float
    null_high: float
    permutations: int
    units: tuple[int, int]
    shifts: tuple[float, ...]
    spreads: tuple[float, ...]
    correlations: tuple[float, ...] = ()


def compare_laws(x: Tensor, y: Tensor, *, permutations: int, seed: int, paired: bool = False) -> Comparison:
    """Test that two samples of signatures have one law, and say how far apart they are.

    After each coordinate is centred and scaled by the median and the median absolute deviation of both samples
    together, the energy distance of the empirical laws is

        E = 2 mean |x_i - y_j| - mean |x_i - x_j| - mean |y_i - y_j|  =  - s^T D s >= 0,

    with D the distances of all units and s = 1/n on the first sample, -1/m on the second. It vanishes in the limit
    exactly when the laws agree. Relabelling changes s alone: all B relabellings are one product with D. Then
    p = (1 + #{k >= 1 : E^k >= E^0}) / (B + 1), exact when the n + m units are exchangeable: one law, fixed or random,
    shared by both samples. Units of one model are exchangeable among themselves without being independent; that two
    models share one law is what the test asks.

    Paired units (one model at two times) are relabelled by swaps inside pairs, exact when the two of each pair are
    exchangeable; the samples may depend on each other.

    Of a sample of more than 2048 units, 2048 are drawn without replacement (the same of both when paired). The cost is
    O((n + m)^2 (d + B)) with at most 4096 units together.

    Args:
        x: signatures (n, d) of the first sample.
        y: signatures (m, d) of the second.
        permutations: B.
        seed: root seed of the streams.
        paired: unit i of x and unit i of y are one unit.

    Raises:
        UsageError: B < 1.
        ShapeError: not two samples of at least two units of the same number of coordinates, or pairs that do not match.
        NumericsError: an entry is NaN or infinite.

    Source: G. Szekely and M. Rizzo, Energy statistics, 2013.
    """
    if permutations < 1:
        raise UsageError(f"{permutations} permutations", "at least 1", "ask for more permutations")
    _check(x, y, paired)
    x, y = _thin(x, y, paired, seed)
    pooled = require_finite("the signatures", torch.cat([x, y]).to(torch.float64))
    centre, scale = _locate(pooled)
    standard = (pooled - centre) / scale
    labels = _swaps if paired else _relabellings
    energies = _energies(standard.to(torch.float32), labels, len(x), permutations, seed)
    distances = np.sqrt(energies.clip(min=0.0))
    low, high = torch.from_numpy(distances[1:]).quantile(torch.tensor(NULL_LEVELS, dtype=torch.float64)).tolist()
    first, second = standard[: len(x)], standard[len(x) :]
    (centre_x, scale_x), (centre_y, scale_y) = _locate(first), _locate(second)
    return Comparison(
        float(distances[0]),
        int((energies >= energies[0]).sum()) / len(energies),
        low,
        high,
        permutations,
        (len(x), len(y)),
        tuple((centre_y - centre_x).tolist()),
        tuple((scale_y / scale_x).log().tolist()),
        tuple(_correlations(first, second).tolist()) if paired else (),
    )


def _check(x: Tensor, y: Tensor, paired: bool) -> None:
    """Refuse what are no two samples."""
    fit = x.dim() == y.dim() == 2 and x.shape[1] == y.shape[1] >= 1 and min(len(x), len(y)) >= 2
    if not fit:
        found = f"samples of shapes {tuple(x.shape)} and {tuple(y.shape)}"
        raise ShapeError(found, "(n, d) and (m, d) with n, m >= 2 and d >= 1", "compare signatures of the same slices")
    if paired and len(x) != len(y):
        raise ShapeError(f"pairs of {len(x)} and {len(y)} units", "as many of each", "compare them unpaired")


def _thin(x: Tensor, y: Tensor, paired: bool, seed: int) -> tuple[Tensor, Tensor]:
    """Keep at most `MOST_UNITS` units of each sample."""
    kept = []
    for number, sample in enumerate((x, y)):
        if len(sample) > MOST_UNITS:
            random = numpy_generator(seed, "comparison", "units", 0 if paired else number)
            sample = sample[torch.from_numpy(random.permutation(len(sample))[:MOST_UNITS])]
        kept.append(sample)
    return kept[0], kept[1]


def _locate(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Return median and scale of each coordinate; where most units are equal the sd, and 1 where all are."""
    centre = sample.median(dim=0).values
    robust = NORMAL_MAD * (sample - centre).abs().median(dim=0).values
    spread = sample.std(dim=0, correction=0)
    scale = torch.where(robust > 0, robust, spread)
    return centre, torch.where(scale > 0, scale, 1.0)


def _relabellings(random: np.random.Generator, count: int, first: int, units: int) -> np.ndarray:
    """Draw s for random splits of all units into samples of the same sizes, (count, units)."""
    # Eight bytes each: numpy shuffles them several times faster than four.
    wide = np.tile(_split(first, units).astype(np.float64), (count, 1))
    return random.permuted(wide, axis=1, out=wide).astype(np.float32)


def _split(first: int, units: int) -> np.ndarray:
    """Return s of the samples as they are: 1/n on the first n units, -1/m on the others."""
    return np.repeat(np.array([1 / first, -1 / (units - first)], dtype=np.float32), [first, units - first])


def _swaps(random: np.random.Generator, count: int, first: int, units: int) -> np.ndarray:
    """Draw s for random swaps inside pairs, (count, units)."""
    signs = random.integers(0, 2, (count, first), dtype=np.int8).astype(np.float32) * 2 - 1
    return np.concatenate([signs, -signs], axis=1) / np.float32(first)


def _correlations(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation of each coordinate over pairs; NaN where one of them does not vary."""
    parts = []
    for values in (first, second):
        centred = values - values.mean(dim=0)
        # What centring leaves of equal numbers is rounding, not 0.
        rounding = 8 * torch.finfo(values.dtype).eps * values.abs().amax(dim=0)
        parts.append(torch.where(centred.abs().amax(dim=0) > rounding, centred, torch.nan))
    x, y = parts
    return (x * y).sum(dim=0) / (x.square().sum(dim=0) * y.square().sum(dim=0)).sqrt()


def _energies(standard: Tensor, labels: Labels, first: int, permutations: int, seed: int) -> np.ndarray:
    """Return E for the labels as they are and for B random ones, (B + 1,)."""
    distances = torch.cdist(standard, standard)
    # s sums to zero, so centring changes no energy; what is left is small and loses little to rounding.
    distances -= distances.mean(dim=0)
    distances -= distances.mean(dim=1, keepdim=True)
    random = numpy_generator(seed, "comparison", "labels")
    units = len(standard)
    energies = np.empty(permutations + 1)
    for batch in chunks(permutations + 1, 8 * units, BATCH_BYTES):
        s = labels(random, len(batch), first, units)
        if batch.start == 0:
            s[0] = _split(first, units)
        relabelled = torch.from_numpy(s)
        energies[batch.start : batch.stop] = -((relabelled @ distances) * relabelled).sum(dim=1).double().numpy()
    return energies
