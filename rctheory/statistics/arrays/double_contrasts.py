"""The four-cycle test on disjoint double contrasts: exact at any size, by random flips of signs."""

import torch
from torch import Tensor

from rctheory.numerics import generator
from rctheory.statistics.arrays.cycles import cycle_sum, short_side_first


def flip_test(W: Tensor, seed: int, flips: int) -> tuple[Tensor, Tensor, Tensor]:
    """Test arrays (k, m, n) for interaction by random sign flips of double contrasts D, (k, m // 2, n // 2).

    No entry is in two contrasts: under the null they are independent, and symmetric for identically distributed noise
    of any law, for noise whose law depends on its row alone or its column alone, and for symmetric noise of any scales.
    Given their sizes their signs are then fair coins, and p = (1 + #{S of flipped signs >= S}) / (B + 1) is exact, with
    S = sum_{i != k, j != l} D_ij D_kj D_kl D_il.

    Returns:
        S over its standard deviation under all flips, p, and the effect of `interaction`; NaN where no contrast differs
        from zero by more than rounding.
    """
    D = short_side_first(double_contrasts(W, seed))
    size = D.abs().amax(dim=(-1, -2), keepdim=True)
    rounding = 8 * torch.finfo(D.dtype).eps * W.abs().amax(dim=(-1, -2), keepdim=True)
    D = D / torch.where(size > rounding, size, torch.nan)
    M, N = D.shape[-2:]
    total = cycle_sum(D)[0]
    z = total / (2 * cycle_sum(D.square())[0].sqrt())
    stream = generator(seed, "interaction", "flips", M, N)
    slack = 1e-5 * total.abs()  # a flip that leaves every cycle alone must count as equal, rounding or not
    reached = torch.ones_like(total)
    for _ in range(flips):
        signs = torch.randint(0, 2, (M, N), generator=stream).to(D) * 2 - 1
        reached += cycle_sum(D * signs)[0] >= total - slack
    mean_cycle = total / (M * (M - 1) * N * (N - 1))
    effect = mean_cycle.sign() * mean_cycle.abs().sqrt() / D.square().double().mean(dim=(-1, -2))
    return z, torch.where(z.isnan(), torch.nan, reached / (flips + 1)), effect


def double_contrasts(W: Tensor, seed: int) -> Tensor:
    """Return D = (W_ij - W_kj - W_il + W_kl) / 2 over random pairs of rows and of columns, (..., m // 2, n // 2)."""
    for dim in (-2, -1):
        size = W.shape[dim]
        order = torch.randperm(size, generator=generator(seed, "interaction", "pairs", dim, size)).to(W.device)
        half = size // 2
        W = W.index_select(dim, order[:half]) - W.index_select(dim, order[half : 2 * half])
    return W / 2
