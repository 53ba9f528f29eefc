"""Networks of many widths on one task, trained, moved between widths and trained on: the means of `mlp.growth`."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from rctheory.dynamics import CROSS_ENTROPY, Network, risk
from rctheory.dynamics.training import Observer
from rctheory.measures import DESIGNS
from rctheory.numerics import generator
from rctheory.suite.experiment import Tier
from rctheory.transfer import draw_plan
from verification.digits import Split
from verification.tasks import STEP, Task, gaussian, one_hot, run
from verification.transfers import duplicate, layout_of, resample

EVERY = 4  # steps between two looks at the loss
SAMPLE = 512  # training inputs whose loss is looked at
HELD_OUT = 1000


@dataclass(frozen=True)
class Plan:
    """How much a tier does.

    Args:
        widths: of the table of all pairs.
        ladder: widths that are doubled for the rate.
        most: how many networks of a width at most; `area`^2 / n^2 of width n, at least `least`.
        least: see `most`.
        area: see `most`.
        steps: of the first training; so many more are allowed afterwards.
        more: steps after which the grown network is compared.
    """

    widths: tuple[int, ...]
    ladder: tuple[int, ...]
    most: int
    least: int
    area: int
    steps: int
    more: int

    def seeds(self, n: int) -> int:
        """Return how many networks of width n to train."""
        return max(self.least, min(self.most, self.area**2 // n**2))


LADDER = (32, 48, 64, 96, 128, 192)
PLANS = {
    Tier.SMOKE: Plan((32, 64, 128), LADDER, most=48, least=12, area=1024, steps=60, more=20),
    Tier.CI: Plan((64, 128, 256, 512), (*LADDER, 256), most=48, least=6, area=1280, steps=200, more=50),
    Tier.FULL: Plan(
        (64, 128, 256, 512, 1024, 2048),
        (*LADDER, 256, 384, 512, 1024),
        most=64,
        least=8,
        area=8192,
        steps=400,
        more=100,
    ),
}


@dataclass(frozen=True)
class Lab:
    """One task at one tier on one device: it trains, looks and moves; what it trained is kept in the process."""

    task: Task
    plan: Plan
    root: int
    device: torch.device

    def data(self) -> tuple[Split, Split, Split]:
        """Return training data, a sample of them, and held-out data."""
        training, held_out = self.task.data()
        picks = torch.randperm(len(training.x), generator=generator(self.root, "growth", "sample"))[:SAMPLE]
        parts = ((training.x, training.labels), (training.x[picks], training.labels[picks]))
        rest = (held_out.x[:HELD_OUT], held_out.labels[:HELD_OUT])
        first, sample, out = (Split(x.to(self.device), labels.to(self.device)) for x, labels in (*parts, rest))
        return first, sample, out

    def go_on(self, network: Network, steps: int, observer: Observer | None = None, step: float = STEP) -> Network:
        """Train for more steps after the first training."""
        return run(network, self.data()[0], self.root, self.plan.steps, steps, observer=observer, step=step)

    def loss(self, network: Network) -> Tensor:
        """Return the training loss on the sample, (seeds,)."""
        sample = self.data()[1]
        return risk(network, sample.x, one_hot(sample.labels), CROSS_ENTROPY)

    def look(self, network: Network) -> Tensor:
        """Return held-out accuracy and training loss, (seeds, 2)."""
        out = self.data()[2]
        right = (network.outputs(out.x).argmax(dim=-1) == out.labels).double().mean(dim=-1)
        return torch.stack([right, self.loss(network).double()], dim=-1).cpu()


@cache
def trained(lab: Lab, width: int, seeds: int) -> tuple[Network, Network]:
    """Return networks of one width after the first training, and after `more` steps; once in a process.

    The streams of random numbers are named by the width: networks of different widths are independent.
    """
    data = lab.data()[0]
    start = gaussian(data.x.shape[1]).sample(
        (width, width), range(seeds), root=lab.root, dtype=torch.float32, device=lab.device
    )
    network = run(start, data, lab.root, 0, lab.plan.steps)
    return network, lab.go_on(network, lab.plan.more)


def move(network: Network, width: int, root: int, *, tied: bool = True) -> Network:
    """Return networks grown by balanced copies, which share the mass of their source, or shrunk to a random part."""
    n = network.widths[1]
    if width < n:
        return resample(network, width, DESIGNS["without-replacement"], root, tied=tied)
    names = [f"hidden.{layer}" for layer in range(1, len(network.weights))]
    plan = draw_plan(layout_of(network), dict.fromkeys(names, width), DESIGNS["balanced"], root)
    if tied:
        return duplicate(network, plan)
    return duplicate(network, plan, {name: _shuffled(indices, root, name) for name, indices in plan.items()})


def _shuffled(indices: Tensor, root: int, name: str) -> Tensor:
    return indices[torch.randperm(len(indices), generator=generator(root, "growth", "untied", name))]
