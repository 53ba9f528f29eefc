"""Claim `sampling.variance`: the mean of m of n values is unbiased, with its exact variance under both designs.

The moments come from the coincidences of draws: two of the m draws are the same draw m times, and two distinct draws
m (m - 1) times; distinct draws hit independent units with replacement, and distinct units without.
"""

from sympy import Expr, IndexedBase, KroneckerDelta, Symbol

from proofs.chain import Chain, argument
from proofs.moments import Draws
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "sampling.variance"
ASSUMPTIONS = (
    "a finite population of n values; S^2 has the divisor n - 1",
    "I_1, ..., I_m are draws with replacement, J_1, ..., J_m draws without (m at most n), I' a second axis's draws",
    "the three are drawn independently of one another; n and m are symbols",
)
PLANTS = {
    "swapped_designs": "the variance without replacement is claimed for draws with replacement",
    "divisor_n": "the population variance divides by n instead of n - 1",
    "forgotten_coincidence": "a draw is taken to be independent of itself",
    "added_correction": "the finite-population correction 1/n is added instead of subtracted",
    "untied_draws": "the covariance under one draw is claimed for two independent draws",
}

j, k, r, s = indices("j k r s")
POPULATION, SAMPLE = width("n"), width("m")
Y, Z = array("y"), array("z")
WITH, WITHOUT, OTHER = array("I"), array("J"), array("I'")
MEAN_Y, MEAN_Z, VARIANCE, COVARIANCE = Symbol("ybar"), Symbol("zbar"), Symbol("S^2"), Symbol("S_yz")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    laws = (
        Draws(WITH, POPULATION, replacement=True),
        Draws(WITHOUT, POPULATION, replacement=False),
        Draws(OTHER, POPULATION, replacement=True),
    )
    chain.laws = laws
    _define_population(chain)
    _first_moments(chain)
    _pairs(chain)
    _variances(chain)
    _covariances(chain)


derive = argue.derive


def sample_mean(values: IndexedBase, draw: IndexedBase) -> Expr:
    """Return the mean of the drawn values."""
    return total(values[draw[r]], (r, SAMPLE)) / SAMPLE


def _define_population(chain: Chain) -> None:
    chain.define("Mean of the population.", MEAN_Y, total(Y[j], (j, POPULATION)) / POPULATION)
    chain.define("Mean of a second variable on the same units.", MEAN_Z, total(Z[j], (j, POPULATION)) / POPULATION)
    divisor = POPULATION if chain.planted == "divisor_n" else POPULATION - 1
    squares = total((Y[j] - MEAN_Y) ** 2, (j, POPULATION))
    products = total((Y[j] - MEAN_Y) * (Z[j] - MEAN_Z), (j, POPULATION))
    chain.define("Variance of the population.", VARIANCE, squares / divisor)
    chain.define("Covariance of the two variables.", COVARIANCE, products / divisor)


def _first_moments(chain: Chain) -> None:
    for draw, design in ((WITH, "with"), (WITHOUT, "without")):
        sentence = (
            f"Every draw hits every unit with probability 1/n: {design} replacement the sampled mean is unbiased."
        )
        chain.step(sentence, Expectation(sample_mean(Y, draw)), MEAN_Y)


def _pairs(chain: Chain) -> None:
    values = total(Y[WITH[r]], (r, SAMPLE))
    pairs = SAMPLE**2 if chain.planted == "forgotten_coincidence" else SAMPLE * (SAMPLE - 1)
    single = 0 if chain.planted == "forgotten_coincidence" else SAMPLE
    chain.step(
        "Square the sum over the draws and count: m times a draw meets itself, m (m - 1) times another.",
        Expectation(values**2),
        single * Expectation(Y[WITH[r]] ** 2) + pairs * Expectation(Y[WITH[r]] * Y[WITH[s]]),
    )
    both = ((j, POPULATION), (k, POPULATION))
    chain.step(
        "With replacement two draws are independent.",
        Expectation(Y[WITH[r]] * Y[WITH[s]]),
        total(Y[j] * Y[k], *both) / POPULATION**2,
    )
    chain.step(
        "Without replacement two draws hit each ordered pair of distinct units equally often.",
        Expectation(Y[WITHOUT[r]] * Y[WITHOUT[s]]),
        total((1 - KroneckerDelta(j, k)) * Y[j] * Y[k], *both) / (POPULATION * (POPULATION - 1)),
    )
    chosen = Expectation(
        total(KroneckerDelta(WITH[r], j), (r, SAMPLE)) * total(KroneckerDelta(WITH[r], k), (r, SAMPLE))
    )
    chain.step(
        "The multiplicities of two units, what a weight transfer copies, have the moments of a multinomial law.",
        chosen,
        SAMPLE * KroneckerDelta(j, k) / POPULATION + SAMPLE * (SAMPLE - 1) / POPULATION**2,
    )


def _variances(chain: Chain) -> None:
    with_replacement = VARIANCE * (POPULATION - 1) / (POPULATION * SAMPLE)
    without = VARIANCE * (1 / SAMPLE - 1 / POPULATION)
    added = VARIANCE * (1 / SAMPLE + 1 / POPULATION)
    chain.step(
        "Variance with replacement.",
        Expectation((sample_mean(Y, WITH) - MEAN_Y) ** 2),
        without if chain.planted == "swapped_designs" else with_replacement,
    )
    chain.step(
        "Variance without replacement: it vanishes when every unit is drawn.",
        Expectation((sample_mean(Y, WITHOUT) - MEAN_Y) ** 2),
        added if chain.planted == "added_correction" else without,
    )
    chain.step(
        "The variance inside a sample without replacement is an unbiased estimate of the variance of the population.",
        Expectation(total((Y[WITHOUT[r]] - sample_mean(Y, WITHOUT)) ** 2, (r, SAMPLE)) / (SAMPLE - 1)),
        VARIANCE,
    )


def _covariances(chain: Chain) -> None:
    error_y = sample_mean(Y, WITH) - MEAN_Y
    tied = OTHER if chain.planted == "untied_draws" else WITH
    chain.step(
        "Two tensors that touch one axis share its draw, and their sampled means keep the covariance of the units.",
        Expectation(error_y * (sample_mean(Z, tied) - MEAN_Z)),
        COVARIANCE * (POPULATION - 1) / (POPULATION * SAMPLE),
    )
    chain.step(
        "Two axes are drawn independently, and their errors are uncorrelated.",
        Expectation(error_y * (sample_mean(Z, OTHER) - MEAN_Z)),
        0,
    )
