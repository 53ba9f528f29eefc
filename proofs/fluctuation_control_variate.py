"""Claim `fluctuation.control-variate`: with its first order taken off, the error of width n has variance O(n^-2).

Exact at every n for the quadratic functional of one law, where the whole second order is seen, and for the bilinear
functional of two laws with a residual, where the interaction and the residual are left over the product of the widths.
"""

from collections.abc import Callable

from sympy import Expr, IndexedBase, Limit, Rational, Symbol, log, oo

from proofs.chain import Chain, argument, registered_rate
from proofs.laws import Conditioned, OtherNeuron
from proofs.notation import Expectation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "fluctuation.control-variate"
ASSUMPTIONS = (
    "independent latents, identically distributed in each layer; a centred residual of independent entries of variance "
    "s^2; two moments of the functional's kernel, on its diagonal too",
    "derived for a quadratic functional of one law and a bilinear one of two; for other functionals these are the "
    "second order, and that the third is of lower order is supposed",
    "the second-order part does not vanish",
)
PLANTS = {
    "half_control": "the control variate takes off half of the first order",
    "one_sided": "the influence function sees one of the two slots of the functional only",
    "lost_symmetry": "the second-order part is taken to be uncorrelated with its transpose",
    "no_residual": "the residual is left out of the remainder",
    "variance_for_root": "the exponent of the variance is claimed for its root",
}

i, j, k = indices("i j k")
WIDTH, FIRST, SECOND = width("n"), width("n_1"), width("n_2")
PAIR, ROWS, COLUMNS, BETWEEN, BELOW, ABOVE = (array(name) for name in ("G", "B", "C", "K", "K^1", "K^2"))
REST, REST_2, RESIDUAL = array("H"), array("H'"), array("xi")
NOISE = Symbol("s", positive=True) ** 2


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    law = Conditioned(
        frozenset({PAIR, BETWEEN}),
        {RESIDUAL: NOISE},
        {ROWS: _first(PAIR), COLUMNS: _second(PAIR), ABOVE: _first(BETWEEN), BELOW: _second(BETWEEN)},
    )
    chain.laws = (law,)
    _quadratic(chain)
    _bilinear(chain)
    _exponent(chain)


derive = argue.derive


def _first(pair: IndexedBase) -> Callable[[Expr, OtherNeuron], Expr]:
    """Return the mean over the second slot, as an integrand."""

    def integrand(unit: Expr, other: OtherNeuron) -> Expr:
        return pair[unit, other()]

    return integrand


def _second(pair: IndexedBase) -> Callable[[Expr, OtherNeuron], Expr]:
    """Return the mean over the first slot, as an integrand."""

    def integrand(unit: Expr, other: OtherNeuron) -> Expr:
        return pair[other(), unit]

    return integrand


def _quadratic(chain: Chain) -> None:
    finite, limit, influence, left = Symbol("f_n"), Symbol("f"), array("IF"), Symbol("R_n")
    chain.define(
        "A quadratic functional of the law of a layer,", finite, total(PAIR[j, k], (j, WIDTH), (k, WIDTH)) / WIDTH**2
    )
    chain.define("and its limit.", limit, Expectation(PAIR[j, k]))
    slots = ROWS[j] - limit if chain.planted == "one_sided" else ROWS[j] + COLUMNS[j] - 2 * limit
    chain.define("Its influence function: the means of G over each slot, centred.", influence[j], slots)
    share = Rational(1, 2) if chain.planted == "half_control" else 1
    chain.define(
        "Take the first order off the error.", left, finite - limit - share * total(influence[j], (j, WIDTH)) / WIDTH
    )
    chain.define("G less its means over one slot.", REST[j, k], PAIR[j, k] - ROWS[j] - COLUMNS[k] + limit)
    chain.step(
        "What is left is the same functional of this rest,", left, total(REST[j, k], (j, WIDTH), (k, WIDTH)) / WIDTH**2
    )
    chain.step("which knows nothing of one unit alone:", Expectation(REST[j, k] * ROWS[j]), 0)
    chain.step("its mean is the bias (width.bias).", Expectation(left), Expectation(REST[j, j]) / WIDTH)
    transpose = 0 if chain.planted == "lost_symmetry" else Expectation(REST[j, k] * REST[k, j])
    square = Expectation(REST[j, k] ** 2) + transpose
    own = Expectation(REST[j, j] ** 2) - Expectation(REST[j, j]) ** 2
    chain.step(
        "Its variance is exact at every n: pairs of units over n^2, what is left of a unit with itself over n^3.",
        Expectation(left**2) - Expectation(left) ** 2,
        (WIDTH - 1) / WIDTH**3 * square + own / WIDTH**3,
    )
    chain.step(
        "So n^2 times the variance tends to a constant.",
        Limit(WIDTH**2 * (Expectation(left**2) - Expectation(left) ** 2), WIDTH, oo),
        square,
    )


def _bilinear(chain: Chain) -> None:
    finite, limit, left = Symbol("F_n"), Symbol("F"), Symbol("R'_n")
    entries = total(BETWEEN[i, j] + RESIDUAL[i, j], (i, SECOND), (j, FIRST)) / (FIRST * SECOND)
    chain.define("Two laws and a residual: a bilinear functional,", finite, entries)
    chain.define("and its limit.", limit, Expectation(BETWEEN[i, j]))
    first = total(BELOW[j] - limit, (j, FIRST)) / FIRST + total(ABOVE[i] - limit, (i, SECOND)) / SECOND
    chain.define("Take the influence functions of both layers off the error.", left, finite - limit - first)
    chain.define("The interaction.", REST_2[i, j], BETWEEN[i, j] - ABOVE[i] - BELOW[j] + limit)
    residual = 0 if chain.planted == "no_residual" else NOISE
    chain.step(
        "Exactly, at every pair of widths, interaction and residual are left, over the product of the widths.",
        Expectation(left**2),
        (Expectation(REST_2[i, j] ** 2) + residual) / (FIRST * SECOND),
    )


def _exponent(chain: Chain) -> None:
    constant, rest = Symbol("v", positive=True), Symbol("v'", positive=True)
    root = registered_rate(CLAIM)
    power = 1 if chain.planted == "variance_for_root" else Rational(1, 2)
    error = constant / WIDTH**2 + rest / WIDTH**3
    slope = Limit(WIDTH * Partial(log(error), WIDTH), WIDTH, oo)
    chain.step("The slope of log variance against log n tends to", slope, 2 * root)
    rooted = Limit(WIDTH * Partial(log(error**power), WIDTH), WIDTH, oo)
    chain.step("and that of the root mean square to half of it: the rates of the registry.", rooted, root)
