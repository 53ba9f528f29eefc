"""How much each unit of an axis matters, from the weights that touch it alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from rctheory.checkpoints.checkpoint import Checkpoint

FLOOR = 1e-3  # of the mean importance: every unit keeps a chance, without which no estimate is unbiased


def weight_importance(checkpoint: Checkpoint) -> Callable[[str], Tensor]:
    """Return what measures the units of an axis instance: r_j w_j, (n,) float64, floored at 1e-3 of the mean.

    r_j is the geometric mean, over the matrices that read the axis, of the root mean square of the weights that read
    unit j; w_j the same over those that write it. Their product is the scale of what the unit passes on, as in
    magnitude pruning; it is the same whatever scale a neuron's weights are given between writing and reading. A matrix
    is read once for each of its axes that is asked for.
    """

    def importance(axis: str) -> Tensor:
        layout = checkpoint.layout
        logs: dict[bool, list[Tensor]] = {}
        for touch in layout.touches(axis):
            tensor = layout.tensors[touch.tensor]
            if len(tensor.nests) > 1:
                squares = checkpoint.tensor(touch.tensor).square_()
                parts = squares.unflatten(
                    touch.dimension, [instance.size for instance in tensor.nests[touch.dimension]]
                )
                others = [d for d in range(parts.ndim) if d != touch.dimension + touch.place]
                mean = parts.mean(dim=others, dtype=torch.float64)
                logs.setdefault(touch.dimension == tensor.reads, []).append(mean.clamp(min=1e-300).log() / 2)
        total = torch.stack([torch.stack(values).mean(dim=0) for values in logs.values()]).sum(dim=0)
        found = (total - total.max()).exp()
        return found.clamp(min=FLOOR * float(found.mean()))

    return importance
