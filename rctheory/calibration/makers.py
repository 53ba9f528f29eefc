"""Fit what makes the units that are kept, not only what reads them: nonlinear least squares of one layer.

A feed-forward layer is a function of its input alone, and all its units are there to say what it writes wherever the
calibration text goes. The m units that are kept are a smaller function f_theta of the same form:

    min over theta of  sum_t w_t^2 |f_theta(x_t) - z_t|^2 / sum_t w_t^2 |z_t|^2,

x_t what enters the smaller layer, z_t and w_t the outputs that are asked for and the weights of tokens of
`calibration.compensation`. Least squares for the reader starts it, Adam with a step that falls to zero follows, and
least squares for the reader ends it. Gradients stay inside the layer. Kept copies become units of their own: what is
left is no longer a sample of the source's units.

Source: own; distillation of one layer on its own input (arXiv 1412.6550 for whole blocks).
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rctheory.architectures.layout import Touch
from rctheory.architectures.readers import Reader
from rctheory.architectures.storage import Naming
from rctheory.errors import NumericsError
from rctheory.numerics import generator, native_products
from rctheory.transfer.layers import LayeredModel

BATCH = 256  # tokens of a step
RATE = 0.03  # first step of Adam, relative to the root mean square of a matrix
ENOUGH = 8  # tokens of text for every unit that is kept: with 4 a fit is worse on new text than copies, with 10 better
DECAYS = (0.9, 0.99)  # of Adam's averages: a fit has hundreds of steps, not thousands


@dataclass(frozen=True)
class Makers:
    """What makes and reads the units of an axis: one module from the stream to the stream.

    Args:
        module: the feed-forward module of a layer.
        parameters: by declared name, the parameter inside the module and the place where the axis runs over it.
        reader: declared name of the matrix that reads the units.
    """

    module: nn.Module
    parameters: Mapping[str, tuple[str, Touch]]
    reader: str

    def small(self, kept: Tensor, weights: Tensor) -> nn.Module:
        """Return a copy of the module with the units that are kept, and these weights (m, D) to read them."""
        small = copy.deepcopy(self.module)
        for name, (inside, touch) in self.parameters.items():
            whole = small.get_parameter(inside).detach()
            part = whole.index_select(touch.dimension, kept)
            if name == self.reader:
                part = (weights if touch.dimension == 0 else weights.T).to(whole)
            path, _, leaf = inside.rpartition(".")
            owner = small.get_submodule(path)
            setattr(owner, leaf, nn.Parameter(part.contiguous()))
            if hasattr(owner, "nf") and name != self.reader:
                owner.__dict__["nf"] = len(kept)  # by which Conv1D of transformers shapes its output
        return small

    def bias(self) -> Tensor | float:
        """Return what the module writes beside the units."""
        path = self.parameters[self.reader][0].rpartition(".")[0]
        bias: Tensor | None = getattr(self.module.get_submodule(path), "bias", None)
        return 0.0 if bias is None else bias

    def reading(self, small: nn.Module) -> nn.Module:
        """Return the module inside a copy that reads the units."""
        return small.get_submodule(self.parameters[self.reader][0].rpartition(".")[0])

    def read_by(self, small: nn.Module) -> Tensor:
        """Return the matrix inside a copy that reads the units, (m, D)."""
        inside, touch = self.parameters[self.reader]
        weight = small.get_parameter(inside).detach()
        return weight if touch.dimension == 0 else weight.T

    def fitted(self, small: nn.Module) -> dict[str, Tensor]:
        """Return the declared tensors that make the units, as a copy has them."""
        names = self.parameters.items()
        return {name: small.get_parameter(inside).detach() for name, (inside, _) in names if name != self.reader}


def makers_of(model: LayeredModel, axis: str, reader: Reader) -> Makers | None:
    """Return what makes the units of an axis; None where that is not one module with a matrix for every tensor.

    So it is for the neurons of a feed-forward layer. Heads are made by attention, which looks at other tokens.
    """
    if reader.group != 1:
        return None
    layout, places = model.layout, {}
    for touch in layout.touches(axis):
        place = layout.place(touch.tensor, Naming.TRANSFORMERS)
        if touch.place or len(place.pieces) != 1:
            return None
        places[touch.tensor] = (place.names[0], touch)
    paths = [name.split(".")[:-2] for name, _ in places.values()]  # without the leaf and the module of the matrix
    path, layer = ".".join(paths[0]), layout.tensors[reader.tensor].layer
    if any(other != paths[0] for other in paths) or layer is None or model.find(path) not in model.parts(layer):
        return None
    inside = {name: (stored.removeprefix(path + "."), touch) for name, (stored, touch) in places.items()}
    return Makers(model.find(path), inside, reader.tensor)


def fit_makers(
    makers: Makers, small: nn.Module, inputs: Tensor, asked: Tensor, weight: Tensor, *, epochs: int, seed: int = 0
) -> None:
    """Fit a smaller feed-forward module to the outputs that are asked for, in place.

    Args:
        makers: what makes its units.
        small: the module, from `Makers.small`.
        inputs: x, (N, D).
        asked: z without the bias of the reader, (N, D).
        weight: w, (N, 1).
        epochs: passes over the tokens.
        seed: root of their order.

    Cost: 18 m D operations a token and pass for gated units, in bfloat16 where the machine multiplies that natively.

    Raises:
        NumericsError: weights that are not finite afterwards.
    """
    target, bias = asked * weight, makers.bias()
    scale = float(target.square().mean())
    trained = {inside: small.get_parameter(inside) for inside, _ in makers.parameters.values()}
    steps = epochs * -(-len(inputs) // BATCH)
    adam = torch.optim.Adam(_groups(small, trained), betas=DECAYS, fused=True)
    first = [group["lr"] for group in adam.param_groups]
    with torch.enable_grad():
        for step, some in enumerate(_batches(len(inputs), epochs, seed)):
            for group, rate in zip(adam.param_groups, first, strict=True):
                group["lr"] = rate * (1 - step / steps)
            with native_products(inputs):
                written = small(inputs[some])
            missed = (written.to(target) - bias) * weight[some] - target[some]
            adam.zero_grad()
            (missed.square().mean() / scale).backward()
            adam.step()
    small.requires_grad_(requires_grad=False)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trained.values()):
        raise NumericsError("fitted units that are not finite", "finite ones", "prune with --epochs 0")


def _groups(small: nn.Module, trained: Mapping[str, Tensor]) -> list[dict[str, object]]:
    """Return the parameters with steps in their own scale, a bias in that of its matrix."""
    groups: list[dict[str, object]] = []
    for name, parameter in trained.items():
        matrix = small.get_submodule(name.rpartition(".")[0]).get_parameter("weight").detach()
        rate = RATE * float(matrix.square().mean().sqrt())
        groups.append({"params": [parameter.requires_grad_()], "lr": rate})
    return groups


def _batches(count: int, epochs: int, seed: int) -> Iterator[Tensor]:
    """Yield the tokens of every step, in a new order each time."""
    draws = generator(seed, "calibration", "order of tokens")
    for _ in range(epochs):
        yield from torch.randperm(count, generator=draws).split(BATCH)
