"""Real tasks that mean-field networks learn: data, and the networks that were trained on them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import pi, sqrt

import torch
from torch import Tensor

from rctheory.dynamics import CROSS_ENTROPY, TANH, Ansatz, Network, train
from rctheory.measures import RCKernel, SeparableKernel, UniformLaw, coordinates, trigonometric
from rctheory.numerics import generator
from verification import cifar10, digits, fashion
from verification.digits import Split

BATCH, STEP = 128, 1.0
ORDER = 4  # of the waves in the latent
Law = Callable[[int], Ansatz]


def _nothing() -> None:
    """Require nothing."""


@dataclass(frozen=True)
class Task:
    """A classification task with ten classes.

    Args:
        title: what is classified.
        data: training and held-out data.
        requires: raises where the data set is not there.
    """

    title: str
    data: Callable[[], tuple[Split, Split]]
    requires: Callable[[], object] = _nothing


DIGITS = Task("digits", digits.digits)
FASHION = Task("Fashion-MNIST", fashion.fashion, fashion.folder)
CIFAR10 = Task("CIFAR-10", cifar10.cifar10, cifar10.place)


def line(inputs: int) -> Ansatz:
    """Return two hidden tanh layers whose neurons lie on a line: latents uniform on [-1, 1], kernels of waves.

    The middle matrix has a residual of half the size of the coefficients' scale, as on the 16-dimensional latents of
    `verification.digits.ansatz`. Coefficients are part of the law: they do not follow the seed of a run.
    """
    size, law, waves = 2 * ORDER + 1, UniformLaw(), trigonometric(ORDER, pi)
    first = SeparableKernel(waves, _coefficients(size, inputs), coordinates(inputs))
    middle = SeparableKernel(waves, 2.0 * _coefficients(size, size), waves)
    last = SeparableKernel(coordinates(10), 0.3 * _coefficients(10, size), waves)
    return Ansatz(inputs, 10, (law, law), (RCKernel(first), RCKernel(middle, residual=0.5), RCKernel(last)), TANH)


def gaussian(inputs: int) -> Ansatz:
    """Return the ansatz of the digits, on Gaussian latents of dimension 16."""
    return digits.ansatz(inputs)


def batches(count: int, root: int, first: int, steps: int) -> Iterator[Tensor]:
    """Draw the mini-batches of steps `first` to `first + steps`: the same for every network, whatever its width."""
    for index in range(first, first + steps):
        yield torch.randint(count, (BATCH,), generator=generator(root, "tasks", "batch", index))


def run(network: Network, data: Split, root: int, first: int, steps: int, **options: object) -> Network:
    """Train a network by mini-batch SGD at mean-field rates, from step `first` on."""
    x, y = (part.to(network.weights[0]) for part in (data.x, one_hot(data.labels)))
    picks = (pick.to(x.device) for pick in batches(len(x), root, first, steps))
    step = float(options.pop("step", STEP))  # type: ignore[arg-type]  # a number
    return train(network, x, y, step=step, steps=steps, loss=CROSS_ENTROPY, batches=picks, **options)  # type: ignore[arg-type]  # an observer


def one_hot(labels: Tensor) -> Tensor:
    """Return class probabilities (B, 10) of labels (B,)."""
    return torch.nn.functional.one_hot(labels, 10).float()


@cache
def trained(task: Task, law: Law, width: int, steps: int, root: int, device: torch.device) -> Network:
    """Return one network of equal hidden widths, trained once in a process."""
    data, _ = task.data()
    start = law(data.x.shape[1]).sample((width, width), [0], root=root, dtype=torch.float32, device=device)
    network = run(start, data, root, 0, steps)
    return Network(tuple(w[0] for w in network.weights), network.masses, network.activation)


def _coefficients(rows: int, columns: int) -> Tensor:
    """Draw coefficients that give entries of variance one: cosine and sine of a wave add up to 1."""
    stream = generator(0, "tasks", "kernel", rows, columns)
    return torch.randn(rows, columns, generator=stream, dtype=torch.float64) / sqrt(1 + ORDER)
