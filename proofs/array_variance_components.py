"""Claim `array.variance-components`: what the mean squares of a two-way layout estimate.

The array is any row-column array, additive or not; with one value per cell the interaction and the noise are one part.
"""

from sympy import Expr, Symbol

from proofs.chain import Chain, argument
from proofs.moments import Neurons
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "array.variance-components"
ASSUMPTIONS = (
    "an m x n row-column array: independent row and column latents, any function of them and of noise of the entry, "
    "two moments; m and n at least 2",
    "one value per cell: s^2 holds the interaction and the noise together",
)
PLANTS = {
    "wrong_divisor": "the mean square of the rows is divided by m instead of m - 1",
    "exchanged_widths": "the mean square of the rows is weighted by the number of rows",
    "forgotten_centring": "the residual mean square is not corrected for the column means",
    "wrong_freedom": "the residual mean square is divided by m n - 1",
}

i, j, k, last = indices("i j k l")
i2, j2 = indices("i' j'")
ROWS, COLUMNS = width("m"), width("n")
W, ROW_MEAN, COLUMN_MEAN = array("W"), array("R"), array("C")
GRAND, MEAN = Symbol("G"), Symbol("mu")
ROW_PART, COLUMN_PART, REST = Symbol("s_r^2"), Symbol("s_c^2"), Symbol("s^2")
MS_ROWS, MS_COLUMNS, MS_REST = Symbol("MS_r"), Symbol("MS_c"), Symbol("MS_e")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS, (Neurons(frozenset({W})),))
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _define_parts(chain)
    _define_squares(chain)
    _decompose(chain)
    _expectations(chain)


derive = argue.derive


def _define_parts(chain: Chain) -> None:
    chain.define("Mean of an entry.", MEAN, Expectation(W[i, j]))
    chain.define("Variance of the row means,", ROW_PART, Expectation(W[i, j] * W[i, last]) - MEAN**2)
    chain.define("of the column means,", COLUMN_PART, Expectation(W[i, j] * W[k, j]) - MEAN**2)
    chain.define("and of what neither explains.", REST, Expectation(W[i, j] ** 2) - MEAN**2 - ROW_PART - COLUMN_PART)


def _define_squares(chain: Chain) -> None:
    chain.define("Means of the rows,", ROW_MEAN[i], total(W[i, j2], (j2, COLUMNS)) / COLUMNS)
    chain.define("of the columns,", COLUMN_MEAN[j], total(W[i2, j], (i2, ROWS)) / ROWS)
    chain.define("and of everything.", GRAND, total(W[i2, j2], (i2, ROWS), (j2, COLUMNS)) / (ROWS * COLUMNS))
    divisor = ROWS if chain.planted == "wrong_divisor" else ROWS - 1
    weight = ROWS if chain.planted == "exchanged_widths" else COLUMNS
    chain.define("Mean square between rows,", MS_ROWS, weight * total((ROW_MEAN[i] - GRAND) ** 2, (i, ROWS)) / divisor)
    between = ROWS * total((COLUMN_MEAN[j] - GRAND) ** 2, (j, COLUMNS))
    chain.define("between columns,", MS_COLUMNS, between / (COLUMNS - 1))
    column = 0 if chain.planted == "forgotten_centring" else COLUMN_MEAN[j] - GRAND
    freedom = ROWS * COLUMNS - 1 if chain.planted == "wrong_freedom" else (ROWS - 1) * (COLUMNS - 1)
    squares = total((W[i, j] - ROW_MEAN[i] - column) ** 2, (i, ROWS), (j, COLUMNS))
    chain.define("and of the residuals of both.", MS_REST, squares / freedom)


def _decompose(chain: Chain) -> None:
    whole: Expr = total((W[i, j] - GRAND) ** 2, (i, ROWS), (j, COLUMNS))
    chain.step(
        "The sums of squares add up: the three parts are orthogonal.",
        whole,
        (ROWS - 1) * MS_ROWS + (COLUMNS - 1) * MS_COLUMNS + (ROWS - 1) * (COLUMNS - 1) * MS_REST,
    )


def _expectations(chain: Chain) -> None:
    chain.step("The residual mean square estimates the rest without bias,", Expectation(MS_REST), REST)
    chain.step(
        "the mean square of the rows adds n times their variance,", Expectation(MS_ROWS), REST + COLUMNS * ROW_PART
    )
    chain.step("that of the columns m times theirs.", Expectation(MS_COLUMNS), REST + ROWS * COLUMN_PART)
    chain.step(
        "Hence unbiased estimates of the two variances: of the rows",
        Expectation((MS_ROWS - MS_REST) / COLUMNS),
        ROW_PART,
    )
    chain.step("and of the columns.", Expectation((MS_COLUMNS - MS_REST) / ROWS), COLUMN_PART)
    chain.step(
        "The plug-in variance of the grand mean is unbiased too, with both mean squares and the rest taken off once.",
        Expectation((MS_ROWS + MS_COLUMNS - MS_REST) / (ROWS * COLUMNS)),
        Expectation((GRAND - MEAN) ** 2),
    )
