"""Clauses about exact widening: the function stays, and joining the copies gives the source back."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from rctheory.architectures.layout import Layout
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.pieces import scatter
from rctheory.contracts.subject import Config, Model, Subject
from rctheory.contracts.symmetry import relative
from rctheory.contracts.widths import multiplied
from rctheory.errors import ContractError, ShapeError
from rctheory.numerics import tolerance
from rctheory.transfer.operator import Operator
from rctheory.transfer.transfer_plan import TransferPlan, draw_transfer

KEPT = 1e-9  # of the outputs, in float64
FACTORS = {"twice": 2.0, "half as wide again": 1.5}
NOISE = 0.1
TERMS = 32
"""Roundings that a weight meets on its way there and back: a share, the sum over at most 16 copies, and factors."""


def check_exact_widening(subject: Subject) -> None:
    """All averaged axes are widened together, twice and by a part of their width: outputs do not change.

    The second time symmetry-breaking noise is added, which no output sees either. Where the algebra allows only whole
    multiples of an axis, both times are such.

    Raises:
        ContractError: outputs that differ, or shapes that the wider model does not have.
    """
    source = subject.source
    for words, factor in FACTORS.items():
        plan = plan_wider(source.layout, factor, noise=0.0 if factor == 2.0 else NOISE)
        difference = relative(source.outputs, next(transferred(source, [plan])))
        if not difference <= KEPT:
            found = f"outputs that differ by {difference:.2g} of their size when widened {words}"
            want = f"at most {KEPT:g} from {_words(plan.sizes)} to {_words(plan.targets)}"
            raise ContractError(found, want, "look at `reads`, `norms`, ties and the axes of each tensor")


def check_undoing(subject: Subject) -> None:
    """Joining the copies of an exact widening gives the source back: bits where only shares of copies are taken.

    Doubling divides by powers of two, so that every bit comes back, except where the software multiplies by the root
    of a width, or adds to a gain. Other factors leave a rounding of float32.

    Raises:
        ContractError: weights that differ by more.
    """
    layout = subject.source.layout
    weights = {name: tensor.float() for name, tensor in subject.source.weights.items()}
    for words, factor in FACTORS.items():
        operator = plan_wider(layout, factor).operator(layout)
        whole = factor == 2.0 and not layout.rooted and not any(norm.offset for norm in layout.norms)
        bound = 0.0 if whole else tolerance(torch.float32, TERMS)
        for name, tensor in weights.items():
            again = operator.undo(name, operator.apply(name, tensor.clone()))
            difference = relative(tensor, again) if again.shape == tensor.shape else float("nan")
            if not difference <= bound:
                found = f"{name} that differs by {difference:.2g} when widened {words} and joined again"
                raise ContractError(found, f"at most {bound:.2g}", "look at Operator.apply and Operator.undo")


def plan_wider(layout: Layout, factor: float, *, design: str = "balanced", noise: float = 0.0) -> TransferPlan:
    """Return a plan that widens every averaged axis; an axis that no entry of the configuration holds stays.

    Raises:
        ContractError: no axis can be widened: then nothing would be checked.
    """
    changes = multiplied(layout, factor)
    if not changes:
        found = f"no averaged axis of {layout.architecture} that can be {factor} times as wide"
        raise ContractError(found, "one at least", "declare an averaged axis and its entry in `widths`")
    return draw_transfer(layout, changes, design=design, noise=noise)


def transferred(source: Model, plans: Iterable[TransferPlan]) -> Iterator[Tensor]:
    """Yield the outputs of the model that each plan makes of a source; plans of equal widths share one module.

    Raises:
        ContractError: the target's declaration does not fit the model that is built for it.
    """
    built: dict[str, nn.Module] = {}
    for plan in plans:
        operator = Operator(source.layout, plan.axes, noise=plan.noise, seed=plan.seed)
        weights = {name: operator.apply(name, tensor.clone()) for name, tensor in source.weights.items()}
        config = operator.configure(source.config, plan.targets)
        if repr(config) not in built:
            built[repr(config)] = source.subject.build(config)
        stored = stored_of(source, config, weights)
        with torch.no_grad():
            yield source.subject.run(source.subject.load(built[repr(config)], stored), source.subject.inputs)


def stored_of(source: Model, config: Config, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the stored tensors of a model of another configuration, from its declared ones.

    Raises:
        ContractError: they do not have the shapes that the configuration asks for.
    """
    layout = source.subject.declare(config).found_in(source.stored)
    for name, tensor in weights.items():
        if name not in layout.tensors or tuple(tensor.shape) != layout.tensors[name].shape:
            found = f"{name} of shape {tuple(tensor.shape)} after the transfer"
            want = f"{layout.tensors[name].shape if name in layout.tensors else 'no such tensor'}, as declared"
            raise ContractError(found, want, f"look at declare({dict(config)})")
    stored = {name: torch.empty(shape, dtype=torch.float64) for name, shape in _shapes(layout).items()}
    for name, tensor in weights.items():
        scatter(tensor, layout.place(name, Naming.TRANSFORMERS), stored)
    # What is not declared stays as it is: buffers, and what the clause on names has to find.
    rest = {name: tensor for name, tensor in source.stored.items() if name not in stored}
    for twin, name in layout.twins.items():
        if twin in rest:
            rest[twin] = stored[layout.place(name, Naming.TRANSFORMERS).names[0]]
    return stored | rest


def _shapes(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Return the stored shapes of the target."""
    try:
        return layout.stored_shapes(Naming.TRANSFORMERS)
    except ShapeError as error:
        raise ContractError(error.found, error.expected, error.remedy) from error


def _words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())
