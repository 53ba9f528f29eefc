"""Elementary differentials of an abstract vector field: the algebra of one-step methods, in any dimension.

`Differential(v_1, ..., v_k)` is the k-th derivative of the field F at y, applied to k directions; `Differential()` is
F(y). It is symmetric and linear in each direction, and nothing else is known of it.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import sympy as sp
from sympy import Add, Expr, Function, Integer, Mul, Symbol, factorial, log, oo
from sympy.core.function import Application

from proofs.chain import Chain, registered_rate
from proofs.notation import array, width

STEP = Symbol("h", positive=True)
LIPSCHITZ, LOCAL, TIME, STEPS = (*(Symbol(name, positive=True) for name in ("L", "C", "T")), width("N"))


class Differential(Function):  # type: ignore[misc]
    """A derivative of the field, applied to directions; their order does not matter."""

    @classmethod
    def eval(cls, *directions: Expr) -> Application | None:
        """Return the form with sorted directions."""
        ordered = tuple(sorted(directions, key=sp.default_sort_key))
        return None if ordered == directions else cls(*ordered)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        if not self.args:
            return rf"F{power}"
        inner = ", ".join(printer._print(part) for part in self.args)
        return rf"F^{{({len(self.args)})}}\left[{inner}\right]{power}"

    def _sympystr(self, printer: Any) -> str:
        primes = "'" * len(self.args)
        return f"F{primes}[{', '.join(printer._print(part) for part in self.args)}]" if self.args else "F"


FIELD = Differential()


def bracket(*directions: Expr) -> Expr:
    """Return the derivative of the field along directions that are sums: multilinear."""
    sums = [Add.make_args(sp.expand(direction)) for direction in directions]
    value: Expr = Integer(0)
    for choice in itertools.product(*sums):
        parts = [part.as_independent(Differential, as_Add=False) for part in choice]
        value += Mul(*(number for number, _ in parts)) * Differential(*(vector for _, vector in parts))
    return value


def along_flow(expr: Expr) -> Expr:
    """Return the time derivative, along the solution of y' = F(y), of a combination of differentials."""
    if isinstance(expr, Differential):
        moved = (
            bracket(*expr.args[:place], along_flow(part), *expr.args[place + 1 :])
            for place, part in enumerate(expr.args)
        )
        return Add(Differential(*expr.args, FIELD), *moved)
    if isinstance(expr, Add):
        return Add(*(along_flow(part) for part in expr.args))
    number, vector = expr.as_independent(Differential, as_Add=False)
    return sp.expand(number * along_flow(vector)) if vector != 1 else Integer(0)


class Pending(Expr):  # type: ignore[misc]
    """An operation that is printed, and carried out when the proof unfolds it."""

    is_commutative = True

    def __new__(cls, *parts: Expr | int) -> "Pending":
        """Take the parts of the operation."""
        return Expr.__new__(cls, *map(sp.sympify, parts))  # type: ignore[no-any-return]


class FieldAt(Pending):
    """The field at y + increment, by Taylor's formula up to the power `order` of h: `FieldAt(increment, order)`."""

    def carried_out(self) -> Expr:
        """Return the polynomial in h."""
        increment, order = self.args
        powers = coefficients(increment, int(order))
        value: Expr = Integer(0)
        for total in range(int(order) + 1):
            for parts in _compositions(total):
                if all(powers[part] != 0 for part in parts):
                    term = bracket(*(powers[part] for part in parts)) / factorial(len(parts))
                    value += STEP**total * term
        return sp.expand(value)

    def _latex(self, printer: Any) -> str:
        return rf"F\left(y + {printer._print(self.args[0])}\right) + O(h^{{{int(self.args[1]) + 1}}})"

    def _sympystr(self, printer: Any) -> str:
        return f"F(y + {printer._print(self.args[0])}) + O(h^{int(self.args[1]) + 1})"


class AlongFlow(Pending):
    """The time derivative along the solution, not carried out."""

    def carried_out(self) -> Expr:
        """Return the derivative."""
        return along_flow(sp.expand(self.args[0]))

    def _latex(self, printer: Any) -> str:
        return rf"\frac{{d}}{{dt}} {printer._print(self.args[0])}"

    def _sympystr(self, printer: Any) -> str:
        return f"d/dt {printer._print(self.args[0])}"


class Coefficient(Pending):
    """The coefficient of a power of h: `Coefficient(expr, power)`."""

    def carried_out(self) -> Expr:
        """Return the coefficient."""
        return coefficients(self.args[0], int(self.args[1]))[int(self.args[1])]

    def _latex(self, printer: Any) -> str:
        return rf"[h^{{{self.args[1]}}}]\, {printer._print(self.args[0])}"

    def _sympystr(self, printer: Any) -> str:
        return f"[h^{self.args[1]}] {printer._print(self.args[0])}"


def coefficients(expr: Expr, order: int) -> list[Expr]:
    """Return the coefficients of h^0, ..., h^order of a polynomial in h."""
    expanded = sp.expand(expr)
    return [expanded.coeff(STEP, power) for power in range(order + 1)]


def _compositions(total: int) -> Sequence[tuple[int, ...]]:
    """Return all ways to write `total` as an ordered sum of positive integers."""
    if total == 0:
        return [()]
    return [(first, *rest) for first in range(1, total + 1) for rest in _compositions(total - first)]


def define_derivatives(chain: Chain, order: int) -> dict[int, Expr]:
    """Define the time derivatives of the solution."""
    solution = array("y")
    chain.define("The solution moves with the field;", solution[1], FIELD)
    for number in range(2, order + 1):
        chain.define(
            "each further derivative is one more along the flow.", solution[number], AlongFlow(solution[number - 1])
        )
    return {number: solution[number] for number in range(1, order + 1)}


def accumulate(chain: Chain, *, planted: bool = False) -> None:
    """From local errors C h^(p+1) and a Lipschitz constant to a global error of order p, which the registry states."""
    bound, steps = array("B"), Symbol("k", integer=True, nonnegative=True)
    order = registered_rate(chain.claim)
    local = order if planted else order + 1
    growth = 1 + STEP * LIPSCHITZ
    chain.define(
        "Let a step stretch errors by at most 1 + h L and add a local error of at most C times this power of h. Bound "
        "the error after k steps by",
        bound[steps],
        LOCAL * STEP**order * (growth**steps - 1) / LIPSCHITZ,
    )
    chain.step("which starts at zero", bound[0], 0)
    chain.step(
        "and is what a step makes of it: by induction it bounds the error.",
        bound[steps + 1],
        growth * bound[steps] + LOCAL * STEP**local,
    )
    chain.define("At a time T, after N steps,", STEP, TIME / STEPS)
    chain.step(
        "the bound over the power of h that the registry states tends to a constant.",
        sp.Limit(bound[STEPS] / STEP**order, STEPS, oo),
        LOCAL * (sp.exp(LIPSCHITZ * TIME) - 1) / LIPSCHITZ,
    )


def attained(chain: Chain, factor: Expr, constant: Expr) -> None:
    """Show on y' = y that the order is not higher: h^(-p) times the error at time 1 tends to e times `constant`."""
    order, small = registered_rate(chain.claim), Symbol("x", positive=True)
    chain.step(
        "On y' = y a step of size x multiplies by a polynomial, the flow by exp(x): in a unit of time the logarithm of "
        "the method's factor falls short of 1, and over a power of x by",
        sp.Limit((1 - log(factor.xreplace({STEP: small})) / small) / small**order, small, 0),
        constant,
    )
    chain.differ(
        "it is not zero: at time 1 the error is e times this times that power: the order is exact.",
        constant,
        Integer(0),
    )
