"""Dissociation under every noise: grand means of arrays with row effects, over seeds and sizes."""

import torch
from torch import Tensor

from rctheory.statistics.arrays import dissociation
from rctheory.suite.experiment import Context
from verification.calibration_noise import draw

SIZES = (1, 2, 3, 4)
SHAPE = (4, 32)  # of the smallest; the others are whole multiples
SEEDS = 16
BATCH = 100  # replicates at a time


def dissociation_p_values(context: Context, noise: str, replicates: int, effect: float = 1.0) -> Tensor:
    """Return p-values (replicates,) of the test that no latent is shared by all entries.

    A replicate has 16 arrays of each of four sizes, W_ij = effect r_i + noise_ij with r standard normal: dissociated.
    With `effect` 0 there is noise alone, and Var(mean) of order 1/n^2.
    """
    means = torch.empty(replicates, len(SIZES), SEEDS)
    for start in range(0, replicates, BATCH):
        count = min(BATCH, replicates - start)
        for place, size in enumerate(SIZES):
            stream = context.generator("calibration", "dissociation", noise, start, size)
            m, n = size * SHAPE[0], size * SHAPE[1]
            arrays = draw(noise, (count * SEEDS, m, n), stream)
            rows = effect * torch.randn(count * SEEDS, m, generator=stream)
            means[start : start + count, place] = (arrays.mean(dim=(-1, -2)) + rows.mean(dim=-1)).view(count, SEEDS)
    sizes = torch.tensor(SIZES)
    return torch.tensor([dissociation(values, sizes).p_value for values in means], dtype=torch.float64)
