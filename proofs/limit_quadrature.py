"""Claim `limit.quadrature`: Gauss-Legendre nodes compute integrals over the latent with a geometric error.

Exactness is shown for Q = 1..6 nodes in exact arithmetic: a sum over the roots of the Legendre polynomial P_Q is a
coefficient of a remainder modulo P_Q, so no root is ever computed. From exactness to degree 2Q - 1, the bound for
1/(c - z) follows for every Q; an analytic integrand is a superposition of such poles on an ellipse (Cauchy).
"""

from functools import cache
from typing import Any, ClassVar

import sympy as sp
from sympy import Expr, Integer, Integral, Poly, Rational, Symbol, factorial, legendre, log

from proofs.chain import Chain, argument
from proofs.notation import Partial, array, index, width
from rctheory.suite.derivation import Scope

CLAIM = "limit.quadrature"
ASSUMPTIONS = (
    "exactness is shown for Q = 1, ..., 6; the classical theorem has it for every Q",
    "given exactness, the geometric bound holds for every Q and every pole c = (r + 1/r)/2 outside [-1, 1], 0 < r < 1",
    "an integrand that is analytic inside the ellipse through c is a superposition of such poles (Cauchy)",
    "the latent is uniform on [-1, 1]: integrals below are twice the expectation",
)
PLANTS = {
    "degree_2q": "exactness is claimed one degree too far",
    "uniform_weights": "all nodes get the same weight",
    "chebyshev_nodes": "the nodes are Chebyshev's with the weights of Legendre's",
    "doubled_rate": "the bound falls twice as fast in the exponent",
}

z, u = Symbol("z", real=True), Symbol("u", nonzero=True)
k, NODES = index("k"), width("Q")
RATIO, POLE = Symbol("r", positive=True), Symbol("c")
LARGEST = 6


class GaussRule(Expr):  # type: ignore[misc]
    """The Q-point Gauss-Legendre sum of a rational function of z: `GaussRule(f, Q)`.

    With nodes the roots of P and weights w(z) = 2 / ((1 - z^2) P'(z)^2), the sum of f w over the roots is the
    coefficient of z^(Q-1) in the remainder of f w P' modulo P, over the leading coefficient of P.
    """

    is_commutative = True
    letter: ClassVar[str] = "G"

    def __new__(cls, integrand: Expr, nodes: int) -> "GaussRule":
        """Take the integrand, in the variable z, and the number of nodes."""
        return Expr.__new__(cls, sp.sympify(integrand), Integer(nodes))  # type: ignore[no-any-return]

    @classmethod
    def polynomial(cls, nodes: int) -> Poly:
        """Return the polynomial whose roots are the nodes."""
        return Poly(legendre(nodes, z), z)

    @classmethod
    def weight(cls, nodes: int) -> Poly:
        """Return the weight as a polynomial modulo the polynomial of the nodes."""
        roots = cls.polynomial(nodes)
        return 2 * _inverse(Poly(1 - z**2, z) * roots.diff() ** 2, roots)

    @classmethod
    @cache
    def moment(cls, numerator: Expr, denominator: Expr, nodes: int) -> Rational:
        """Return the sum over the nodes of weight times numerator / denominator."""
        roots = cls.polynomial(nodes)
        product = Poly(numerator, z) * _inverse(Poly(denominator, z), roots) * cls.weight(nodes) * roots.diff()
        return product.rem(roots).coeff_monomial(z ** (nodes - 1)) / roots.LC()

    def carried_out(self) -> Expr:
        """Return the exact value; symbols other than z are coefficients, in which the rule is linear."""
        integrand, nodes = self.args[0].doit(), int(self.args[1])
        numerator, denominator = sp.fraction(sp.together(integrand))
        terms = Poly(numerator, z).terms()
        return sp.Add(*(value * self.moment(z**power, denominator, nodes) for (power,), value in terms))

    def _latex(self, printer: Any) -> str:
        return rf"\mathcal{{{self.letter}}}_{{{self.args[1]}}}\left[{printer._print(self.args[0])}\right]"

    def _sympystr(self, printer: Any) -> str:
        return f"Gauss_{self.args[1]}[{printer._print(self.args[0])}]"


class UniformRule(GaussRule):
    """Planted: the same weight at every node."""

    @classmethod
    def weight(cls, nodes: int) -> Poly:
        """Return 2/Q."""
        return Poly(Rational(2, nodes), z)


class ChebyshevRule(GaussRule):
    """Planted: the nodes of another family."""

    @classmethod
    def polynomial(cls, nodes: int) -> Poly:
        """Return the Chebyshev polynomial of the first kind."""
        return Poly(sp.chebyshevt(nodes, z), z)


