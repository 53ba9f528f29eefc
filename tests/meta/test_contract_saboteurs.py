"""Break declarations and operators, then look which clauses of the contract notice.

Each saboteur names all clauses that catch it. Every clause has one that it alone catches: none can be left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from rctheory.architectures import llama, mlp
from rctheory.architectures.axes import Axis, Role
from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.architectures.spec import Architecture, Stored, TensorSpec, Widths
from rctheory.contracts import CLAUSES, Subject, checks
from rctheory.errors import ContractError
from rctheory.measures.designs import Independent
from rctheory.transfer import copies, operator
from tests.contracts import subjects

CLAUSE_SETS = frozenset(CLAUSES)


@dataclass(frozen=True)
class Saboteur:
    """A broken subject, or an intact one with broken machinery, and the clauses that notice."""

    subject: Callable[[], Subject]
    caught_by: set[str]
    patches: tuple[tuple[Any, str, Any], ...] = field(default=())


def altered(change: Callable[[Architecture], Architecture]) -> Callable[[Mapping[str, Any]], Layout]:
    """Return a declaration of perceptrons that was changed."""

    def declare(config: Mapping[str, Any]) -> Layout:
        return change(mlp.mlp(3, biases=True, modules=config["modules"])).configured(config)

    return declare


def with_specs(change: Callable[[TensorSpec], TensorSpec | None]) -> Callable[[Architecture], Architecture]:
    """Return a change of every tensor, or its removal."""
    return lambda arch: replace(arch, tensors=tuple(s for s in map(change, arch.tensors) if s is not None))


def with_axis(name: str, **changes: Any) -> Callable[[Architecture], Architecture]:
    """Return a change of one axis, wherever it stands."""

    def swap(axis: Axis) -> Axis:
        return replace(axis, **changes) if axis.name == name else axis

    def change(arch: Architecture) -> Architecture:
        specs = tuple(replace(s, dimensions=tuple(tuple(map(swap, n)) for n in s.dimensions)) for s in arch.tensors)
        equations = tuple((entry, tuple(map(swap, axes))) for entry, axes in arch.widths.equations)
        return replace(arch, tensors=specs, widths=replace(arch.widths, equations=equations))

    return change


def nothing_averaged(arch: Architecture) -> Architecture:
    """Declare that nothing grows."""
    return with_axis("hidden.2", averaged=False)(with_axis("hidden.1", averaged=False)(arch))


def without_last_bias(spec: TensorSpec) -> TensorSpec | None:
    """Forget one bias."""
    return None if spec.name == "biases.3" else spec


def one_gguf_name(spec: TensorSpec) -> TensorSpec:
    """Give a matrix and a vector one name in GGUF."""
    same = spec.name in ("weights.1", "biases.1")
    return replace(spec, gguf=Stored("same" if same else spec.name))


def swapped_widths(arch: Architecture) -> Architecture:
    """Exchange the entries of two axes that have as many units."""
    first, one, two, last = arch.widths.equations
    return replace(arch, widths=Widths((first, (one[0], two[1]), (two[0], one[1]), last)))


def constant_outputs(config: Mapping[str, Any]) -> Layout:
    """Declare two outputs, whatever the configuration says."""
    return layout_of({**config, "widths": [*config["widths"][:-1], 2]})


def other_axis(spec: TensorSpec) -> TensorSpec:
    """Let one vector run over the other hidden axis, which has as many units."""
    other = Axis("hidden.1", Role.HIDDEN, exchangeable=True, averaged=True)
    return replace(spec, dimensions=((other,),)) if spec.name == "biases.2" else spec


def reads_rows(spec: TensorSpec) -> TensorSpec:
    """Declare that one matrix sums over its rows."""
    return replace(spec, reads=0) if spec.name == "weights.2" else spec


class AppliedTwice(subjects.ResidualPerceptron):
    """Every layer is applied twice, which no declaration says."""

    def forward(self, u: Tensor) -> Tensor:
        """Return the outputs."""
        x = self.embed(u)
        for layer in (*self.layers, *self.layers):
            x = x + layer["write"](torch.tanh(layer["read"](x)))
        return self.unembed(x)


class OrderedGradient(torch.autograd.Function):
    """The identity, whose gradient is larger for later units."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        """Return a copy."""
        return x.clone()

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        """Treat units unequally."""
        return gradient * (1 + torch.arange(gradient.shape[-1], dtype=gradient.dtype))


def run_with_ordered_gradient(module: torch.nn.Module, inputs: Tensor) -> Tensor:
    """Return the outputs of a perceptron with a wrong backward pass."""
    first, *rest = module
    return torch.nn.Sequential(*rest)(OrderedGradient.apply(first(inputs)))


@cache
def family(name: str) -> Subject:
    """Return a language model."""
    return subjects.family(name)


def declared(name: str, change: Callable[[Layout], Layout]) -> Callable[[], Subject]:
    """Return a language model whose layout was changed."""
    return lambda: replace(family(name), declare=lambda config: change(layout_of(config)))


def without_norms(layout: Layout) -> Layout:
    """Forget what gains do."""
    return replace(layout, norms=())


def untied(layout: Layout) -> Layout:
    """Forget that the embedding is the head as well."""
    return replace(layout, norms=tuple(replace(norm, feeds="") for norm in layout.norms))


def without_offset(layout: Layout) -> Layout:
    """Forget that gains are stored less one."""
    return replace(layout, norms=tuple(replace(norm, offset=0.0) for norm in layout.norms))


def without_root(layout: Layout) -> Layout:
    """Forget that embeddings are multiplied by the root of the width."""
    return replace(layout, rooted={})


def exchangeable_keys() -> Subject:
    """Declare that rotary coordinates may be permuted."""
    keys = replace(llama.KEY_DIM, exchangeable=True)

    def swap(layout: Layout) -> Layout:
        tensors = {
            name: replace(
                tensor,
                nests=tuple(
                    tuple(replace(i, axis=keys) if i.axis == llama.KEY_DIM else i for i in nest)
                    for nest in tensor.nests
                ),
            )
            for name, tensor in layout.tensors.items()
        }
        return replace(layout, tensors=tensors)

    return declared("llama", swap)()


READ, ADD_NOISE = copies.read, copies.add_noise


def read_without_factor(weights: Tensor, dimension: int, plan: Any, _stored: Any = None) -> Tensor:
    """Take the units of a sample as they are."""
    return READ(weights, dimension, plan) if plan.exact else weights.index_select(dimension, plan.indices)


def read_with_small_bias(weights: Tensor, dimension: int, plan: Any, _stored: Any = None) -> Tensor:
    """Weigh the units of a sample n / m (1 + 1 / m)."""
    found = READ(weights, dimension, plan)
    return found if plan.exact else found * (1 + 1 / plan.width)


def read_wholes(weights: Tensor, dimension: int, plan: Any, _stored: Any = None) -> Tensor:
    """Let copies of a unit weigh as much as the unit."""
    return weights.index_select(dimension, plan.indices) if plan.exact else READ(weights, dimension, plan)


def unread_first(weights: Tensor, dimension: int, plan: Any) -> Tensor:
    """Keep the share of the first copy."""
    return copies.unwrite(weights, dimension, plan)


def add_any_noise(weights: Tensor, _dimension: int, _plan: Any, size: float, random: torch.Generator) -> Tensor:
    """Add noise that copies do not cancel."""
    return weights + size * torch.empty_like(weights).normal_(generator=random)


def draw_few(_self: Independent, n: int, m: int, generator: torch.Generator) -> Tensor:
    """Draw ten units and repeat them: unbiased, but no better for more."""
    return torch.randint(n, (10,), generator=generator).repeat(m // 10 + 1)[:m]


def perceptron(**changes: Any) -> Callable[[], Subject]:
    """Return a perceptron that was changed."""
    return lambda: subjects.mlp(**changes)


def stream(**changes: Any) -> Callable[[], Subject]:
    """Return a residual perceptron that was changed."""
    return lambda: subjects.residual_mlp(**changes)


BIASED = {"sampling", "rate"}
SABOTEURS = {
    "a bias is not declared": Saboteur(perceptron(declare=altered(with_specs(without_last_bias))), {"names"}),
    "two tensors have one name in GGUF": Saboteur(perceptron(declare=altered(with_specs(one_gguf_name))), {"names"}),
    "a width is taken for constant": Saboteur(perceptron(declare=constant_outputs), {"shapes"}),
    "two entries are exchanged": Saboteur(perceptron(declare=altered(swapped_widths)), {"growth"}),
    "a vector runs over another axis": Saboteur(
        perceptron(declare=altered(with_specs(other_axis))), {"growth", "relabelling", "gradient", "widening", "rate"}
    ),
    "outputs are declared exchangeable": Saboteur(
        perceptron(declare=altered(with_axis("output", exchangeable=True))), {"relabelling"}
    ),
    "rotary coordinates are declared exchangeable": Saboteur(exchangeable_keys, {"relabelling"}),
    "hidden units are declared ordered": Saboteur(
        perceptron(declare=altered(with_axis("hidden.1", exchangeable=False, averaged=False))), {"order"}
    ),
    "nothing is declared averaged": Saboteur(
        perceptron(declare=altered(nothing_averaged)), {"growth", "widening", "undoing", "sampling", "rate"}
    ),
    "inputs are declared averaged": Saboteur(
        perceptron(declare=altered(with_axis("input", exchangeable=True, averaged=True))),
        {"relabelling", "gradient", "widening", "sampling", "rate"},
    ),
    "layers are applied twice": Saboteur(stream(build=lambda config: AppliedTwice(config).double()), {"gradient"}),
    "the backward pass orders units": Saboteur(perceptron(run=run_with_ordered_gradient), {"gradient"}),
    "a matrix sums over its rows": Saboteur(
        perceptron(declare=altered(with_specs(reads_rows))), {"widening", "sampling"}
    ),
    "gains are forgotten": Saboteur(declared("llama", without_norms), {"widening"}),
    "a tied head is not marked": Saboteur(declared("llama 3.1 tied", untied), {"widening", "rate"}),
    "the offset of gains is forgotten": Saboteur(declared("gemma", without_offset), {"widening", "rate"}),
    "the root of the width is forgotten": Saboteur(declared("gemma", without_root), {"widening", "rate"}),
    "copies do not share": Saboteur(stream(), {"widening", "undoing"}, ((operator.copies, "read", read_wholes),)),
    "noise does not cancel": Saboteur(stream(), {"widening"}, ((operator.copies, "add_noise", add_any_noise),)),
    "shares are not added up": Saboteur(stream(), {"undoing"}, ((operator.copies, "unread", unread_first),)),
    "a sample is not reweighted": Saboteur(stream(), BIASED, ((operator.copies, "read", read_without_factor),)),
    "a sample is biased at small width": Saboteur(
        stream(), {"sampling"}, ((operator.copies, "read", read_with_small_bias),)
    ),
    "a design repeats its draws": Saboteur(stream(), {"rate"}, ((Independent, "_draw", draw_few),)),
}


def failing(subject: Subject) -> set[str]:
    """Return the clauses that a subject breaks."""
    broken = set()
    for check in checks(subject):
        try:
            check()
        except ContractError as error:
            broken.add(check.clause if "to see it again" in error.remedy else f"{check.clause} says no call")
    return broken


@pytest.mark.parametrize("make", [subjects.mlp, subjects.residual_mlp, lambda: family("llama")])
def test_an_intact_subject_passes(make: Callable[[], Subject]) -> None:
    assert failing(make()) == set()


@pytest.mark.parametrize("name", SABOTEURS)
def test_a_saboteur_is_caught_by_its_clauses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saboteur = SABOTEURS[name]
    for owner, attribute, replacement in saboteur.patches:
        monkeypatch.setattr(owner, attribute, replacement)
    assert failing(saboteur.subject()) == saboteur.caught_by


def test_every_clause_has_a_saboteur_of_its_own() -> None:
    assert {next(iter(s.caught_by)) for s in SABOTEURS.values() if len(s.caught_by) == 1} == CLAUSE_SETS
