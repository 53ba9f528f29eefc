"""Claim `array.quadruplets`: the variance of a U-statistic over quadruplets, and its two leading constants.

The statistic is the mean of a kernel over all pairs of rows and pairs of columns. Two quadruplets are correlated when
they share a row or a column; counting how many share what gives the variance at every size, and what survives for
large arrays: a quadruplet has two rows, the other has two, four ways to share one.
"""

from itertools import product

from sympy import Expr, Integer, KroneckerDelta, Limit, Symbol, oo

from proofs.chain import Chain, argument
from proofs.moments import Neurons
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "array.quadruplets"
ASSUMPTIONS = (
    "a dissociated row-column array: quadruplets without a common row or column are independent",
    "the kernel is symmetric in its two rows and in its two columns, with two moments",
    "v_ab is the covariance of the kernel on quadruplets that share a rows and b columns; m = rho N, n = (1 - rho) N",
    "that the limit is normal is classical (projection) and not derived; it fails where v_10 = v_01 = 0",
)
PLANTS = {
    "two_ways": "two pairs of rows are taken to share one row in two ways instead of four",
    "common_latents": "quadruplets without a common row or column are taken to be correlated",
    "second_order": "quadruplets that share a row and a column are taken to survive in the limit",
    "one_rate": "the columns are taken to be as many as the rows",
}

i, k, i2, k2, j, last, j2, last2 = indices("i k i' k' j l j' l'")
ROWS, COLUMNS, TOTAL = width("m"), width("n"), width("N")
SHARE = Symbol("rho", positive=True)
KERNEL = array("h")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    chain.laws = (Neurons(frozenset({KERNEL})),)
    _counts(chain)
    _independence(chain)
    _limit(chain)


derive = argue.derive


def covariance(rows: int, columns: int) -> Symbol:
    """Return the covariance of the kernel on quadruplets that share so many rows and columns."""
    return Symbol(f"v_{rows}{columns}", real=True)


def count(shared: int, size: Expr) -> Expr:
    """Return how many ordered pairs of ordered pairs of distinct units have so many units in common."""
    return {
        0: size * (size - 1) * (size - 2) * (size - 3),
        1: 4 * size * (size - 1) * (size - 2),
        2: 2 * size * (size - 1),
    }[shared]


def chance(shared: int, size: Expr) -> Expr:
    """Return the probability that two random pairs of distinct units have so many in common."""
    return count(shared, size) / (size * (size - 1)) ** 2


def _counts(chain: Chain) -> None:
    """Count pairs of rows by what they share; columns are counted in the same way."""
    apart = (1 - KroneckerDelta(i, k)) * (1 - KroneckerDelta(i2, k2))
    rows = (i, ROWS), (k, ROWS), (i2, ROWS), (k2, ROWS)
    meetings = [KroneckerDelta(one, other) for one, other in product((i, k), (i2, k2))]
    number, ways = Symbol("C"), 2 if chain.planted == "two_ways" else 4
    chain.define(
        "Two pairs of distinct rows: count the rows that they share, over all of them.",
        number,
        total(apart * sum(meetings), *rows),
    )
    chain.step(
        "A shared row is one of two here and one of two there: four ways, whatever the other rows are.",
        number,
        ways * ROWS * (ROWS - 1) ** 2,
    )
    both = KroneckerDelta(i, i2) * KroneckerDelta(k, k2) + KroneckerDelta(i, k2) * KroneckerDelta(k, i2)
    chain.step("Pairs that share both,", total(apart * both, *rows), count(2, ROWS))
    chain.step(
        "counted twice among the shared rows, leave those that share exactly one;",
        number - 2 * count(2, ROWS),
        count(1, ROWS),
    )
    chain.step(
        "the rest share none.",
        total(apart, *rows) - count(1, ROWS) - count(2, ROWS),
        count(0, ROWS),
    )


def _independence(chain: Chain) -> None:
    quadruplet, other = KERNEL[i, k, j, last], KERNEL[i2, k2, j2, last2]
    claimed = covariance(0, 0) if chain.planted == "common_latents" else Integer(0)
    chain.step(
        "Quadruplets that share nothing depend on different latents: uncorrelated.",
        Expectation(quadruplet * other) - Expectation(quadruplet) * Expectation(other),
        claimed,
    )


def _limit(chain: Chain) -> None:
    """The variance at every size, and N times it for large arrays."""
    columns = SHARE * TOTAL if chain.planted == "one_rate" else (1 - SHARE) * TOTAL

    def weight(rows: int, shared: int) -> Expr:
        return chance(rows, SHARE * TOTAL) * chance(shared, columns)

    parts = [(a, b) for a in range(3) for b in range(3) if a + b]
    variance = Symbol("V")
    chain.define(
        "So the variance of the statistic is the sum of these parts, each with the chance of its sharing.",
        variance,
        sum((weight(a, b) * covariance(a, b) for a, b in parts), Integer(0)),
    )
    leading = 4 * covariance(1, 0) / SHARE + 4 * covariance(0, 1) / (1 - SHARE)
    if chain.planted == "second_order":
        leading += 16 * covariance(1, 1) / (SHARE * (1 - SHARE))
    for (a, b), value in (((1, 0), 4 / SHARE), ((0, 1), 4 / (1 - SHARE)), ((1, 1), Integer(0))):
        chain.step(
            f"Of N = m + n units, {a} shared rows and {b} shared columns weigh, times N,",
            Limit(TOTAL * weight(a, b), TOTAL, oo),
            value,
        )
    chain.step(
        "All else is of higher order: N times the variance tends to the two projections.",
        Limit(TOTAL * variance, TOTAL, oo),
        leading,
    )
