"""Claim `scaling.ntk`: in the standard scale 1/sqrt(n) no sub-sample of an independent residual keeps the signal.

A pre-activation n^(-1/2) sum_j xi_j a_j with independent centred xi is a sum without a mean: the m neurons that are
kept know nothing of the n - m that are not. The error is derived for every factor on the sub-sample, at every m and n,
and beside it the mean-field scale 1/n, where it falls with m.
"""

from sympy import Expr, Integer, Sum, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.moments import Draws, Neurons
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "scaling.ntk"
ASSUMPTIONS = (
    "xi_j independent, centred, of variance s^2, independent of the signals a_j, which have a second moment",
    "m of n neurons, m < n; by exchangeability the first m, where the order is not itself the subject",
    "m and n are symbols; the error is against the network of width n",
)
PLANTS = {
    "mean_field_error": "the error of the mean-field scale is claimed for the standard one",
    "forgotten_dropped": "the neurons that are dropped are left out of the error",
    "dropped_rescale": "the sub-sample is summed without the factor n/m",
    "wrong_sign": "the least error is claimed to be the share of the neurons kept, not of those dropped",
}

j, r = indices("j r")
BIG, SMALL, ONE_IN = width("n"), width("m"), width("g")
RESIDUAL, SIGNAL, PRODUCT, DRAW = array("xi"), array("a"), array("c"), array("J")
NOISE, FACTOR = Symbol("s", positive=True) ** 2, Symbol("lambda", positive=True)
LAWS = (Neurons(frozenset({SIGNAL}), {RESIDUAL: NOISE}), Draws(DRAW, BIG, replacement=False))


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS, LAWS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _draws(chain)
    _mean_field(chain)
    _every_factor(chain)


derive = argue.derive


def _draws(chain: Chain) -> None:
    """Given the network: the draw of m of n neurons."""
    mean, spread, signal = Symbol("cbar"), Symbol("S^2"), Symbol("h_n")
    chain.define("A neuron of the network at hand adds c_j = xi_j a_j; write", mean, total(PRODUCT[j], (j, BIG)) / BIG)
    chain.define("and", spread, total((PRODUCT[j] - mean) ** 2, (j, BIG)) / (BIG - 1))
    chain.define(
        "for mean and variance over its neurons. In the standard scale it reads",
        signal,
        total(PRODUCT[j], (j, BIG)) / sqrt(BIG),
    )
    rescale = Integer(1) if chain.planted == "dropped_rescale" else BIG / SMALL
    kept = rescale * total(PRODUCT[DRAW[r]], (r, SMALL)) / sqrt(BIG)
    chain.step(
        "Draw m of n without replacement and rescale by n/m: the mean over draws is the signal,",
        Expectation(kept),
        signal,
    )
    error = spread * (1 / SMALL - 1 / BIG) if chain.planted == "mean_field_error" else spread * (BIG / SMALL - 1)
    chain.step(
        "and the variance is S^2 (n/m - 1): that of n times the mean-field error.",
        Expectation((kept - signal) ** 2),
        error,
    )
    drawn, power = Symbol("S_xi^2"), NOISE * Expectation(SIGNAL[j] ** 2)
    products = RESIDUAL[j] * SIGNAL[j]
    average = total(products, (j, BIG)) / BIG
    chain.define("With the law of the products,", drawn, total((products - average) ** 2, (j, BIG)) / (BIG - 1))
    chain.step("S^2 is on average", Expectation(drawn), power)
    chain.step(
        "just the variance of the signal: relative to it the error is n/m - 1, at every m and n.",
        Expectation((total(products, (j, BIG)) / sqrt(BIG)) ** 2),
        power,
    )


def sums(scale: Expr) -> tuple[Expr, Expr]:
    """Return what the first m neurons and the other ones add, divided by `scale`."""
    body = RESIDUAL[j] * SIGNAL[j]
    return total(body, (j, SMALL)) / scale, Sum(body, (j, SMALL + 1, BIG)) / scale


def _every_factor(chain: Chain) -> None:
    """No factor on the sub-sample helps: the dropped neurons are independent of the kept ones."""
    kept, dropped = sums(sqrt(BIG))
    lost = Integer(0) if chain.planted == "forgotten_dropped" else dropped
    power, error = NOISE * Expectation(SIGNAL[j] ** 2), Symbol("e^2")
    chain.define(
        "Put any factor lambda on the first m neurons.",
        error,
        Expectation((FACTOR * kept - kept - lost) ** 2),
    )
    share = SMALL / BIG
    chain.step(
        "Kept and dropped neurons are independent: the error is a square in lambda,",
        error,
        power * ((FACTOR - 1) ** 2 * share + 1 - share),
    )
    least = power * (share if chain.planted == "wrong_sign" else 1 - share)
    chain.step("least at lambda = 1,", error - least, power * (FACTOR - 1) ** 2 * share)
    for value, sentence, relative in (
        (BIG / SMALL, "With lambda = n/m, unbiased given the network, it is again", BIG / SMALL - 1),
        (sqrt(BIG / SMALL), "with lambda = (n/m)^(1/2), which keeps the variance,", 2 - 2 * sqrt(SMALL / BIG)),
        (Integer(1), "and with lambda = 1", 1 - SMALL / BIG),
    ):
        chain.define(sentence, FACTOR, value)
        chain.step("times the variance of the signal:", error, power * relative)
    chain.define("Keep one neuron in g:", BIG, SMALL * ONE_IN)
    chain.step("no width is left in the error. Wider networks do not help.", error, power * (1 - 1 / ONE_IN))


def _mean_field(chain: Chain) -> None:
    kept, dropped = sums(Integer(1))
    error = kept / SMALL - (kept + dropped) / BIG
    chain.step(
        "In the mean-field scale 1/n the same residual costs an error that falls with m: the scale is the cause.",
        Expectation(error**2),
        NOISE * Expectation(SIGNAL[j] ** 2) * (1 / SMALL - 1 / BIG),
    )
