"""State and rates of an optimiser through a transfer: both follow from the weights by the chain rule.

Every entry w of the source has C copies alpha w in the target, C being the product of the numbers of copies of its
units. The copies are interchangeable, so that all of them have the same gradient, and the outputs are unchanged: the
gradients of the copies, each times alpha, add up to that of the source. Hence each is rho g with

    rho = 1 / (alpha C).

Averages of the gradient are carried with rho, averages of its square with rho^2. The copies stay alpha w(t), and so the
target follows the source through the whole training, under the rates of `rates`. It is so for any numbers of copies:
of feed-forward units, heads and groups, of a stream under RMSNorm grown by a part of its width, tied head included.
It fails for units that carry the mean of a stream under LayerNorm: the gradient of the wider stream has a part along
the mean that the source never sees, and no rates undo it. Symmetry-breaking noise is meant to end the agreement.
Source: claims `widening.optimizer-state`, `transfer.continued-training`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.errors import ShapeError, UsageError
from rctheory.transfer.operator import Operator
from rctheory.transfer.units import AxisPlan

POWERS = {
    "exp_avg": 1,
    "grad_avg": 1,
    "momentum_buffer": 1,
    "exp_avg_sq": 2,
    "max_exp_avg_sq": 2,
    "square_avg": 2,
    "sum": 2,
    "step": 0,
}
"""By what power of the gradient each entry of a state of `torch.optim` grows."""

OPTIMIZERS = ("gd", "adam")


@dataclass(frozen=True)
class Rates:
    """What the settings of an optimiser are multiplied by, for the entries of one tensor of the target.

    Each is a tensor that broadcasts against the weights; of one entry where it is the same for all of them, so that it
    can be a setting of a parameter group.

    Args:
        learning_rate: of the learning rate.
        epsilon: of Adam's epsilon.
        decay: of the weight decay: decoupled for Adam, inside the gradient for gradient descent. Gains that are stored
            with an offset (Gemma) cannot follow a decay where they are scaled.
    """

    learning_rate: Tensor
    epsilon: Tensor
    decay: Tensor


def weight_factors(operator: Operator) -> dict[str, Tensor]:
    """Return alpha, by what each weight of the target is its source's, by declared name: broadcastable, float64."""
    return {name: _spread(operator, name)[0] for name in operator.layout.tensors}


def gradient_factors(operator: Operator) -> dict[str, Tensor]:
    """Return rho = 1 / (alpha C), by what each gradient of the target is its source's, by declared name.

    Of a sample C is m / n on each axis, and the rule holds in the limit of large widths.

    Args:
        operator: the transfer.

    Raises:
        ShapeError: a plan with units that carry the mean of a stream.
    """
    _require_closed(operator)
    factors = {}
    for name in operator.layout.tensors:
        alpha, copies = _spread(operator, name)
        factors[name] = 1 / (alpha * copies)
    return factors


def rates(operator: Operator, optimizer: str) -> dict[str, Rates]:
    """Return the settings under which the target follows the training of the source, by declared name.

    Gradient descent and momentum: learning rate times alpha / rho = alpha^2 C, and a penalty inside the gradient times
    rho / alpha. Adam does not see the scale of its gradient if epsilon follows it, with rho: its learning rate is
    multiplied by alpha, and a decoupled decay by 1 / alpha.

    Args:
        operator: the transfer.
        optimizer: `gd` (with or without momentum) or `adam` (AdamW).

    Raises:
        UsageError: another optimiser.
        ShapeError: a plan with units that carry the mean of a stream.
    """
    if optimizer not in OPTIMIZERS:
        raise UsageError(f"optimizer {optimizer!r}", f"one of {', '.join(OPTIMIZERS)}", "choose one of these")
    found = {}
    for name, rho in gradient_factors(operator).items():
        alpha = _spread(operator, name)[0]
        if optimizer == "gd":
            found[name] = Rates(_shrunk(alpha / rho), torch.ones_like(rho), _shrunk(rho / alpha))
        else:
            found[name] = Rates(alpha, rho, 1 / alpha)
    return found


