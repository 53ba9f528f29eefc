"""The suite's GPT-2 as a function of the masses of its units, and the losses of its samples.

A unit of mass p_j writes p_j times what it wrote: the row of the matrix that reads it is multiplied. A sample that
takes unit j of n with multiplicity c_j into m units is the model with masses p_j = c_j n / m.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rctheory.measures.designs import Design
from rctheory.numerics import generator
from rctheory.prediction.influence import Influence, measure_influence
from verification.gpt import Gpt
from verification.language import text, windows


@dataclass(frozen=True)
class MassedGpt:
    """A GPT-2 whose feed-forward units and heads carry masses."""

    model: Gpt

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return the number of units of every axis instance, by its name in the declaration."""
        layers, weights = range(self.model.size.layers), self.model.weights
        units = {ffn(layer): len(weights[f"transformer.h.{layer}.mlp.c_proj.weight"]) for layer in layers}
        return units | {f"layers.{layer}.head": self.model.size.heads for layer in layers}

    def logits(self, symbols: Tensor, masses: Mapping[str, Tensor]) -> Tensor:
        """Return logits (B, T, V), differentiable in the masses (n,) of the axis instances that are named."""
        return self.changed(masses).logits(symbols)

    def changed(self, masses: Mapping[str, Tensor]) -> Gpt:
        """Return the model whose weights carry the masses."""
        weights = dict(self.model.weights)
        for axis, values in masses.items():
            _, layer, kind = axis.split(".")
            name = f"transformer.h.{layer}.{'mlp' if kind == 'ffn' else 'attn'}.c_proj.weight"
            rows = len(weights[name]) // len(values)  # a head is read by several rows
            weights[name] = weights[name] * values.to(weights[name]).repeat_interleave(rows)[:, None]
        return Gpt(self.model.size, weights)


def ffn(layer: int) -> str:
    """Return the name of the axis instance of a block's feed-forward units."""
    return f"layers.{layer}.ffn"


def window_loss(logits: Tensor, symbols: Tensor) -> float:
    """Return the mean cross-entropy of all symbols after the first of each window, summed in float64."""
    log_p = logits[:, :-1].log_softmax(dim=-1)
    return -float(log_p.gather(2, symbols[:, 1:, None]).mean(dtype=torch.float64))


def sampled_losses(model: Gpt, layer: int, masses: Tensor, symbols: Tensor) -> Tensor:
    """Return the loss under each of D vectors of masses of a block's feed-forward units, (D, n) -> (D,) float64."""
    found = []
    with torch.no_grad():
        stream = model.embed(symbols)
        for before in range(layer):
            stream = model.attend(before, stream)
            stream = model.write(before, stream, model.hidden(before, stream))
        stream = model.attend(layer, stream)
        hidden = model.hidden(layer, stream)  # no mass acts before: what follows is all that differs
        for values in masses.to(hidden):
            changed = model.write(layer, stream, hidden * values)
            for after in range(layer + 1, model.size.layers):
                changed = model.attend(after, changed)
                changed = model.write(after, changed, model.hidden(after, changed))
            found.append(window_loss(model.read(changed), symbols))
    return torch.tensor(found, dtype=torch.float64)


def drawn_masses(design: Design, n: int, m: int, draws: int, seed: int, *names: str | int) -> Tensor:
    """Return masses c_j n / m of samples, (draws, n) float64, each from its own stream."""
    counts = [
        torch.bincount(design.draw(n, m, generator(seed, "gpt", design.name, m, *names, draw)), minlength=n)
        for draw in range(draws)
    ]
    return torch.stack(counts).double() * (n / m)


@lru_cache(maxsize=4)
def cut(context: int, count: int, *, held_out: bool) -> Tensor:
    """Return windows (count, context) spread evenly over the training text or the held-out one."""
    every = windows(text()[held_out].symbols, length=context - 1)
    return every[torch.linspace(0, len(every) - 1, count).long()]


def influence_of(model: Gpt, symbols: Tensor, draws: int, seed: int) -> Influence:
    """Measure influences of all units on the CPU, whose streams draw the labels."""
    at_home = Gpt(model.size, {name: weight.cpu() for name, weight in model.weights.items()})
    return measure_influence(MassedGpt(at_home), symbols, draws=draws, seed=seed)  # type: ignore[arg-type]
