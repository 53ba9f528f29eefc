"""Product spaces of two-valued variables, and an evaluator that also knows random indices and vector fields."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sympy import Expr, Indexed, IndexedBase, Integral, Limit, Rational, Symbol, oo
from torch import Tensor

from proofs.chain import Checked
from proofs.flows import AlongFlow, Coefficient, Differential, FieldAt
from tests.proofs.evaluator import Evaluator, World
from tests.proofs.outcomes import Outcomes


@dataclass(frozen=True)
class TwoValued:
    """The centred law on two values with this variance; `chance` is the probability of the larger one."""

    variance: float
    chance: float

    @property
    def values(self) -> tuple[float, float]:
        """Return the larger and the smaller value."""
        odds = ((1 - self.chance) / self.chance) ** 0.5
        return self.variance**0.5 * odds, -(self.variance**0.5) / odds

    def moment(self, order: int) -> float:
        """Return a moment."""
        high, low = self.values
        return self.chance * high**order + (1 - self.chance) * low**order


@dataclass(frozen=True)
class Space:
    """Every outcome of independent two-valued variables.

    Args:
        variables: for each name a tensor (outcomes, *shape) of values.
        probability: of each outcome.
    """

    variables: dict[str, Tensor]
    probability: Tensor

    @classmethod
    def product(cls, laws: Mapping[str, tuple[tuple[int, ...], TwoValued]]) -> "Space":
        """Enumerate arrays of given shapes and laws."""
        sizes = [math.prod(shape) for shape, _ in laws.values()]
        bits = torch.tensor(list(itertools.product((0, 1), repeat=sum(sizes))))
        variables, probability = {}, torch.ones(len(bits), dtype=torch.float64)
        for (name, (shape, law)), part in zip(laws.items(), bits.split(sizes, dim=1), strict=True):
            values = torch.tensor(law.values, dtype=torch.float64)
            chances = torch.tensor((law.chance, 1 - law.chance), dtype=torch.float64)
            variables[name] = values[part].reshape(-1, *shape)
            probability = probability * chances[part].prod(dim=1)
        return cls(variables, probability)

    def mean(self, values: Tensor) -> Tensor:
        """Return the expectation over the first axis."""
        return torch.tensordot(self.probability, values, dims=1)

    def outcomes(self, arrays: Mapping[str, Tensor]) -> Outcomes:
        """Return functions of the variables as the random arrays of a proof."""
        return Outcomes({IndexedBase(name, real=True): values for name, values in arrays.items()}, self.probability)


def with_draws(space: Space, arrays: Mapping[str, Tensor], draws: Mapping[str, list[tuple[int, ...]]]) -> Outcomes:
    """Return the joint outcomes of random arrays and independent uniform draws, each from a list of samples."""
    counts = [len(space.probability), *map(len, draws.values())]
    grid = torch.cartesian_prod(*map(torch.arange, counts)) if draws else torch.arange(counts[0])[:, None]
    found = {IndexedBase(name, real=True): values[grid[:, 0]] for name, values in arrays.items()}
    for place, (name, samples) in enumerate(draws.items(), 1):
        found[IndexedBase(name, real=True)] = torch.tensor(samples)[grid[:, place]]
    return Outcomes(found, space.probability[grid[:, 0]] / math.prod(counts[1:]))


def field(point: Tensor) -> Tensor:
    """A smooth velocity without symmetry."""
    return torch.sin(point) + torch.exp(-point / 2)


class SpaceEvaluator(Evaluator):
    """Evaluates random arrays at random indices, and the operations of one-step methods on a field of dimension 1."""

    def __init__(self, checked: Checked, world: World) -> None:
        super().__init__(checked, world)
        self.point = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def value(self, expr: Expr, env: dict[Symbol, Any]) -> Any:
        """Return the value under the bindings `env` of indices."""
        known: dict[type, Callable[[Expr, dict[Symbol, Any]], Any]] = {
            Differential: self.differential,
            FieldAt: self.field_at,
            AlongFlow: self.along_flow,
            Coefficient: self.coefficient,
        }
        method = known.get(type(expr))
        return super().value(expr, env) if method is None else method(expr, env)

    def indexed(self, expr: Indexed, env: dict[Symbol, Any]) -> Any:
        if self.outcomes is not None and expr.base in self.outcomes.arrays:
            slots = tuple(self.integer(slot, env) for slot in expr.indices)
            if any(isinstance(slot, Tensor) for slot in slots):
                every = torch.arange(len(self.outcomes.probability))
                return self.outcomes.arrays[expr.base][(every, *(slot - 1 for slot in slots))]
        return super().indexed(expr, env)

    def activation(self, expr: Expr, env: dict[Symbol, Any]) -> Any:
        if int(expr.order) < 2:
            return super().activation(expr, env)
        argument = torch.as_tensor(self.value(expr.args[0], env), dtype=torch.float64)
        assert (expr.letter, int(expr.order)) == ("sigma", 2)
        return -2 * torch.tanh(argument) * (1 - torch.tanh(argument) ** 2)

    def integral(self, expr: Integral, env: dict[Symbol, Any]) -> Any:
        ((variable, low, high),) = expr.limits
        places, weights = np.polynomial.legendre.leggauss(40)
        middle, half = float(low + high) / 2, float(high - low) / 2
        values = self.value(expr.function, env | {variable: torch.from_numpy(middle + half * places)})
        return half * (torch.as_tensor(values, dtype=torch.float64) * torch.from_numpy(weights)).sum()

    def limit(self, expr: Limit, env: dict[Symbol, Any]) -> Any:
        body, variable, target, _ = expr.args
        if target != oo:  # towards a point digits cancel: sixty of them
            return torch.as_tensor(
                float(body.subs(variable, target + Rational(1, 10**9)).evalf(60)), dtype=torch.float64
            )
        with self.scalar(variable, 1e7):
            return self.value(body, env)

    def differential(self, expr: Differential, env: dict[Symbol, Any]) -> Tensor:
        found = field(self.point)
        for _ in expr.args:
            (found,) = torch.autograd.grad(found, self.point, create_graph=True)
        return found * math.prod((self.value(part, env) for part in expr.args), start=1.0)

    def field_at(self, expr: FieldAt, env: dict[Symbol, Any]) -> Tensor:
        return field(self.point + self.value(expr.args[0], env))  # the field itself: no Taylor formula

    def along_flow(self, expr: AlongFlow, env: dict[Symbol, Any]) -> Tensor:
        (slope,) = torch.autograd.grad(self.value(expr.args[0], env), self.point, create_graph=True)
        return slope * field(self.point)

    def coefficient(self, expr: Coefficient, env: dict[Symbol, Any]) -> Tensor:
        step = Symbol("h", positive=True)
        with self.scalar(step, 0.0):
            value = self.value(expr.args[0], env)
            for _ in range(int(expr.args[1])):
                value = _slope(value, self.world.scalars[step])
        return value / math.factorial(int(expr.args[1]))

    @contextmanager
    def scalar(self, symbol: Symbol, value: float) -> Iterator[None]:
        """Give a symbol another value for a while."""
        before = self.world.scalars.pop(symbol, None)
        self.world.scalars[symbol] = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        memo, self.memo = self.memo, {}
        yield
        self.memo = memo
        del self.world.scalars[symbol]
        if before is not None:
            self.world.scalars[symbol] = before


def _slope(value: Tensor, leaf: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(value, leaf, create_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def gap(checked: Checked, world: World) -> tuple[float, float]:
    """Return (left - right, scale) of the relation; the scale is that of the larger side, or 1."""
    evaluator = SpaceEvaluator(checked, world)
    sides = (checked.relation.lhs, checked.relation.rhs)
    left, right = (float(torch.as_tensor(evaluator.value(side, {})).detach()) for side in sides)
    return left - right, max(abs(left), abs(right), 1.0)
