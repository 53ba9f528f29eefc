"""A small mean-field network in float64, trained with torch's own optimisers: what the closures are compared with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

WIDTHS, DATA = (2, 4, 3, 2), 3
MASSES = (1 / WIDTHS[1], 1 / (WIDTHS[1] * WIDTHS[2]), 1 / WIDTHS[2])
"""kappa_l: the masses of the two neurons of a weight; a fixed axis has masses one."""
MIDDLE = 1

Optimiser = Callable[[list[dict[str, object]]], torch.optim.Optimizer]


@dataclass
class Problem:
    """Weights of order one, inputs and targets."""

    weights: list[Tensor]
    inputs: Tensor
    targets: Tensor

    @classmethod
    def drawn(cls, seed: int) -> "Problem":
        """Draw everything from the standard Gaussian law."""
        stream = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=stream, dtype=torch.float64)

        weights = [draw(rows, columns) for columns, rows in pairwise(WIDTHS)]
        return cls(weights, draw(DATA, WIDTHS[0]), draw(DATA, WIDTHS[-1]))

    def relabelled(self, first: Tensor, second: Tensor) -> "Problem":
        """Return the problem with the neurons of both hidden axes in another order."""
        one, two, three = self.weights
        return Problem([one[first], two[second][:, first], three[:, second]], self.inputs, self.targets)

    def outputs(self, weights: list[Tensor], batch: Tensor | None = None) -> Tensor:
        """Run forward: sums over fixed axes, means over growing ones."""
        one, two, three = weights
        inputs = self.inputs if batch is None else self.inputs[batch]
        hidden = torch.tanh(inputs @ one.T)
        hidden = torch.tanh(hidden @ two.T / WIDTHS[1])
        return hidden @ three.T / WIDTHS[2]

    def risk(self, weights: list[Tensor], batch: Tensor | None = None) -> Tensor:
        """Return the mean of half the squared error."""
        targets = self.targets if batch is None else self.targets[batch]
        return (self.outputs(weights, batch) - targets).square().sum(1).mean() / 2

    def signatures(self, weights: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return (delta^l, a^(l-1)) of every layer, (n, data) each, from the definitions: no autograd."""
        one, two, three = weights
        first = torch.tanh(self.inputs @ one.T)
        second = torch.tanh(first @ two.T / WIDTHS[1])
        slope = second @ three.T / WIDTHS[2] - self.targets
        heard = (1 - second**2) * (slope @ three)
        lower = (1 - first**2) * (heard @ two / WIDTHS[2])
        return [(d.T, a.T) for d, a in ((lower, self.inputs), (heard, first), (slope, second))]


@dataclass
class Trace:
    """Signatures of every layer before each step, and the weights at the end."""

    signatures: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)


def train(
    problem: Problem,
    optimiser: Optimiser,
    groups: Callable[[float], dict[str, object]],
    steps: int,
    *,
    metric: bool = False,
    adjust: Callable[[list[Tensor], int], None] | None = None,
    after: Callable[[list[Tensor], int], None] | None = None,
    batches: Tensor | None = None,
) -> Trace:
    """Train with an optimiser of torch.

    Args:
        problem: where to start.
        optimiser: makes the optimiser of parameter groups.
        groups: options of the group of a layer, a function of its kappa.
        steps: how many.
        metric: parameters are kappa^(1/2) W, whose gradients are those in the metric of the masses.
        adjust: changes the parameters' gradients before each step.
        after: changes the parameters after each step.
        batches: data of every step, (steps, size); all data when absent.
    """
    scales = [kappa**0.5 if metric else 1.0 for kappa in MASSES]
    leaves = [(w * c).clone().requires_grad_() for w, c in zip(problem.weights, scales, strict=True)]
    engine = optimiser([{"params": [leaf], **groups(kappa)} for leaf, kappa in zip(leaves, MASSES, strict=True)])
    trace = Trace()
    for step in range(steps):
        weights = [leaf / c for leaf, c in zip(leaves, scales, strict=True)]
        trace.signatures.append(problem.signatures([w.detach() for w in weights]))
        engine.zero_grad()
        problem.risk(weights, None if batches is None else batches[step]).backward()
        if adjust is not None:
            adjust(leaves, step)
        engine.step()
        if after is not None:
            with torch.no_grad():
                after(leaves, step)
    trace.weights = [leaf.detach() / c for leaf, c in zip(leaves, scales, strict=True)]
    return trace
