"""Claim `sampling.two-axes`: mean and variance of a statistic that averages over two sampled axes.

A statistic of a sampled layer is a mean over drawn rows and drawn columns of fixed numbers. Each axis has its own draw;
a square array whose two axes are one axis of the network has a single draw, and that makes a difference.
"""

from sympy import Expr, IndexedBase, Symbol

from proofs.chain import Chain, argument
from proofs.laws import Crossed
from proofs.moments import Draws
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "sampling.two-axes"
ASSUMPTIONS = (
    "a finite population of n x n' numbers; variances with divisors n - 1 and n' - 1",
    "J, J' are draws without replacement of the rows and the columns, I, I' with; the axes are drawn independently",
    "both axes at least of size 2; sample sizes m and m' are symbols",
)
PLANTS = {
    "sum_only": "the product of the two errors is left out",
    "swapped_designs": "the correction without replacement is claimed with replacement",
    "one_draw": "the rows and the columns of a square array use one draw and are still unbiased",
    "exchanged_axes": "the variance of the row means is divided by the number of drawn columns",
    "untied_axis": "two statistics that share an axis are taken to be uncorrelated",
}

i, j, k, r, s, t = indices("i j k r s t")
ROWS, COLUMNS, ABOVE, M_ROWS, M_COLUMNS, M_ABOVE = (width(name) for name in ("n", "n'", "n''", "m", "m'", "m''"))
Y, Z, SQUARE = array("y"), array("z"), array("x")
ROW_DRAW, COLUMN_DRAW, ABOVE_DRAW, ROW_HITS, COLUMN_HITS = (array(name) for name in ("J", "J'", "J''", "I", "I'"))
ROW_MEAN, COLUMN_MEAN, READ_MEAN, MEAN, OTHER_MEAN = array("R"), array("C"), array("D"), Symbol("ybar"), Symbol("zbar")
S_ROWS, S_COLUMNS, S_BOTH, S_SHARED = Symbol("S_r^2"), Symbol("S_c^2"), Symbol("S_rc^2"), Symbol("S_yz")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    law = Crossed(
        (
            Draws(ROW_DRAW, ROWS, replacement=False),
            Draws(COLUMN_DRAW, COLUMNS, replacement=False),
            Draws(ABOVE_DRAW, ABOVE, replacement=False),
            Draws(ROW_HITS, ROWS, replacement=True),
            Draws(COLUMN_HITS, COLUMNS, replacement=True),
        )
    )
    chain.laws = (law,)
    _population(chain)
    _unbiased(chain)
    _variance(chain)
    _shared_axis(chain)
    _one_draw(chain)


derive = argue.derive


def sampled(values: IndexedBase, rows: IndexedBase, columns: IndexedBase) -> Expr:
    """Return the mean over the drawn rows and columns."""
    return total(values[rows[r], columns[s]], (r, M_ROWS), (s, M_COLUMNS)) / (M_ROWS * M_COLUMNS)


def _population(chain: Chain) -> None:
    everything = total(Y[i, j], (i, ROWS), (j, COLUMNS)) / (ROWS * COLUMNS)
    chain.define("Mean of the population,", MEAN, everything)
    chain.define("of its rows,", ROW_MEAN[i], total(Y[i, j], (j, COLUMNS)) / COLUMNS)
    chain.define("and of its columns.", COLUMN_MEAN[j], total(Y[i, j], (i, ROWS)) / ROWS)
    chain.define("Variance of the row means,", S_ROWS, total((ROW_MEAN[i] - MEAN) ** 2, (i, ROWS)) / (ROWS - 1))
    between = total((COLUMN_MEAN[j] - MEAN) ** 2, (j, COLUMNS))
    chain.define("of the column means,", S_COLUMNS, between / (COLUMNS - 1))
    rest = total((Y[i, j] - ROW_MEAN[i] - COLUMN_MEAN[j] + MEAN) ** 2, (i, ROWS), (j, COLUMNS))
    chain.define("and of what they leave.", S_BOTH, rest / ((ROWS - 1) * (COLUMNS - 1)))


