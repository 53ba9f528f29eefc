"""Claim `array.sign-flips`: moments of quadratic and four-cycle statistics under independent signs, given the sizes.

Independent symmetric entries are signs times sizes, and the signs are fair coins whatever the sizes are. Given the
sizes, distinct products of distinct entries are uncorrelated: the variance is a sum of squares that the data show.
"""

from sympy import Expr, IndexedBase, Integer, KroneckerDelta, Rational, Symbol

from proofs.array_four_cycle import cycle
from proofs.chain import Chain, argument
from proofs.moments import Cells
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "array.sign-flips"
ASSUMPTIONS = (
    "entries: independent and symmetric about 0, each with a law of its own; no moments are needed",
    "everything is conditional on the sizes of the entries",
    "double differences of an additive array with independent identically distributed noise are such entries, whatever "
    "the law of the noise; three of its moments are carried along",
    "that the studentised statistics are close to normal is not derived but measured (array.calibration)",
)
PLANTS = {
    "one_order": "a pair of entries is counted in one order instead of two",
    "two_ways": "a cycle is taken to meet itself in two ways instead of four",
    "unfair_signs": "the signs have a mean",
    "no_skewness": "the third moment of the quadratic statistic is taken to vanish, as for a normal one",
    "single_difference": "differences of rows alone are taken to remove row effects",
}

i, j, k, last, p = indices("i j k l p")
ROWS, COLUMNS = width("m"), width("n")
SIGN, SIZE, NOISE, ROW, COLUMN = array("epsilon"), array("x"), array("xi"), array("r"), array("c")
VARIANCE = Symbol("s", positive=True) ** 2
THIRD, FOURTH = Symbol("mu_3", real=True), Symbol("mu_4", positive=True)


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    odd = Symbol("nu", real=True) if chain.planted == "unfair_signs" else Integer(0)
    signs = (odd, Integer(1)) * 4
    chain.laws = (Cells({SIGN: signs, NOISE: (Integer(0), VARIANCE, THIRD, FOURTH)}),)
    _quadratic(chain)
    _cycles(chain)
    _differences(chain)


derive = argue.derive


def apart(one: Symbol, other: Symbol) -> Expr:
    """Return 1 where two indices differ, else 0."""
    return 1 - KroneckerDelta(one, other)


def _quadratic(chain: Chain) -> None:
    """Sum over the pairs of entries of a row: what a row effect makes large."""
    statistic = Symbol("T")
    pairs = apart(j, last) * SIZE[i, j] * SIZE[i, last]
    rows = (i, ROWS), (j, COLUMNS), (last, COLUMNS)
    chain.define(
        "Entries are signs times sizes. Sum the products of two entries of one row, over all rows.",
        statistic,
        total(pairs * SIGN[i, j] * SIGN[i, last], *rows),
    )
    chain.step("Signs are independent and fair: given the sizes the mean is zero.", Expectation(statistic), 0)
    orders = 1 if chain.planted == "one_order" else 2
    chain.step(
        "A product meets itself in two orders: the variance, given the sizes.",
        Expectation(statistic**2),
        orders * total(apart(j, last) * SIZE[i, j] ** 2 * SIZE[i, last] ** 2, *rows),
    )
    triangle = apart(j, last) * apart(last, p) * apart(j, p) * SIZE[i, j] ** 2 * SIZE[i, last] ** 2 * SIZE[i, p] ** 2
    chain.step(
        "Three products meet in a triangle of entries, in eight ways: the statistic is skewed to the right.",
        Expectation(statistic**3),
        Integer(0) if chain.planted == "no_skewness" else 8 * total(triangle, *rows, (p, COLUMNS)),
    )


def _cycles(chain: Chain) -> None:
    """The four-cycle: what an interaction makes large. Given the sizes only the signs of two cycles decide."""
    i2, j2 = indices("i' j'")
    for rows, columns in (((i, k), (j, last)), ((k, i), (j, last)), ((i, k), (last, j)), ((k, i), (last, j))):
        reached = 0 if chain.planted == "two_ways" and rows == (k, i) else 1
        chain.step(
            "Four quadruples name one cycle of four distinct entries: their signs are the same,",
            Expectation(cycle(SIGN) * cycle(SIGN, rows, columns)),
            reached,
        )
    for rows, columns, what in (
        ((i, i2), (j, last), "by another row"),
        ((i, k), (j, j2), "by another column"),
        ((i, i2), (j, j2), "by both"),
    ):
        chain.step(
            f"a cycle that leaves {what} has signs of its own: uncorrelated,",
            Expectation(cycle(SIGN) * cycle(SIGN, rows, columns)),
            0,
        )
    corners = SIZE[i, j] * SIZE[k, j] * SIZE[k, last] * SIZE[i, last]
    chain.step(
        "and beside its signs a cycle brings its sizes: the variance of the sum of all cycles is four times the same "
        "sum of the squares.",
        4 * Expectation((corners * cycle(SIGN)) ** 2),
        4 * corners**2,
    )


def _differences(chain: Chain) -> None:
    """Disjoint double differences are independent symmetric entries."""
    entries = array("W")
    chain.define("Take an additive array with noise of any law,", entries[i, j], ROW[i] + COLUMN[j] + NOISE[i, j])
    single = chain.planted == "single_difference"

    def difference(base: IndexedBase, row: int, column: int) -> Expr:
        first = base[row, column] - base[row + 1, column]
        second = base[row + 1, column + 1] - base[row, column + 1]
        return Rational(1, 2) * (first if single else first + second)

    chain.step(
        "and half the double difference over two rows and two columns: both effects fall out.",
        difference(entries, 1, 1),
        difference(NOISE, 1, 1),
    )
    chain.step("Two entries enter with either sign: no third moment.", Expectation(difference(NOISE, 1, 1) ** 3), 0)
    chain.step("The variance is that of one entry.", Expectation(difference(NOISE, 1, 1) ** 2), VARIANCE)
    chain.step(
        "Disjoint pairs share no entry: even their squares are uncorrelated.",
        Expectation(difference(NOISE, 1, 1) ** 2 * difference(NOISE, 1, 3) ** 2),
        VARIANCE**2,
    )
