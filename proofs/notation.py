"""Symbols of the proofs: widths, indices, arrays, sums over axes, and the abstract functions with their printing."""

from typing import Any

import sympy as sp
from sympy import Dummy, Expr, Function, IndexedBase, Integer, Lambda, Sum, Symbol
from sympy.core.function import ArgumentIndexError
from sympy.printing.precedence import PRECEDENCE


def width(name: str) -> Symbol:
    """Return a symbolic number of neurons, data, draws or steps: a positive integer."""
    return Symbol(name, integer=True, positive=True)


def index(name: str) -> Symbol:
    """Return a symbolic index of an axis."""
    return Symbol(name, integer=True)


def indices(names: str) -> tuple[Symbol, ...]:
    """Return several indices; `names` are separated by blanks."""
    return tuple(index(name) for name in names.split())


def array(name: str) -> IndexedBase:
    """Return an array with symbolic entries, indexed from 1."""
    return IndexedBase(name, real=True)


def total(body: Expr, *axes: tuple[Symbol, Expr]) -> Sum:
    """Return the sum of `body` over each pair (index, width), from 1 to the width."""
    return Sum(body, *((bound, 1, size) for bound, size in axes))


def _primes(order: Expr) -> str:
    return "'" * int(order)


class Activation(Function):  # type: ignore[misc]
    r"""An abstract differentiable function: `Activation(u, k)` is its k-th derivative at u (k = 0 when left out).

    Abstract on purpose: SymPy leaks the bound index when it simplifies a sum of a delta times a Piecewise.
    """

    nargs = (1, 2)
    letter, tex = "sigma", r"\sigma"

    @property
    def order(self) -> Expr:
        """Return which derivative this is."""
        return self.args[1] if len(self.args) == 2 else Integer(0)

    def fdiff(self, argindex: int = 1) -> Expr:
        """Return the next derivative at the same point."""
        return self.func(self.args[0], self.order + 1)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"{self.tex}{_primes(self.order)}{power}\left({printer._print(self.args[0])}\right)"

    def _sympystr(self, printer: Any) -> str:
        return f"{self.letter}{_primes(self.order)}({printer._print(self.args[0])})"


class Loss(Expr):  # type: ignore[misc]
    """An abstract differentiable loss of all outputs of one datum: `Loss(Lambda(k, f_k(x)), K, x)`.

    Its differential is the sum over the K outputs of `LossSlope` times the differential of the output: nothing is
    assumed about how the outputs enter, so softmax losses are covered.
    """

    is_commutative = True

    def _eval_derivative(self, target: Expr) -> Expr:
        outputs, size, datum = self.args
        fresh = Dummy("k", integer=True)
        slope = LossSlope(fresh, outputs, size, datum)
        return total(slope * outputs(fresh).diff(target), (fresh, size))

    def _latex(self, printer: Any) -> str:
        return rf"\ell\left({printer._print(_family(self.args[0]))},\, y({printer._print(self.args[2])})\right)"

    def _sympystr(self, printer: Any) -> str:
        return f"loss({printer._print(_family(self.args[0]))}, y({printer._print(self.args[2])}))"


class LossSlope(Expr):  # type: ignore[misc]
    """The partial derivative of the loss in output k: `LossSlope(k, Lambda(k', f_k'(x)), K, x)`."""

    is_commutative = True

    def _latex(self, printer: Any) -> str:
        slot, outputs, _, datum = (printer._print(_family(part)) for part in self.args)
        return rf"\partial_{{{slot}}}\ell\left({outputs},\, y({datum})\right)"

    def _sympystr(self, printer: Any) -> str:
        slot, outputs, _, datum = (printer._print(_family(part)) for part in self.args)
        return f"d_{slot} loss({outputs}, y({datum}))"


def _family(part: Expr) -> Expr:
    """Return what stands for a family of outputs in print: its member with a bullet for the index."""
    return part(Symbol("•")) if isinstance(part, Lambda) else part


class Partial(Expr):  # type: ignore[misc]
    """The partial derivative of a quantity with respect to one entry of an array, not carried out."""

    is_commutative = True
    precedence = PRECEDENCE["Mul"]

    def __new__(cls, quantity: Expr, entry: Expr) -> "Partial":
        """Take any expression and one indexed entry (or a symbol)."""
        return Expr.__new__(cls, sp.sympify(quantity), entry)  # type: ignore[no-any-return]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        above, below = (printer._print(part) for part in self.args)
        whole = rf"\frac{{\partial {above}}}{{\partial {below}}}"
        return whole if exp is None else rf"\left({whole}\right)^{{{exp}}}"

    def _sympystr(self, printer: Any) -> str:
        above, below = (printer._print(part) for part in self.args)
        return f"d({above})/d({below})"


class Expectation(Expr):  # type: ignore[misc]
    """The expectation of an expression in random arrays; free indices stand for distinct neurons."""

    is_commutative = True

    def __new__(cls, body: Expr) -> "Expectation":
        """Take the expression."""
        return Expr.__new__(cls, sp.sympify(body))  # type: ignore[no-any-return]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\mathrm{{E}}{power}\left[{printer._print(self.args[0])}\right]"

    def _sympystr(self, printer: Any) -> str:
        return f"E[{printer._print(self.args[0])}]"


class Relabelling(Function):  # type: ignore[misc]
    """A permutation of an axis, evaluated at an index: a bijection of the index set and nothing else is known.

    `Relabelling(i, n)` names the width n of its axis: axes are relabelled each in its own way, and a relabelling is
    undone under a sum over its whole axis only.
    """

    nargs = 2

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return rf"\pi_{{{printer._print(self.args[1])}}}({printer._print(self.args[0])})"

    def _sympystr(self, printer: Any) -> str:
        return f"pi_{printer._print(self.args[1])}({printer._print(self.args[0])})"


class Dependence(Function):  # type: ignore[misc]
    """An abstract function of several arguments: equal arguments give equal values, and nothing else is known.

    Where it is differentiated, in its first argument only, it is supposed to be smooth there.
    """

    letter, tex = "Psi", r"\Psi"

    def fdiff(self, argindex: int = 1) -> Expr:
        """Return the derivative in the first argument."""
        if argindex != 1:
            raise ArgumentIndexError(self, argindex)
        return DependenceSlope(*self.args)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"{self.tex}{power}\left({', '.join(printer._print(part) for part in self.args)}\right)"

    def _sympystr(self, printer: Any) -> str:
        return f"{self.letter}({', '.join(printer._print(part) for part in self.args)})"


class DependenceSlope(Dependence):
    """The derivative of an abstract function in its first argument."""

    letter, tex = "d_1 Psi", r"\partial_1 \Psi"