def transfer_state(operator: Operator, state: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Return the state of an optimiser for the target: what grows like the p-th power of the gradient, times rho^p.

    Args:
        operator: the transfer.
        state: by declared name of a tensor, its state as `torch.optim` calls it, `exp_avg` and so on.

    Raises:
        ShapeError: a tensor that is not declared, or a state of another shape than its weights; or a plan with units
            that carry the mean of a stream.
        UsageError: an entry whose power of the gradient is not known.
    """
    factors, carried = gradient_factors(operator), {}
    for name, entries in state.items():
        if name not in factors:
            found = f"the state of {name!r}"
            raise ShapeError(found, f"a tensor of {operator.layout.architecture}", "name a declared tensor")
        carried[name] = {kind: _carry(operator, name, kind, value, factors[name]) for kind, value in entries.items()}
    return carried


def _carry(operator: Operator, name: str, kind: str, value: Tensor, rho: Tensor) -> Tensor:
    """Return one entry of the state of one tensor."""
    if kind not in POWERS:
        raise UsageError(f"state {kind!r} of {name}", f"one of {', '.join(POWERS)}", "leave it out")
    if POWERS[kind] == 0:
        return value.clone()
    shape = operator.layout.tensors[name].shape
    if tuple(value.shape) != shape:
        raise ShapeError(f"{kind} of {name} of shape {tuple(value.shape)}", f"{shape}, as its weights", "pair them up")
    for dimension in range(value.ndim):
        value = value.index_select(dimension, operator.sources(name, dimension).to(value.device))
    return (value.double() * rho.to(value.device) ** POWERS[kind]).to(value.dtype)


def _spread(operator: Operator, name: str) -> tuple[Tensor, Tensor]:
    """Return factor and number of copies of every entry of a tensor of the target, as small as broadcasting allows."""
    tensor = operator.layout.tensors[name]
    alpha, copies = (torch.ones([1] * len(tensor.nests), dtype=torch.float64) for _ in range(2))
    for dimension, nest in enumerate(tensor.nests):
        scale, count = (torch.ones(1, dtype=torch.float64) for _ in range(2))
        for instance in nest:
            plan = operator.plans.get(instance.name)
            inner = torch.ones(2, instance.size, dtype=torch.float64)
            if plan is not None:
                by_unit = torch.stack([operator.factors(name, dimension, instance.name), _copies(plan)])
                inner = by_unit[:, plan.indices]
            scale, count = ((old[:, None] * new).flatten() for old, new in zip((scale, count), inner, strict=True))
        shape = [1] * len(tensor.nests)
        shape[dimension] = -1
        alpha, copies = alpha * scale.reshape(shape), copies * count.reshape(shape)
    return _shrunk(alpha), _shrunk(copies)


def _copies(plan: AxisPlan) -> Tensor:
    """Return the number of copies of each unit of the source; of a sample, the expected number: m / n, or m p_i."""
    return plan.counts.to(torch.float64) if plan.exact else 1 / plan.read()


def _shrunk(values: Tensor) -> Tensor:
    """Drop all but one entry of each dimension along which a broadcast would give the same."""
    for dimension in range(values.ndim):
        first = values.narrow(dimension, 0, 1)
        if torch.allclose(values, first.expand_as(values), rtol=1e-12, atol=0.0):
            values = first
    return values


def _require_closed(operator: Operator) -> None:
    """Refuse units whose gradient the source does not determine."""
    for name, plan in operator.plans.items():
        if plan.means:
            found = f"units of axis {name} that carry the mean of their stream"
            want = "copies alone: under LayerNorm the gradient along the mean does not follow from the source's"
            raise ShapeError(found, want, f"choose a multiple of {plan.size}")
