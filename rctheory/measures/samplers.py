"""Samplers of latents that cover a law more evenly than independent draws do."""

import torch
from torch import Tensor

from rctheory.errors import LawError
from rctheory.measures.laws import NeuronLaw


def stratified(law: NeuronLaw, n: int, stream: torch.Generator) -> Tensor:
    """Draw one latent in each of n strata of equal mass, in every coordinate: (n, k), float64.

    In dimension 1 the mean of a smooth function has a standard deviation of order n^(-3/2); in higher dimension the
    strata of the coordinates are matched at random (a Latin hypercube), which takes out the additive part only. Each
    latent has the law mu, at a random place.

    Raises:
        LawError: n is not positive, or the law has no quantile function.

    Source: claim `sampling.design`.
    """
    if n < 1:
        raise LawError(f"{n} strata", "at least 1", "use a width of at least 1")
    strata = torch.stack([torch.randperm(n, generator=stream) for _ in range(law.dimension)], dim=-1)
    shares = (strata + torch.rand(n, law.dimension, generator=stream, dtype=torch.float64)) / n
    # A share of 0 would be an infinite latent of an unbounded law; the nearest float above it is not.
    return torch.from_numpy(law.quantile(shares.clamp_(min=torch.finfo(torch.float64).tiny).numpy()))
