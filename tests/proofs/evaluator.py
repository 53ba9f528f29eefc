"""Evaluate a relation of a proof in float64, as it is printed: the oracle of the symbolic algebra.

Nothing of `proofs.algebra` is used. Sums are loops; a defined entry is evaluated where its indices are numbers, so
that no name can be captured; a partial derivative is torch's autograd; an expectation is a sum over every outcome.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
import torch
from sympy import Add, Expr, Indexed, IndexedBase, Integral, KroneckerDelta, Lambda, Limit, Mul, Pow, Sum, Symbol
from torch import Tensor

from proofs.chain import Checked
from proofs.limit_quadrature import GaussRule
from proofs.notation import (
    Activation,
    Dependence,
    DependenceSlope,
    Expectation,
    Loss,
    LossSlope,
    Partial,
    Relabelling,
)
from tests.proofs.outcomes import Outcomes

LARGEST = 6  # entries of an array along each axis; every width in the tests is smaller
FUNCTIONS = {"log": torch.log, "sin": torch.sin, "cos": torch.cos, "floor": torch.floor, "Abs": torch.abs}
FUNCTIONS |= {"exp": torch.exp, "sign": torch.sign}
SHAPES = {
    "sigma": (torch.tanh, lambda u: 1 - torch.tanh(u) ** 2),
    "phi": (torch.sin, torch.cos),
    "Phi": (torch.exp, torch.exp),
}


@dataclass
class World:
    """Random values for every symbol and array of a proof.

    Args:
        seed: of the values.
        sizes: of the widths, numbers of draws and steps.
        slots: values of free indices.
        outcomes: of the random arrays, if any.
        counts: arrays of integers, which bound sums.
    """

    seed: int
    sizes: dict[str, int]
    slots: dict[str, int]
    outcomes: Outcomes | None = None
    counts: frozenset[str] = frozenset()
    arrays: dict[IndexedBase, Tensor] = field(default_factory=dict)
    scalars: dict[Symbol, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.relabelling = [0, *(self.random.permutation(self.sizes.get("axis", 3)) + 1)]
        self.relabellings: dict[Symbol, list[int]] = {}

    def image(self, slot: int, axis: Symbol) -> int:
        """Return the relabelled index on the axis with this width."""
        if axis not in self.relabellings:
            self.relabellings[axis] = [0, *(int(place) + 1 for place in self.random.permutation(self.sizes[axis.name]))]
        return self.relabellings[axis][slot]

    def entry(self, base: IndexedBase, slots: tuple[Any, ...]) -> Tensor:
        """Return one entry of an array of independent values between 0.4 and 1.6; some are negative."""
        if base not in self.arrays:
            shape = (LARGEST,) * len(slots)
            if str(base) in self.counts:
                self.arrays[base] = torch.from_numpy(self.random.integers(1, 4, shape).astype(float))
            else:
                sign = 1 if base[tuple(range(len(slots)))].is_nonnegative else self.random.choice([-1, 1], shape)
                values = torch.from_numpy(self.random.uniform(0.4, 1.6, shape) * sign)
                self.arrays[base] = values.requires_grad_()
        where = tuple(slot % LARGEST for slot in slots)  # entry 0 (a start) is one of the entries
        return self.arrays[base][where]

    def scalar(self, symbol: Symbol) -> Tensor:
        """Return the value of a symbol: a width, a free index, or a number between 0.2 and 0.8."""
        if symbol not in self.scalars:
            if symbol.is_integer:
                value = (self.sizes if symbol.is_positive else self.slots)[symbol.name]
            else:
                value = self.random.uniform(0.2, 0.8)
            self.scalars[symbol] = torch.tensor(float(value), dtype=torch.float64, requires_grad=True)
        return self.scalars[symbol]


class Evaluator:
    """Evaluates the expressions of one checked step in one world."""

    def __init__(self, checked: Checked, world: World) -> None:
        self.definitions, self.world = checked.definitions, world
        self.memo: dict[Any, Tensor] = {}
        self.outcomes: Outcomes | None = None

    def value(self, expr: Expr, env: dict[Symbol, Any]) -> Any:
        """Return the value under the bindings `env` of indices."""
        for kind, method in _METHODS:
            if isinstance(expr, kind):
                return getattr(self, method)(expr, env)
        raise NotImplementedError(type(expr))

    def integer(self, expr: Expr, env: dict[Symbol, Any]) -> Any:
        """Return an index or a bound: an int, or one for every outcome."""
        return _whole(self.value(expr, env))

    def number(self, expr: Expr, _env: dict[Symbol, Any]) -> Tensor:
        return torch.tensor(float(expr), dtype=torch.float64)

    def symbol(self, expr: Symbol, env: dict[Symbol, Any]) -> Any:
        if expr in env:
            return env[expr]
        return self.defined(expr, (), ()) if expr in self.definitions else self.world.scalar(expr)

    def indexed(self, expr: Indexed, env: dict[Symbol, Any]) -> Any:
        given = tuple(self.value(slot, env) for slot in expr.indices)
        slots = tuple(map(_whole, given))
        if expr.base in self.definitions:
            found = self.defined(expr.base, given, slots)
            if found is not None:
                return found
        if self.outcomes is not None and expr.base in self.outcomes.arrays:
            return self.outcomes.arrays[expr.base][(slice(None), *(slot - 1 for slot in slots))]
        return self.world.entry(expr.base, slots)

    def defined(self, head: Expr, given: tuple[Any, ...], slots: tuple[Any, ...]) -> Any:
        """Evaluate a definition: its placeholders get the values `given`, and no other binding reaches it."""
        key = (head, slots, self.outcomes is None)
        if all(isinstance(slot, int) for slot in slots) and key in self.memo:
            return self.memo[key]
        for pattern, placeholders, body in self.definitions[head]:
            fixed = [(a, b) for a, b in zip(pattern, slots, strict=True) if a not in placeholders]
            if any(self.integer(a, {}) != b for a, b in fixed):
                continue
            inner = {a: b for a, b in zip(pattern, given, strict=True) if a in placeholders}
            value = self.value(body, inner)
            if all(isinstance(slot, int) for slot in slots):
                self.memo[key] = value
            return value
        return None

    def add(self, expr: Add, env: dict[Symbol, Any]) -> Any:
        return sum(self.value(part, env) for part in expr.args)

    def mul(self, expr: Mul, env: dict[Symbol, Any]) -> Any:
        return math.prod((self.value(part, env) for part in expr.args), start=1.0)

    def pow(self, expr: Pow, env: dict[Symbol, Any]) -> Any:
        base = self.value(expr.base, env)
        if expr.exp.is_Integer:
            return base ** int(expr.exp)
        return torch.as_tensor(base, dtype=torch.float64) ** self.value(expr.exp, env)

    def sum(self, expr: Sum, env: dict[Symbol, Any]) -> Any:
        *inner, (bound, low, high) = expr.limits
        body = Sum(expr.function, *inner) if inner else expr.function
        span = range(self.integer(low, env), self.integer(high, env) + 1)
        zero = torch.zeros((), dtype=torch.float64)
        return sum((self.value(body, env | {bound: value}) for value in span), start=zero)

    def partial(self, expr: Partial, env: dict[Symbol, Any]) -> Any:
        quantity, target = expr.args
        value = self.value(quantity, env)
        if isinstance(target, Symbol):
            return _grad(value, self.world.scalar(target))
        slots = tuple(self.integer(slot, env) % LARGEST for slot in target.indices)
        self.world.entry(target.base, slots)
        return _grad(value, self.world.arrays[target.base])[slots]

    def activation(self, expr: Activation, env: dict[Symbol, Any]) -> Any:
        argument = torch.as_tensor(self.value(expr.args[0], env), dtype=torch.float64)
        return SHAPES[expr.letter][int(expr.order)](argument)

    def loss(self, expr: Loss, env: dict[Symbol, Any]) -> Any:
        outputs, targets = self.outputs(*expr.args, env)
        return torch.logsumexp(outputs, 0) - (outputs * targets).sum()

    def loss_slope(self, expr: LossSlope, env: dict[Symbol, Any]) -> Any:
        outputs, targets = self.outputs(*expr.args[1:], env)
        return (torch.softmax(outputs, 0) - targets)[self.integer(expr.args[0], env) - 1]

    def outputs(self, family: Lambda, size: Expr, datum: Expr, env: dict[Symbol, Any]) -> tuple[Tensor, Tensor]:
        (slot,) = family.signature
        count, row = self.integer(size, env), self.integer(datum, env)
        values = torch.stack([self.value(family.expr, env | {slot: place}) for place in range(1, count + 1)])
        return values, torch.linspace(-1, 1, count, dtype=torch.float64) * row

    def delta(self, expr: KroneckerDelta, env: dict[Symbol, Any]) -> Any:
        left, right = (self.integer(part, env) for part in expr.args[:2])
        return torch.as_tensor(left == right).double()

    def relabelling(self, expr: Relabelling, env: dict[Symbol, Any]) -> Any:
        slot = self.integer(expr.args[0], env)
        return self.world.relabelling[slot] if len(expr.args) == 1 else self.world.image(slot, expr.args[1])

    def dependence(self, expr: Dependence, env: dict[Symbol, Any]) -> Any:
        parts = (self.value(part, env) / place for place, part in enumerate(expr.args, 1))
        argument = torch.as_tensor(sum(parts), dtype=torch.float64)
        return torch.cos(argument) if isinstance(expr, DependenceSlope) else torch.sin(argument)

    def function(self, expr: Expr, env: dict[Symbol, Any]) -> Any:
        argument = torch.as_tensor(self.value(expr.args[0], env), dtype=torch.float64)
        return argument - argument.floor() if isinstance(expr, sp.frac) else FUNCTIONS[expr.func.__name__](argument)

    def expectation(self, expr: Expectation, env: dict[Symbol, Any]) -> Any:
        assert self.world.outcomes is not None
        outer, self.outcomes = self.outcomes, self.world.outcomes
        memo, self.memo = self.memo, {}
        value = torch.as_tensor(self.value(expr.args[0], env), dtype=torch.float64)
        self.outcomes, self.memo = outer, memo
        return (value * self.world.outcomes.probability).sum()

    def limit(self, expr: Limit, env: dict[Symbol, Any]) -> Any:
        variable = expr.args[1]
        powers = [power for power in expr.args[0].atoms(Pow) if power.exp.has(variable)]
        large = 1e7 if powers else 1e14  # (1 + 1/n)^n loses its digits where 1 + 1/n does
        self.world.scalars[variable] = torch.tensor(large, dtype=torch.float64, requires_grad=True)
        return self.value(expr.args[0], env)

    def integral(self, expr: Integral, env: dict[Symbol, Any]) -> Any:
        if expr.limits[0][1:] == (-sp.oo, sp.oo):  # a Gaussian density is below 1e-30 beyond 12
            return self.quadrature(12 * expr.function.subs(expr.limits[0][0], 12 * expr.limits[0][0]), 200, env)
        return self.quadrature(expr.function, 80, env)

    def gauss(self, expr: GaussRule, env: dict[Symbol, Any]) -> Any:
        return self.quadrature(expr.args[0], int(expr.args[1]), env)

    def quadrature(self, integrand: Expr, nodes: int, env: dict[Symbol, Any]) -> Any:
        places, weights = np.polynomial.legendre.leggauss(nodes)
        variable = Symbol("z", real=True)
        values = self.value(integrand, env | {variable: torch.from_numpy(places)})
        return (torch.as_tensor(values, dtype=torch.float64) * torch.from_numpy(weights)).sum()


_METHODS: list[tuple[Any, str]] = [
    ((sp.Number, sp.NumberSymbol), "number"),
    (Symbol, "symbol"),
    (Indexed, "indexed"),
    (Add, "add"),
    (Mul, "mul"),
    (Pow, "pow"),
    (Sum, "sum"),
    (Partial, "partial"),
    (Activation, "activation"),
    (Loss, "loss"),
    (LossSlope, "loss_slope"),
    (KroneckerDelta, "delta"),
    (Relabelling, "relabelling"),
    (Dependence, "dependence"),
    (Expectation, "expectation"),
    (Limit, "limit"),
    (Integral, "integral"),
    (GaussRule, "gauss"),
    (sp.Function, "function"),
]


def _whole(value: Any) -> Any:
    """Return an integer value as an int, or as integers for every outcome."""
    if not isinstance(value, Tensor):
        return int(value)
    return round(value.item()) if value.ndim == 0 else value.long()


def _grad(value: Tensor, leaf: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(value, leaf, create_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def relative_gap(checked: Checked, world: World) -> tuple[float, float]:
    """Return (left - right, scale) of the relation; the scale is that of the larger side, or 1."""
    evaluator = Evaluator(checked, world)
    sides = (checked.relation.lhs, checked.relation.rhs)
    left, right = (float(torch.as_tensor(evaluator.value(side, {})).detach()) for side in sides)
    return left - right, max(abs(left), abs(right), 1.0)