def _unbiased(chain: Chain) -> None:
    for draws, design in (((ROW_DRAW, COLUMN_DRAW), "without"), ((ROW_HITS, COLUMN_HITS), "with")):
        sentence = f"Sampling both axes {design} replacement is unbiased: every cell is hit with probability 1/(n n')."
        chain.step(sentence, Expectation(sampled(Y, *draws)), MEAN)


def _variance(chain: Chain) -> None:
    rows, columns = 1 / M_ROWS - 1 / ROWS, 1 / M_COLUMNS - 1 / COLUMNS
    first = columns if chain.planted == "exchanged_axes" else rows
    both = 0 if chain.planted == "sum_only" else rows * columns * S_BOTH
    chain.step(
        "Variance without replacement: the row means over the drawn rows, the column means over the drawn columns, and "
        "the interaction over both, each with its finite-population correction.",
        Expectation((sampled(Y, ROW_DRAW, COLUMN_DRAW) - MEAN) ** 2),
        first * S_ROWS + columns * S_COLUMNS + both,
    )
    if chain.planted != "swapped_designs":
        rows, columns = (ROWS - 1) / (ROWS * M_ROWS), (COLUMNS - 1) / (COLUMNS * M_COLUMNS)
    chain.step(
        "With replacement the same three parts, with the corrections of that design.",
        Expectation((sampled(Y, ROW_HITS, COLUMN_HITS) - MEAN) ** 2),
        rows * S_ROWS + columns * S_COLUMNS + rows * columns * S_BOTH,
    )


def _shared_axis(chain: Chain) -> None:
    """Two tensors with one axis in common: y is (axis, below), z is (above, axis)."""
    chain.define(
        "A second tensor reads the row axis: its mean,",
        OTHER_MEAN,
        total(Z[k, i], (k, ABOVE), (i, ROWS)) / (ABOVE * ROWS),
    )
    chain.define("and what it reads from one unit.", READ_MEAN[i], total(Z[k, i], (k, ABOVE)) / ABOVE)
    products = total((ROW_MEAN[i] - MEAN) * (READ_MEAN[i] - OTHER_MEAN), (i, ROWS))
    chain.define("Covariance of the two over the units of the axis.", S_SHARED, products / (ROWS - 1))
    below = sampled(Y, ROW_DRAW, COLUMN_DRAW)
    above = total(Z[ABOVE_DRAW[t], ROW_DRAW[r]], (t, M_ABOVE), (r, M_ROWS)) / (M_ABOVE * M_ROWS)
    kept = 0 if chain.planted == "untied_axis" else 1 / M_ROWS - 1 / ROWS
    chain.step(
        "The errors of the two sampled means are correlated through the common axis alone, whose draw they share.",
        Expectation((below - MEAN) * (above - OTHER_MEAN)),
        kept * S_SHARED,
    )


def _one_draw(chain: Chain) -> None:
    everything, diagonal, rest = Symbol("xbar"), Symbol("d"), Symbol("o")
    entries = total(SQUARE[i, k], (i, ROWS), (k, ROWS))
    trace = total(SQUARE[i, i], (i, ROWS))
    chain.define("Let both axes of a square array be one axis of the network. Its mean,", everything, entries / ROWS**2)
    chain.define("that of the diagonal,", diagonal, trace / ROWS)
    chain.define("and that of the rest.", rest, (entries - trace) / (ROWS * (ROWS - 1)))
    once = total(SQUARE[ROW_DRAW[r], ROW_DRAW[s]], (r, M_ROWS), (s, M_ROWS)) / M_ROWS**2
    bias = 0 if chain.planted == "one_draw" else (1 / M_ROWS - 1 / ROWS) * (diagonal - rest)
    chain.step(
        "The one draw hits the diagonal too often: the sampled mean has a bias, unless diagonal and rest agree.",
        Expectation(once) - everything,
        bias,
    )
