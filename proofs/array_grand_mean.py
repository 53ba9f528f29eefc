"""Claim `array.grand-mean`: the variance of the grand mean of an m x n row-column array, and its degenerate case.

Rows and columns carry independent latents; an entry is any square-integrable function of the two latents and of noise
of its own. The variance comes from the four ways in which two entries can share a row or a column. When the mean
effects vanish, the fluctuation is of second order, and for a product of factors it is not Gaussian.
"""

from sympy import Expr, Integer, Limit, Rational, Symbol, log, oo

from proofs.chain import Chain, argument
from proofs.laws import stated_exponents
from proofs.moments import Cells, Neurons
from proofs.notation import Expectation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "array.grand-mean"
ASSUMPTIONS = (
    "row latents and column latents are independent, each identically distributed; an entry is any function of the two "
    "latents of its row and column and of noise of its own, with two moments",
    "s_r^2 and s_c^2 are the covariances of two entries of one row and of one column, s^2 is the rest of the variance",
    "degenerate case: W_ij = r_i c_j with independent centred factors and four moments",
)
PLANTS = {
    "one_width": "the variance of the rows is divided by the number of columns",
    "independent_entries": "two entries of one row are taken to be independent",
    "dropped_interaction": "the part of single entries is left out",
    "gaussian_product": "the product of two Gaussian means is taken for a Gaussian",
    "forgotten_fourth_moment": "the fourth moment of a mean forgets that a row meets itself",
}

i, j, k, last = indices("i j k l")
ROWS, COLUMNS, WIDTH = width("m"), width("n"), width("N")
W, ROW, COLUMN = array("W"), array("r"), array("c")
MEAN, ROW_PART, COLUMN_PART, REST = Symbol("mu"), Symbol("s_r^2"), Symbol("s_c^2"), Symbol("s^2")
SPREAD = {ROW: Symbol("t_r", positive=True), COLUMN: Symbol("t_c", positive=True)}
THIRD = {ROW: Symbol("g_r", real=True), COLUMN: Symbol("g_c", real=True)}
KURTOSIS = {ROW: Symbol("k_r", positive=True), COLUMN: Symbol("k_c", positive=True)}


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    factors = Cells({b: (Integer(0), SPREAD[b], THIRD[b], KURTOSIS[b] * SPREAD[b] ** 2) for b in (ROW, COLUMN)})
    chain.laws = (Neurons(frozenset({W})), factors)
    _general(chain)
    _special(chain)
    _degenerate(chain)
    _shape(chain)


derive = argue.derive


def grand_mean(entry: Expr) -> Expr:
    """Return the mean over rows i and columns j."""
    return total(entry, (i, ROWS), (j, COLUMNS)) / (ROWS * COLUMNS)


def _general(chain: Chain) -> None:
    chain.define("Mean of an entry.", MEAN, Expectation(W[i, j]))
    chain.define("Two entries of one row share its latent:", ROW_PART, Expectation(W[i, j] * W[i, last]) - MEAN**2)
    chain.define("two of one column share the column's.", COLUMN_PART, Expectation(W[i, j] * W[k, j]) - MEAN**2)
    chain.define(
        "What is left of the variance belongs to single entries.",
        REST,
        Expectation(W[i, j] ** 2) - MEAN**2 - ROW_PART - COLUMN_PART,
    )
    chain.step("The grand mean is unbiased.", Expectation(grand_mean(W[i, j])), MEAN)
    rows = COLUMNS if chain.planted == "one_width" else ROWS
    row = Integer(0) if chain.planted == "independent_entries" else ROW_PART / rows
    rest = Integer(0) if chain.planted == "dropped_interaction" else REST / (ROWS * COLUMNS)
    chain.step(
        "Square it and count: of the pairs of entries, m n meet entirely, m n (n-1) in the row, m n (m-1) in the "
        "column; the others are independent. Each part of the variance is averaged over what carries it.",
        Expectation((grand_mean(W[i, j]) - MEAN) ** 2),
        row + COLUMN_PART / COLUMNS + rest,
    )


def _special(chain: Chain) -> None:
    """Square arrays: the exponents of the variance with and without mean effects."""
    parts = (Symbol("A", positive=True), Symbol("B", positive=True))
    array_rate, iid_rate = stated_exponents(CLAIM, "N")
    chain.step(
        "For m = n = N with mean effects, s_r^2 + s_c^2 = A > 0, the variance has this exponent;",
        Limit(WIDTH * Partial(log(parts[0] / WIDTH + parts[1] / WIDTH**2), WIDTH), WIDTH, oo),
        array_rate,
    )
    chain.step(
        "without them, as for iid entries and for degenerate arrays, A = 0 and this one.",
        WIDTH * Partial(log(parts[1] / WIDTH**2), WIDTH),
        iid_rate,
    )


def _degenerate(chain: Chain) -> None:
    product = ROW[i] * COLUMN[j]
    rows, columns = total(ROW[i], (i, ROWS)) / ROWS, total(COLUMN[j], (j, COLUMNS)) / COLUMNS
    chain.step("Let W_ij = r_i c_j. The grand mean is the product of two means.", grand_mean(product), rows * columns)
    chain.step(
        "With centred factors no row and no column has a mean effect:", Expectation(product * ROW[i] * COLUMN[last]), 0
    )
    chain.step(
        "the variance is of second order.",
        Expectation(grand_mean(product) ** 2),
        SPREAD[ROW] * SPREAD[COLUMN] / (ROWS * COLUMNS),
    )
    for base, bound, size in ((ROW, i, ROWS), (COLUMN, j, COLUMNS)):
        alone = 0 if chain.planted == "forgotten_fourth_moment" else (KURTOSIS[base] - 3) / size
        chain.step(
            f"Kurtosis of the mean of the {'row' if base == ROW else 'column'} factors.",
            Expectation((total(base[bound], (bound, size)) / size) ** 4) / (SPREAD[base] / size) ** 2,
            3 + alone,
        )


def _shape(chain: Chain) -> None:
    fourth, variance = Symbol("kappa"), SPREAD[ROW] * SPREAD[COLUMN] / (ROWS * COLUMNS)
    chain.define("Kurtosis of the grand mean.", fourth, Expectation(grand_mean(ROW[i] * COLUMN[j]) ** 4) / variance**2)
    exact = (3 + (KURTOSIS[ROW] - 3) / ROWS) * (3 + (KURTOSIS[COLUMN] - 3) / COLUMNS)
    chain.step("The means are independent, so it is the product of the two:", fourth, exact)
    gaussian = {KURTOSIS[ROW]: Integer(3), KURTOSIS[COLUMN]: Integer(3)}
    claimed = 3 if chain.planted == "gaussian_product" else 9
    chain.step("exactly 9 for Gaussian factors, at every size,", exact.xreplace(gaussian), claimed)
    at_equal = exact.xreplace({ROWS: WIDTH, COLUMNS: WIDTH})
    chain.step("and 9 in the limit whatever the factors.", Limit(at_equal, WIDTH, oo), 9)
    chain.differ(
        "A Gaussian has kurtosis 3: the grand mean of a degenerate array is not asymptotically Gaussian.",
        Limit(at_equal, WIDTH, oo),
        Rational(3),
    )
