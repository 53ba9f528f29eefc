"""Subjects of every declared architecture."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from rctheory.contracts import Subject
from rctheory.contracts.huggingface import transformers_subject
from rctheory.numerics import generator
from tests.architectures.models import FAMILIES


class Perceptron(nn.Sequential):
    """Linear maps with tanh between them."""

    def __init__(self, widths: list[int]) -> None:
        """Make the maps."""
        maps = [nn.Linear(n, m) for n, m in pairwise(widths)]
        super().__init__(maps[0], *(part for m in maps[1:] for part in (nn.Tanh(), m)))


class ResidualPerceptron(nn.Module):
    """A stream that each layer reads, maps through hidden units and adds to."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Make the maps."""
        super().__init__()
        stream, hidden = config["residual"], config["ffn"]
        self.embed, self.unembed = nn.Linear(config["input"], stream), nn.Linear(stream, config["output"])
        self.layers = nn.ModuleList(
            nn.ModuleDict({"read": nn.Linear(stream, hidden), "write": nn.Linear(hidden, stream)})
            for _ in range(config["layers"])
        )

    def forward(self, u: Tensor) -> Tensor:
        """Return the outputs."""
        x = self.embed(u)
        for layer in self.layers:
            x = x + layer["write"](torch.tanh(layer["read"](x)))
        return self.unembed(x)


class Convolutions(nn.Sequential):
    """Convolutions with norms, and a linear map of what is left of the image."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Make the maps."""
        parts: list[nn.Module] = []
        for n, m in pairwise(config["channels"]):
            parts += [nn.Conv2d(n, m, config["kernel"]), nn.BatchNorm2d(m), nn.Tanh()]
        last = nn.Linear(config["channels"][-1] * config["pixels"], config["output"])
        super().__init__(*parts, nn.Flatten(), last)


def run(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return the outputs."""
    return module(inputs)


def inputs(*shape: int) -> Tensor:
    """Draw inputs."""
    return torch.randn(*shape, generator=generator(0, "inputs"), dtype=torch.float64)


def mlp(**changes: Any) -> Subject:
    """Return the subject of a perceptron; both hidden widths are equal, so that only changes tell them apart."""
    modules = {"model_type": "mlp", "modules": ["0", "2", "4"]}
    given = {
        "name": "mlp",
        "config": modules | {"widths": [3, 8, 8, 2]},
        "other_config": modules | {"widths": [4, 12, 12, 3]},
        "build": lambda config: Perceptron(config["widths"]).double(),
        "run": run,
        "inputs": inputs(4, 3),
    }
    return Subject(**{**given, **changes})


STREAM = {"model_type": "residual_mlp", "input": 3, "residual": 6, "ffn": 5, "output": 2, "layers": 2}


def residual_mlp(**changes: Any) -> Subject:
    """Return the subject of a residual perceptron."""
    given = {
        "name": "residual_mlp",
        "config": STREAM,
        "other_config": {**STREAM, "input": 4, "residual": 8, "ffn": 7, "output": 3, "layers": 1},
        "build": lambda config: ResidualPerceptron(config).double(),
        "run": run,
        "inputs": inputs(4, 3),
    }
    return Subject(**{**given, **changes})


IMAGES = {"model_type": "convnet", "modules": ["0", "3", "7"], "norms": ["1", "4"], "pixels": 4, "output": 3}


def convnet() -> Subject:
    """Return the subject of a convolutional network: 4 x 4 pixels, then 3 x 3, then 2 x 2."""
    return Subject(
        name="convnet",
        config={**IMAGES, "channels": [3, 12, 11], "kernel": 2},
        other_config={**IMAGES, "channels": [2, 6, 5], "kernel": 3, "output": 4},
        build=lambda config: Convolutions(config).double().eval(),
        run=run,
        inputs=inputs(3, 3, 4, 4),
        uses=9,
    )


def family(name: str, **changes: Any) -> Subject:
    """Return the subject of a model of transformers."""
    given = FAMILIES[name]
    large = given.small | given.changes
    return transformers_subject(name.replace(" ", "_"), given.model, given.small, large, **changes)


OWN = (mlp, residual_mlp, convnet)


def all_subjects() -> list[Subject]:
    """Return one subject of every declared architecture."""
    return [*(make() for make in OWN), *(family(name) for name in FAMILIES)]
