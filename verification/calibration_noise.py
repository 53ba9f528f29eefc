"""Arrays without structure: the noises under which tests and intervals are calibrated."""

from collections.abc import Callable, Mapping
from math import pi

import torch
from torch import Tensor

Shape = tuple[int, int, int]
"""(replicates, m, n)"""
BLOCK = 32
SPREAD = 0.7  # sd of the logarithms of the scales of rows and of columns


def _gaussian(shape: Shape, stream: torch.Generator) -> Tensor:
    """Draw standard normal entries."""
    return torch.randn(shape, generator=stream)


def _uniform(shape: Shape, stream: torch.Generator) -> Tensor:
    """Draw uniform entries on (-1/2, 1/2)."""
    return torch.rand(shape, generator=stream) - 0.5


def student(freedom: int) -> Callable[[Shape, torch.Generator], Tensor]:
    """Return a sampler of Student's t by Bailey's polar method (1994), exact."""

    def draw(shape: Shape, stream: torch.Generator) -> Tensor:
        u = 1 - torch.rand(shape, generator=stream)  # in (0, 1]
        angle = torch.rand(shape, generator=stream) * (2 * pi)
        radius = torch.sqrt(freedom * (u.pow(-2 / freedom) - 1))
        return radius * torch.cos(angle)

    return draw


def _exponential(shape: Shape, stream: torch.Generator) -> Tensor:
    """Draw centred exponential entries: skewness 2."""
    return torch.empty(shape).exponential_(generator=stream) - 1


def _quantised(shape: Shape, stream: torch.Generator) -> Tensor:
    """Round standard normal entries as Q4_1 does: 16 levels between minimum and maximum of each 32 along a row."""
    blocks = torch.randn(shape, generator=stream).unflatten(-1, (-1, BLOCK))
    low, high = blocks.amin(dim=-1, keepdim=True), blocks.amax(dim=-1, keepdim=True)
    low, step = low.half().float(), ((high - low) / 15).half().float()
    levels = torch.round((blocks - low) / step).clamp(0, 15)
    return torch.flatten(levels * step + low, -2)


def scales(shape: Shape, stream: torch.Generator, spared: str) -> Tensor:
    """Draw lognormal scales of rows and of columns; the axis `spared` keeps equal ones."""
    count, m, n = shape
    rows = SPREAD * (spared != "rows") * torch.randn(count, m, 1, generator=stream)
    columns = SPREAD * (spared != "columns") * torch.randn(count, 1, n, generator=stream)
    return (rows + columns).exp()


def _product(shape: Shape, stream: torch.Generator) -> Tensor:
    """Draw r_i c_j + noise, all standard normal: interaction without mean effects."""
    count, m, n = shape
    product = torch.randn(count, m, 1, generator=stream) * torch.randn(count, 1, n, generator=stream)
    return product + torch.randn(shape, generator=stream)


INTERACTION = "interaction"
PROFILE = "scale profile"
NOISES: Mapping[str, Callable[[Shape, torch.Generator], Tensor]] = {
    "Gaussian": _gaussian,
    "uniform": _uniform,
    "t6": student(6),
    "t3": student(3),
    "exponential": _exponential,
    PROFILE: _gaussian,
    "blocks of Q4_1": _quantised,
    INTERACTION: _product,
}


def draw(noise: str, shape: Shape, stream: torch.Generator, spared: str = "") -> Tensor:
    """Draw arrays (replicates, m, n), float32, of one noise; n is a multiple of 32."""
    arrays = NOISES[noise](shape, stream)
    return arrays * scales(shape, stream, spared) if noise == PROFILE else arrays
