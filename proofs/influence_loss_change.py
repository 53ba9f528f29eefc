"""Claim `influence.loss-change`: mean and variance of the loss change of a sampled axis, from influences alone.

A sample without replacement gives unit j the mass p_j = n c_j / m, c_j its multiplicity. The first order of the loss
change is linear in p - 1, the second a mean of squares of linear forms, so that both follow from the moments of a
sampled mean. The Hessian comes from labels drawn by the model: labels of different places are independent.
"""

from sympy import Expr, IndexedBase, KroneckerDelta, Symbol

from proofs.chain import Chain, argument
from proofs.moments import Draws, Neurons
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "influence.loss-change"
ASSUMPTIONS = (
    "the loss is expanded to second order in the masses at p = 1: this is an expansion, not a bound",
    "J_1, ..., J_m are draws without replacement; S^2 has the divisor n - 1",
    "labels of the T places are drawn independently from the model; x_t, y_t are the derivatives of place t's loss in "
    "two masses",
    "n, m and T are symbols",
)
PLANTS = {
    "no_finite_factor": "the finite-population correction -1/n is forgotten",
    "mass_of_one": "a kept unit has the mass 1 instead of n / m",
    "mean_of_masses": "the mean of the influences counts although the masses add up to n",
    "sum_of_labels": "the Fisher information of the mean loss is not multiplied by T",
    "kept_for_absent": "the probability of being drawn stands for that of absence",
}

j, r, t = indices("j r t")
POPULATION, SAMPLE, TOKENS = width("n"), width("m"), width("T")
INFLUENCE, SCORE, DRAW = array("g"), array("s"), array("J")
FIRST, SECOND = array("x"), array("y")
MEAN, VARIANCE, SCORE_MEAN, SCORE_VARIANCE = Symbol("gbar"), Symbol("S_g^2"), Symbol("sbar"), Symbol("S_s^2")
FISHER = Symbol("F")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    chain.laws = (Draws(DRAW, POPULATION, replacement=False), Neurons(frozenset({FIRST, SECOND})))
    _define(chain, INFLUENCE, MEAN, VARIANCE, "influences")
    _define(chain, SCORE, SCORE_MEAN, SCORE_VARIANCE, "influences on a loss of drawn labels")
    _first_order(chain)
    _second_order(chain)
    _labels(chain)
    _absence(chain)


derive = argue.derive


def _define(chain: Chain, values: IndexedBase, mean: Symbol, variance: Symbol, what: str) -> None:
    chain.define(f"Mean of the {what}.", mean, total(values[j], (j, POPULATION)) / POPULATION)
    squares = total((values[j] - mean) ** 2, (j, POPULATION))
    chain.define(f"Variance of the {what}.", variance, squares / (POPULATION - 1))


def _linear(values: IndexedBase, chain: Chain) -> Expr:
    """Return sum_j y_j (p_j - 1), written over the draws."""
    ratio = 1 if chain.planted == "mass_of_one" else POPULATION / SAMPLE
    return ratio * total(values[DRAW[r]], (r, SAMPLE)) - total(values[j], (j, POPULATION))


def _first_order(chain: Chain) -> None:
    count = total(KroneckerDelta(DRAW[r], j), (r, SAMPLE))
    chain.step("Every unit has the mass 1 in the mean.", Expectation(POPULATION / SAMPLE * count), 1)
    chain.step("So the first order has the mean 0:", Expectation(_linear(INFLUENCE, chain)), 0)
    spread = VARIANCE + MEAN**2 if chain.planted == "mean_of_masses" else VARIANCE
    chain.step(
        "its variance is that of n times a sampled mean. A common part of all influences drops out, because the masses "
        "add up to n.",
        Expectation(_linear(INFLUENCE, chain) ** 2),
        POPULATION**2 * spread * _correction(chain),
    )


def _second_order(chain: Chain) -> None:
    chain.step(
        "The second order is half a mean over labels of T times the square of the same form with scores in place of "
        "influences: the square has, in the mean over draws,",
        Expectation(_linear(SCORE, chain) ** 2),
        POPULATION**2 * SCORE_VARIANCE * _correction(chain),
    )


def _labels(chain: Chain) -> None:
    chain.define(
        "Fisher information of one place, between two masses.",
        FISHER,
        Expectation(FIRST[t] * SECOND[t]) - Expectation(FIRST[t]) * Expectation(SECOND[t]),
    )
    first, second = (total(values[t], (t, TOKENS)) / TOKENS for values in (FIRST, SECOND))
    factor = 1 if chain.planted == "sum_of_labels" else TOKENS
    chain.step(
        "Scores of the mean loss covary by F / T, since different places are independent: T times their product is the "
        "Fisher information of the mean loss, which stands for its Hessian.",
        Expectation(first * second) - Expectation(first) * Expectation(second),
        FISHER / factor,
    )


def _absence(chain: Chain) -> None:
    count = total(KroneckerDelta(DRAW[r], j), (r, SAMPLE))
    drawn = SAMPLE / POPULATION
    absent = drawn if chain.planted == "kept_for_absent" else 1 - drawn
    chain.step(
        "A unit whose removal no derivative describes adds a jump on the event that it is not drawn, of probability",
        Expectation(1 - count),
        absent,
    )
    mass = POPULATION / SAMPLE * count
    chain.step(
        "Its mass is 0 there, 1 below the mean, so that event and mass covary by",
        Expectation((1 - count) * (mass - 1)),
        -absent,
    )
    chain.step("The mass has the variance", Expectation((mass - 1) ** 2), 1 / drawn - 1)
    chain.step(
        "so that nothing of the event is left beside the mass: every function of two masses is linear.",
        absent * (1 - absent) - absent**2 / (1 / drawn - 1),
        0,
    )


def _correction(chain: Chain) -> Expr:
    return 1 / SAMPLE if chain.planted == "no_finite_factor" else 1 / SAMPLE - 1 / POPULATION
