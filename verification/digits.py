"""Handwritten digits, and the mean-field network that learns them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import sqrt

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from rctheory.dynamics import CROSS_ENTROPY, TANH, Ansatz, Network, train
from rctheory.measures import GaussianLaw, RCKernel, SeparableKernel, coordinates, leading
from rctheory.numerics import generator

TRAINING = 1437  # of 1797: four fifths, as is usual for this set
LATENT = 16
BATCH, STEPS, STEP = 128, 400, 1.0


@dataclass(frozen=True)
class Split:
    """Inputs (B, 65): pixels in [0, 1], centred on the training mean, and a constant 1; labels (B,)."""

    x: Tensor
    labels: Tensor


@cache
def digits() -> tuple[Split, Split]:
    """Return training and held-out digits. The split is fixed: it does not follow the seed of a run."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=generator(0, "digits", "split"))
    pixels = torch.from_numpy(data.data).float()[order] / 16
    labels = torch.from_numpy(data.target)[order]
    centred = pixels - pixels[:TRAINING].mean(dim=0)
    x = torch.cat([centred, torch.ones(len(centred), 1)], dim=1)
    return Split(x[:TRAINING], labels[:TRAINING]), Split(x[TRAINING:], labels[TRAINING:])


def ansatz(inputs: int = 65, *, gain: float = 2.0, residual: float = 0.5, law: int = 0) -> Ansatz:
    """Return two hidden tanh layers with Gaussian latents of dimension 16 and bilinear kernels.

    Coefficients are drawn once and do not follow the seed: they are part of the law. The middle matrix has a residual.

    Args:
        inputs: number of inputs, the constant included.
        gain: size of the middle matrix's mean kernel: its entries have the standard deviation `gain`; 0 leaves the
            residual alone.
        residual: standard deviation of the middle matrix's residual.
        law: which coefficients; another number is another law.
    """
    latents = GaussianLaw(LATENT)
    latent = leading(LATENT)
    first = SeparableKernel(latent, _coefficients(LATENT, inputs, law), coordinates(inputs))
    middle = SeparableKernel(latent, gain * _coefficients(LATENT, LATENT, law) / sqrt(LATENT), latent)
    last = SeparableKernel(coordinates(10), 0.3 * _coefficients(10, LATENT, law), latent)
    kernels = (RCKernel(first), RCKernel(middle, residual=residual), RCKernel(last))
    return Ansatz(inputs, 10, (latents, latents), kernels, TANH)


def trained_network(width: int, seed: int, device: torch.device) -> Network:
    """Return one network of equal hidden widths, trained by mini-batch SGD at mean-field rates (in-process cache)."""
    return _trained(width, seed, str(device))


@cache
def _trained(width: int, seed: int, device: str) -> Network:
    network = ansatz().sample((width, width), [0], root=seed, dtype=torch.float32, device=device)
    data, _ = digits()
    targets = torch.nn.functional.one_hot(data.labels, 10).float()
    x, y = data.x.to(device), targets.to(device)
    trained = train(network, x, y, step=STEP, steps=STEPS, loss=CROSS_ENTROPY, batches=_batches(seed, device))
    return Network(tuple(w[0] for w in trained.weights), trained.masses, trained.activation)


def _coefficients(rows: int, columns: int, law: int) -> Tensor:
    """Draw coefficients of variance 1 / 16."""
    stream = generator(law, "digits", "kernel", rows, columns)
    return torch.randn(rows, columns, generator=stream, dtype=torch.float64) / sqrt(LATENT)


def _batches(seed: int, device: str) -> Iterator[Tensor]:
    """Draw mini-batches; the same sequence for every width."""
    stream = generator(seed, "digits", "batches")
    for _ in range(STEPS):
        yield torch.randint(TRAINING, (BATCH,), generator=stream).to(device)
