"""Claim `reference.finite`: against a reference of finite width N errors fall with 1/n - 1/N, or 1/n + 1/N.

A large network stands for the limit. When the small one keeps n of its N units, the common units cancel; when both are
drawn independently, the errors add. In both cases the exponent in the corrected width is exactly -1/2, and a regression
on n alone is wrong by a known factor.
"""

from sympy import Expr, Integer, Limit, Rational, Sum, Symbol, log, oo

from proofs.chain import Chain, argument
from proofs.laws import stated_exponents
from proofs.moments import Draws, Neurons
from proofs.notation import Expectation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "reference.finite"
ASSUMPTIONS = (
    "independent units, identically distributed, n < N; the observable is a mean over the units, or its linear part, a "
    "mean of influence functions (exact to first order)",
    "nested: the n units are among the N of the reference, its first ones or drawn without replacement; independent: "
    "none is",
    "more than one layer: all of widths n and N, or the sum of the corrections of the layers",
)
PLANTS = {
    "independent_nested": "nested samples are taken to be independent",
    "nested_independent": "independent samples are taken to be nested",
    "divisor": "the variance of the reference is not corrected for its own mean",
    "slope_in_n": "the slope against log n is taken to be that against the corrected width",
}

j, k, r = indices("j k r")
SMALL, BIG = width("n"), width("N")
VALUE, DRAWN, DRAW = array("phi"), array("y"), array("J")
SPREAD = Symbol("v")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    laws = (Neurons(frozenset({VALUE})), Draws(DRAW, BIG, replacement=False))
    chain.laws = laws
    _units(chain)
    _nested(chain)
    _independent(chain)
    _drawn(chain)
    _slopes(chain)


derive = argue.derive


def mean(values: Expr, size: Expr) -> Expr:
    """Return the mean over the first `size` units."""
    return total(values, (j, size)) / size


def reference(values: Expr) -> Expr:
    """Return the mean over N units: the first n, and the others."""
    return (total(values, (j, SMALL)) + Sum(values, (j, SMALL + 1, BIG))) / BIG


def _units(chain: Chain) -> None:
    chain.define("Variance of one unit.", SPREAD, Expectation(VALUE[j] ** 2) - Expectation(VALUE[j]) ** 2)
    chain.step(
        "Against the limit: 1/n.", Expectation((mean(VALUE[j], SMALL) - Expectation(VALUE[j])) ** 2), SPREAD / SMALL
    )


def _nested(chain: Chain) -> None:
    width_of = 1 / SMALL + 1 / BIG if chain.planted == "independent_nested" else 1 / SMALL - 1 / BIG
    chain.step(
        "The small network is made of n of the N units of the reference. The two errors have the covariance 1/N, which "
        "comes off twice from 1/n + 1/N: the difference vanishes at n = N.",
        Expectation((mean(VALUE[j], SMALL) - reference(VALUE[j])) ** 2),
        SPREAD * width_of,
    )
    chain.step(
        "What is missing towards the limit is independent of what was seen: the two parts add to 1/n.",
        Expectation((mean(VALUE[j], SMALL) - reference(VALUE[j])) * (reference(VALUE[j]) - Expectation(VALUE[j]))),
        0,
    )


def _independent(chain: Chain) -> None:
    width_of = 1 / SMALL - 1 / BIG if chain.planted == "nested_independent" else 1 / SMALL + 1 / BIG
    chain.step(
        "Drawn independently of the reference, whose units are now n + 1, ..., n + N, the small network differs from "
        "it by both errors.",
        Expectation((mean(VALUE[j], SMALL) - Sum(VALUE[k], (k, SMALL + 1, SMALL + BIG)) / BIG) ** 2),
        SPREAD * width_of,
    )


def _drawn(chain: Chain) -> None:
    """Units of a fixed reference, drawn without replacement: the same correction, sample by sample of the reference."""
    population, average, spread = Symbol("S^2"), Symbol("ybar"), SPREAD
    chain.define(
        "Given the reference, its values are fixed numbers with mean", average, total(DRAWN[j], (j, BIG)) / BIG
    )
    divisor = BIG if chain.planted == "divisor" else BIG - 1
    chain.define("and variance", population, total((DRAWN[j] - average) ** 2, (j, BIG)) / divisor)
    chain.step(
        "n of them drawn without replacement (sampling.variance) have the same correction,",
        Expectation((total(DRAWN[DRAW[r]], (r, SMALL)) / SMALL - average) ** 2),
        population * (1 / SMALL - 1 / BIG),
    )
    empirical = total((VALUE[j] - total(VALUE[k], (k, BIG)) / BIG) ** 2, (j, BIG)) / (BIG - 1)
    chain.step(
        "and the mean of that variance over all references is the variance of a unit.", Expectation(empirical), spread
    )


def _slopes(chain: Chain) -> None:
    constant, error, corrected = Symbol("C", positive=True), Symbol("e_n"), Symbol("nu_n")
    (rate,) = stated_exponents(CLAIM, r"\nu")
    chain.define(
        "Root mean square against a nested reference.", error, (constant * (1 / SMALL - 1 / BIG)) ** Rational(1, 2)
    )
    width_of = SMALL if chain.planted == "slope_in_n" else 1 / (1 / SMALL - 1 / BIG)
    chain.define("Corrected width.", corrected, width_of)
    chain.step(
        "Its slope against the log of the corrected width is the rate of the registry, at every n and N;",
        Partial(log(error), SMALL) / Partial(log(corrected), SMALL),
        rate,
    )
    chain.step(
        "against log n the same errors have another slope, steeper by this factor, which only a reference much wider "
        "than n cures.",
        SMALL * Partial(log(error), SMALL) / rate,
        1 / (1 - SMALL / BIG),
    )
    chain.step("In the limit of an infinite reference the factor is", Limit(1 / (1 - SMALL / BIG), BIG, oo), Integer(1))