def _inverse(value: Poly, modulus: Poly) -> Poly:
    return sp.invert(value.set_domain("QQ"), modulus.set_domain("QQ"))


@argument(CLAIM, Scope.INSTANCE, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _exactness(chain)
    _failure(chain)
    _poles(chain)
    _bound(chain)
    _instances(chain)


derive = argue.derive


def _integral(integrand: Expr) -> Integral:
    return Integral(integrand, (z, -1, 1))


def _exactness(chain: Chain) -> None:
    rules = {"uniform_weights": UniformRule, "chebyshev_nodes": ChebyshevRule}
    rule = rules.get(chain.planted or "", GaussRule)
    degrees = 2 if chain.planted == "degree_2q" else 1
    for nodes in range(1, LARGEST + 1):
        integrate = "node integrates" if nodes == 1 else "nodes integrate"
        generic = sp.Sum(array("b")[k] * z**k, (k, 0, 2 * nodes - 2 + degrees))
        chain.step(
            f"{nodes} {integrate} every polynomial to degree {2 * nodes - 1} exactly.",
            rule(generic, nodes),
            _integral(generic),
            method="exact remainders modulo the Legendre polynomial",
        )


def _failure(chain: Chain) -> None:
    for nodes in range(1, LARGEST + 1):
        value = Integer(2) ** (2 * nodes + 1) * factorial(nodes) ** 4 / ((2 * nodes + 1) * factorial(2 * nodes) ** 2)
        chain.step(
            f"Degree {2 * nodes} is beyond {nodes} of them, by the classical amount, which is not zero.",
            _integral(z ** (2 * nodes)) - GaussRule(z ** (2 * nodes), nodes),
            value,
            method="exact remainders modulo the Legendre polynomial",
        )


def _poles(chain: Chain) -> None:
    """Chebyshev series of 1/(c - z): with 2z = u + 1/u the polynomial T_k is (u^k + u^-k)/2."""
    partial, ratio = array("P"), Symbol("s")
    chain.define("A geometric sum of the powers 1, ..., k - 1.", partial[k], (ratio - ratio**k) / (1 - ratio))
    chain.step("It is empty for k = 1", partial[1], 0)
    chain.step("and grows by the next power.", partial[k + 1] - partial[k], ratio**k)
    chain.define("Write the pole as", POLE, (RATIO + 1 / RATIO) / 2)
    forward, backward = RATIO * u / (1 - RATIO * u), (RATIO / u) / (1 - RATIO / u)
    chain.step(
        "and the variable as z = (u + 1/u)/2. Two geometric series, of r u and of r/u, make the Chebyshev series of "
        "the pole: the coefficient of T_k is 4 r^(k+1) / (1 - r^2).",
        1 / (POLE - (u + 1 / u) / 2),
        2 * RATIO / (1 - RATIO**2) * (1 + forward + backward),
    )


def tail_of_series(ratio: Expr, power: Expr) -> Expr:
    """Return the sum of the coefficients 4 r^(k+1) / (1 - r^2) of the Chebyshev series over k >= power."""
    return 4 * ratio / (1 - ratio**2) * ratio**power / (1 - ratio)


def _bound(chain: Chain) -> None:
    bound, tail = array("B"), array("A")
    power = 4 * NODES if chain.planted == "doubled_rate" else 2 * NODES
    chain.define(
        "Since |T_k| <= 1, cutting the series after degree 2Q - 1 errs by at most",
        tail[NODES],
        tail_of_series(RATIO, power),
    )
    head = (RATIO - RATIO ** (2 * NODES)) / (1 - RATIO)
    chain.step(
        "the tail of the geometric series from the power 2Q on.",
        tail[NODES],
        4 * RATIO / (1 - RATIO**2) * (RATIO / (1 - RATIO) - head),
    )
    chain.define(
        "Exactness leaves the error of the rest; integral and rule, with positive weights of sum 2, "
        "are at most twice its size each.",
        bound[NODES],
        4 * tail[NODES],
    )
    chain.step("So every further node gains the same factor,", bound[NODES + 1] / bound[NODES], RATIO**2)
    chain.step(
        "and the slope of log bound against log Q falls without limit: faster than any power of Q.",
        NODES * Partial(log(bound[NODES]), NODES),
        2 * NODES * log(RATIO),
    )


def _instances(chain: Chain) -> None:
    ratio = Rational(1, 2)
    pole = (ratio + 1 / ratio) / 2
    for nodes in range(1, LARGEST + 1):
        chain.order(
            f"Checked exactly at the pole {pole}, r = {ratio}, with Q = {nodes}.",
            abs(_integral(1 / (pole - z)) - GaussRule(1 / (pole - z), nodes)),
            4 * tail_of_series(ratio, Integer(2 * nodes)),
        )
