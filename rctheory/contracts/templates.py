"""Texts of written declarations and contract tests; what stands in braces is filled in."""

EXAMPLE = '''"""{name}: an example to be changed; its contract test says what does not fit."""

from collections.abc import Mapping
from typing import Any

from rctheory.architectures.spec import Architecture, Axis, Layout, Role, Scope, TensorSpec, Widths

MODEL_TYPE = "{name}"

INPUT = Axis("input", Role.INPUT, exchangeable=False)
RESIDUAL = Axis("residual", Role.RESIDUAL, exchangeable=True, averaged=True)
FFN = Axis("ffn", Role.HIDDEN, exchangeable=True, averaged=True, scope=Scope.LAYER)
OUTPUT = Axis("output", Role.OUTPUT, exchangeable=False)

ARCHITECTURE = Architecture(
    MODEL_TYPE,
    (
        TensorSpec("embed.weight", ((RESIDUAL,), (INPUT,))),
        TensorSpec("layers.{{layer}}.read.weight", ((FFN,), (RESIDUAL,))),
        TensorSpec("layers.{{layer}}.write.weight", ((RESIDUAL,), (FFN,))),
        TensorSpec("unembed.weight", ((OUTPUT,), (RESIDUAL,))),
    ),
    widths=Widths(tuple((axis.name, (axis,)) for axis in (INPUT, RESIDUAL, FFN, OUTPUT)), layers="layers"),
)


def layout_from_config(config: Mapping[str, Any]) -> Layout:
    """Return the layout that a configuration describes."""
    return ARCHITECTURE.configured(config)
'''
EXAMPLE_TEST = '''"""The contract of {name}: one test of each clause."""

import torch
from {name} import MODEL_TYPE, layout_from_config
from torch import nn

from rctheory.contracts import Subject, parametrize_contract

SMALL = {{"model_type": MODEL_TYPE, "input": 3, "residual": 6, "ffn": 5, "output": 2, "layers": 2}}
OTHER = {{**SMALL, "input": 4, "residual": 8, "ffn": 7, "output": 3, "layers": 1}}


class Network(nn.Module):
    """The model that is declared: put your own here."""

    def __init__(self, config):
        super().__init__()
        stream, hidden = config["residual"], config["ffn"]
        self.embed = nn.Linear(config["input"], stream, bias=False)
        self.unembed = nn.Linear(stream, config["output"], bias=False)
        maps = {{"read": (stream, hidden), "write": (hidden, stream)}}
        self.layers = nn.ModuleList(
            nn.ModuleDict({{name: nn.Linear(n, m, bias=False) for name, (n, m) in maps.items()}})
            for _ in range(config["layers"])
        )

    def forward(self, u):
        x = self.embed(u)
        for layer in self.layers:
            x = x + layer["write"](torch.tanh(layer["read"](x)))
        return self.unembed(x)


SUBJECT = Subject(
    name=MODEL_TYPE,
    config=SMALL,
    other_config=OTHER,
    build=lambda config: Network(config).double(),
    run=lambda module, inputs: module(inputs),
    inputs=torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    declare=layout_from_config,
)


@parametrize_contract([SUBJECT])
def test_contract(check):
    check()
'''
PROPOSED_TEST = '''"""The contract of {name}: one test of each clause."""

from {name} import layout_from_config

from rctheory.contracts import parametrize_contract
from rctheory.contracts.huggingface import transformers_subject

SMALL = {small}
OTHER = SMALL | {other}
SUBJECT = transformers_subject("{name}", "{model}", SMALL, OTHER, declare=layout_from_config)


@parametrize_contract([SUBJECT])
def test_contract(check):
    check()
'''
