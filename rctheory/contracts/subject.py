"""Subjects of a contract: a declaration, and tiny models that it is said to describe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.pieces import gather, scatter
from rctheory.errors import ContractError
from rctheory.numerics import generator

Config = Mapping[str, Any]
SPREAD = 0.1
"""Standard deviation of random weights: so small that tiny models are smooth at their scale, but for the norms."""


def _state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module that stores what it holds."""
    return dict(model.state_dict())


def load_state(model: nn.Module, stored: Mapping[str, Tensor]) -> nn.Module:
    """Put stored tensors into a module whose state has the same names, and return it.

    Raises:
        ContractError: a tensor that the module does not have, or one of another shape.
    """
    state = model.state_dict()
    with torch.no_grad():
        for name, tensor in stored.items():
            if name not in state or state[name].shape != tensor.shape:
                found = f"no place of shape {tuple(tensor.shape)} for stored tensor {name} in {type(model).__name__}"
                raise ContractError(found, "what the declaration says", "correct the declaration or the subject")
            state[name].copy_(tensor)
    return model


@dataclass(frozen=True)
class Subject:
    """What an outsider gives to have a declaration checked.

    Args:
        name: how tests call it.
        config: a tiny configuration. Every axis has at least two units.
        other_config: another one, with as many different widths as possible.
        build: takes a configuration, returns a module in float64 with the weights that it begins with; they are
            replaced by random ones.
        run: takes a module and inputs (samples first), returns its outputs, differentiable.
        inputs: inputs of a few samples.
        declare: takes a configuration, returns its layout.
        single: the smallest input: it uses each matrix as seldom as possible; by default the first sample.
        uses: how often each matrix is applied on the smallest input at most (tokens, pixels).
        store: takes a module, returns its state under stored names.
        load: takes a module and stored tensors, puts them into it and returns the module to be run.
        known_failures: clauses that the declaration is known to fail, with the reason.
    """

    name: str
    config: Config
    other_config: Config
    build: Callable[[Config], nn.Module]
    run: Callable[[nn.Module, Tensor], Tensor]
    inputs: Tensor
    declare: Callable[[Config], Layout] = layout_of
    single: Tensor | None = None
    uses: int = 1
    store: Callable[[nn.Module], dict[str, Tensor]] = _state_of
    load: Callable[[nn.Module, Mapping[str, Tensor]], nn.Module] = load_state
    known_failures: Mapping[str, str] = field(default_factory=dict)

    def model(self, config: Config | None = None) -> "Model":
        """Return the model of a configuration, with random weights."""
        return Model(self, self.config if config is None else config)

    @cached_property
    def source(self) -> "Model":
        """The model of the first configuration; every check starts from it and changes none of it."""
        return self.model()


class Model:
    """A tiny model seen through its declaration.

    Args:
        subject: where it comes from.
        config: its configuration.
    """

    def __init__(self, subject: Subject, config: Config) -> None:
        """Build it."""
        self.subject, self.config = subject, config
        self._module = randomise(subject.build(config))
        self.stored = {name: tensor.clone() for name, tensor in subject.store(self._module).items()}

    @cached_property
    def layout(self) -> Layout:
        """The layout that the declaration gives to the configuration, of what is stored."""
        return self.subject.declare(self.config).found_in(self.stored)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The declared tensors."""
        return self._declared(self.stored)

    @cached_property
    def outputs(self) -> Tensor:
        """What the model says of the inputs."""
        return self.outputs_with(self.weights)

    def module_with(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a module with other declared tensors; what is not declared stays."""
        stored = {name: tensor.clone() for name, tensor in self.stored.items()}
        for name, tensor in weights.items():
            scatter(tensor, self.layout.place(name, Naming.TRANSFORMERS), stored)
        for twin, name in self.layout.twins.items():
            if twin in stored:
                scatter(weights[name], self.layout.place(name, Naming.TRANSFORMERS), stored)
                stored[twin] = stored[self.layout.place(name, Naming.TRANSFORMERS).names[0]]
        return self.subject.load(self._module, stored)

    def outputs_with(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the outputs with other declared tensors."""
        with torch.no_grad():
            return self.subject.run(self.module_with(weights), self.subject.inputs)

    def gradients(self, weights: Mapping[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
        """Return the gradient of a fixed random projection of the outputs, by declared tensor."""
        module = self.module_with(weights)
        module.zero_grad()
        outputs = self.subject.run(module, inputs)
        direction = torch.randn(outputs.shape, generator=generator(0, "projection"), dtype=outputs.dtype)
        (outputs * direction).sum().backward()
        kept = [parameter.detach().clone() for parameter in module.parameters()]
        # What is stored of a module whose parameters are the gradients are the stored gradients.
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
            stored = {name: tensor.clone() for name, tensor in self.subject.store(module).items()}
            for parameter, value in zip(module.parameters(), kept, strict=True):
                parameter.copy_(value)
        return self._declared(stored)

    def _declared(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the declared tensors out of stored ones."""
        places = {name: self.layout.place(name, Naming.TRANSFORMERS) for name in self.layout.tensors}
        return {name: gather(stored, place).clone() for name, place in places.items()}


def randomise(model: nn.Module) -> nn.Module:
    """Draw every parameter and running moment: gains about one, everything else about zero."""
    random = generator(0, "weights")
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 1.0 if bool((parameter == 1).all()) else 0.0
            parameter.copy_(centre + SPREAD * torch.randn(parameter.shape, generator=random, dtype=parameter.dtype))
        for name, moment in model.named_buffers():
            if "running" in name:
                moment.copy_(0.5 + torch.rand(moment.shape, generator=random, dtype=moment.dtype))
    return model
