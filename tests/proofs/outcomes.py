"""Finite probability spaces: every outcome of latents, residuals and draws, with its probability."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from sympy import IndexedBase
from torch import Tensor


@dataclass(frozen=True)
class Outcomes:
    """A finite probability space: arrays with a leading axis of outcomes, and the probability of each."""

    arrays: dict[IndexedBase, Tensor]
    probability: Tensor


def _signs(cells: int) -> Tensor:
    return torch.tensor(list(itertools.product((-1, 1), repeat=cells)), dtype=torch.float64)


def latent_outcomes(axes: dict[str, str], residuals: tuple[str, ...], deviation: float, seed: int) -> Outcomes:
    """Return every outcome of three neurons on each axis with two latent values, and of two-valued residuals.

    Args:
        axes: for every array of functions of latents, the axes of its indices, such as "21" for a kernel.
        residuals: names of residual arrays over (axis 1) or (axis 2, axis 1).
        deviation: standard deviation of a residual.
        seed: of the functions.
    """
    random = np.random.default_rng(seed)
    chances = torch.tensor([0.3, 0.7], dtype=torch.float64)
    latents = torch.tensor(list(itertools.product((0, 1), repeat=6)))
    weight = chances[latents].prod(1)
    cells = {"xi": (3, 3), "zeta": (3,)}
    signs = [_signs(math.prod(cells[name])) for name in residuals]
    counts = [len(latents), *map(len, signs)]
    grid = torch.cartesian_prod(*map(torch.arange, counts)) if signs else torch.arange(len(latents))[:, None]
    positions = {"1": latents[:, :3], "2": latents[:, 3:]}
    arrays = {}
    for name, used in axes.items():
        table = torch.from_numpy(random.uniform(-1, 1, (2,) * len(used)))
        first = positions[used[0]]
        values = table[first] if len(used) == 1 else table[first[:, :, None], positions[used[1]][:, None, :]]
        arrays[IndexedBase(name, real=True)] = values[grid[:, 0]]
    for place, name in enumerate(residuals):
        values = deviation * signs[place].reshape(-1, *cells[name])
        arrays[IndexedBase(name, real=True)] = values[grid[:, place + 1]]
    return Outcomes(arrays, weight[grid[:, 0]] / math.prod(counts[1:]))


def draw_outcomes(draws: dict[str, bool], population: int, size: int) -> Outcomes:
    """Return every outcome of independent designs; each is drawn with replacement (True) or without (False)."""
    units = range(1, population + 1)
    spaces = [
        list(itertools.product(units, repeat=size) if replaced else itertools.permutations(units, size))
        for replaced in draws.values()
    ]
    outcomes = torch.tensor(list(itertools.product(*spaces)))
    arrays = {IndexedBase(name, real=True): outcomes[:, place] for place, name in enumerate(draws)}
    return Outcomes(arrays, torch.full((len(outcomes),), 1 / len(outcomes), dtype=torch.float64))
