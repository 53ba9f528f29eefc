"""Claim `array.four-cycle`: mean and null variance of the statistic that sees interaction in a matrix.

U4 is the mean of W_ij W_kj W_kl W_il over i != k and j != l: a closed walk over four distinct entries. Under a centred
null of independent entries only a cycle that meets itself, in one of four ways, has an expectation.
"""

from sympy import Expr, IndexedBase, Integer, KroneckerDelta, Symbol

from proofs.chain import Chain, argument
from proofs.moments import Cells, Neurons
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "array.four-cycle"
ASSUMPTIONS = (
    "null: the entries are independent and identically distributed with mean 0 and variance s^2; moments up to order 8 "
    "are carried along and cancel",
    "signal: any row-column array; then R independent pairs of centred unit factors with strengths a_q, and noise",
    "m and n at least 2; that U4 is asymptotically normal is not derived",
)
PLANTS = {
    "two_ways": "a cycle is taken to meet itself in two ways instead of four",
    "all_quadruples": "the sum runs over coinciding rows as well",
    "uncentred_null": "the entries of the null have a mean",
    "second_power": "a factor is taken to contribute the square of its strength",
    "harmless_effects": "row effects are taken to leave the statistic alone",
}

i, j, k, last, q, r = indices("i j k l q r")
ROWS, COLUMNS, RANK = width("m"), width("n"), width("R")
NOISE, SIGNAL, LEFT, RIGHT, STRENGTH = array("xi"), array("W"), array("u"), array("v"), array("a")
ROW, COLUMN, MEAN = array("r"), array("c"), Symbol("nu", real=True)
S, ROW_SPREAD, COLUMN_SPREAD = (Symbol(name, positive=True) for name in ("s", "s_r", "s_c"))
HIGHER = tuple(Symbol(f"mu_{order}", real=True) for order in range(3, 9))


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    mean = MEAN if chain.planted == "uncentred_null" else Integer(0)
    cells = Cells(
        {
            NOISE: (mean, S**2, *HIGHER),
            LEFT: (Integer(0), Integer(1), *(Symbol(f"u_{order}", real=True) for order in (3, 4))),
            RIGHT: (Integer(0), Integer(1), *(Symbol(f"v_{order}", real=True) for order in (3, 4))),
            ROW: (Integer(0), ROW_SPREAD**2),
            COLUMN: (Integer(0), COLUMN_SPREAD**2),
        }
    )
    chain.laws = (cells, Neurons(frozenset({SIGNAL})))
    _null(chain)
    _signal(chain)
    _effects(chain)


derive = argue.derive


def cycle(
    entries: IndexedBase, rows: tuple[Symbol, Symbol] = (i, k), columns: tuple[Symbol, Symbol] = (j, last)
) -> Expr:
    """Return the product of the entries at the four corners."""
    return (
        entries[rows[0], columns[0]]
        * entries[rows[1], columns[0]]
        * entries[rows[1], columns[1]]
        * entries[rows[0], columns[1]]
    )


def four_cycle(body: Expr, planted: str | None = None) -> Expr:
    """Return the mean of `body` over i != k and j != l."""
    apart = (1 - KroneckerDelta(i, k)) * (1 - KroneckerDelta(j, last))
    if planted == "all_quadruples":
        apart = Integer(1)
    quadruples = total(apart * body, (i, ROWS), (k, ROWS), (j, COLUMNS), (last, COLUMNS))
    return quadruples / (ROWS * (ROWS - 1) * COLUMNS * (COLUMNS - 1))


def _null(chain: Chain) -> None:
    """Mean zero, and a variance from the four ways of a cycle to meet itself."""
    statistic, i2, j2 = Symbol("U_4"), *indices("i' j'")
    chain.define(
        "The four-cycle statistic of the noise: closed walks over four distinct entries.",
        statistic,
        four_cycle(cycle(NOISE), chain.planted),
    )
    chain.step("Under the null the four entries are independent and centred: mean zero.", Expectation(statistic), 0)
    for rows, columns in (((i, k), (j, last)), ((k, i), (j, last)), ((i, k), (last, j)), ((k, i), (last, j))):
        chain.step(
            "Exchanging its two rows or its two columns leaves a cycle as it is: four quadruples name one cycle, "
            "and its square has the expectation",
            Expectation(cycle(NOISE) * cycle(NOISE, rows, columns)),
            S**8,
        )
    for rows, columns, what in (((i, i2), (j, last), "row"), ((i, k), (j, j2), "column")):
        chain.step(
            f"A cycle that leaves by another {what} has entries of its own, which are centred.",
            Expectation(cycle(NOISE) * cycle(NOISE, rows, columns)),
            0,
        )
    ways = 2 if chain.planted == "two_ways" else 4
    chain.step(
        "Count all pairs of quadruples with all their coincidences: the variance at every m and n, whatever the "
        "higher moments.",
        Expectation(statistic**2),
        ways * S**8 / (ROWS * (ROWS - 1) * COLUMNS * (COLUMNS - 1)),
    )


def _signal(chain: Chain) -> None:
    chain.step(
        "For any row-column array the mean is that of one cycle of distinct rows and columns.",
        Expectation(four_cycle(cycle(SIGNAL))),
        Expectation(cycle(SIGNAL)),
    )
    entries, power = array("Y"), 2 if chain.planted == "second_power" else 4
    chain.define(
        "Let the interaction be made of R factors, beside the noise.",
        entries[i, j],
        total(STRENGTH[q] * LEFT[q, i] * RIGHT[q, j], (q, RANK)) + NOISE[i, j],
    )
    chain.step(
        "Each factor adds the fourth power of its strength; the noise adds nothing.",
        Expectation(cycle(entries)),
        total(STRENGTH[q] ** power, (q, RANK)),
    )


def _effects(chain: Chain) -> None:
    entries = array("Z")
    chain.define(
        "Row and column effects alone, without any interaction,", entries[i, j], ROW[i] + COLUMN[j] + NOISE[i, j]
    )
    shift = Integer(0) if chain.planted == "harmless_effects" else ROW_SPREAD**4 + COLUMN_SPREAD**4
    chain.step(
        "shift the statistic too: they have to be removed first (array.helmert).", Expectation(cycle(entries)), shift
    )
