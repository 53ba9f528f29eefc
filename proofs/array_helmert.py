"""Claim `array.helmert`: double centring biases the four-cycle statistic, Helmert contrasts do not (Gaussian noise).

Both remove row and column effects. Both are linear in the noise, so that one lemma on four linear forms decides: the
centred entries of two rows are correlated, because a projection is not the identity; orthonormal contrasts are not.
What is left for noise that is not Gaussian is its fourth cumulant, and it is of lower order.
"""

from dataclasses import dataclass

from sympy import Expr, Integer, KroneckerDelta, Limit, Symbol, log, oo, sqrt

from proofs.chain import Chain, argument
from proofs.moments import Cells
from proofs.notation import Expectation, array, index, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "array.helmert"
ASSUMPTIONS = (
    "noise: independent, identically distributed, centred entries with variance s^2 and fourth cumulant k_4 "
    "(0 for Gaussian noise); m and n at least 3",
    "Gaussian noise: contrasts are jointly Gaussian and uncorrelated, hence independent: an iid array of size "
    "(m-1) x (n-1)",
    "other noise: contrasts are uncorrelated with equal variance, not independent; without a fourth moment the claim "
    "is empty, which is why heavy tails need a calibration by permutation",
)
PLANTS = {
    "projection_is_identity": "two centred rows are taken to be uncorrelated",
    "missing_pairing": "the lemma forgets the pairing of the diagonals",
    "unnormalised_contrast": "the last entry of a contrast is -1 instead of minus the number of the others",
    "independent_contrasts": "contrasts of any noise are taken to be independent",
    "no_shift": "the null mean after double centring is taken to be zero",
}

a, b, i = indices("a b i")
ROWS, COLUMNS, SIZE = width("m"), width("n"), width("N")
FIRST, GAP, FIRST_COLUMN, COLUMN_GAP = width("p"), width("g"), width("q"), width("h")
NOISE, EFFECT, OTHER, CENTRE = array("xi"), array("r"), array("c"), array("P")
LEFT, RIGHT = (array("x_1"), array("x_2")), (array("y_1"), array("y_2"))
S, FOURTH = Symbol("s", positive=True), Symbol("k_4", real=True)
FOUND = "found in the steps before"
LAW = Cells({NOISE: (Integer(0), S**2, Symbol("mu_3", real=True), FOURTH + 3 * S**4)})


@dataclass(frozen=True)
class Products:
    """What the lemma needs of the weights on one axis: squared norms, inner product, overlap of the squares."""

    norm: tuple[Symbol, Symbol]
    inner: Symbol
    overlap: Symbol

    @classmethod
    def of(cls, letter: str) -> "Products":
        """Return the symbols of an axis."""
        norms = Symbol(f"|{letter}_1|^2"), Symbol(f"|{letter}_2|^2")
        return cls(norms, Symbol(f"({letter}_1.{letter}_2)"), Symbol(f"({letter}_1^2.{letter}_2^2)"))


X, Y = Products.of("x"), Products.of("y")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS, (LAW,))
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _lemma(chain)
    _double_centring(chain)
    _helmert_rows(chain)
    _contrasts(chain)
    _average_overlap(chain)
    _not_independent(chain)


derive = argue.derive


def form(row: int, column: int) -> Expr:
    """Return a linear form in the noise, with weights on rows times weights on columns."""
    weights = LEFT[row - 1][a] * RIGHT[column - 1][b]
    return total(weights * NOISE[a, b], (a, ROWS), (b, COLUMNS))


def cycle_mean(planted: str | None = None) -> Expr:
    """Return the mean of a cycle of four linear forms, in the products of their weights."""
    parallel = X.inner**2 * Y.norm[0] * Y.norm[1] + X.norm[0] * X.norm[1] * Y.inner**2
    diagonal = 0 if planted == "missing_pairing" else X.inner**2 * Y.inner**2
    return S**4 * (parallel + diagonal) + FOURTH * X.overlap * Y.overlap


def _lemma(chain: Chain) -> None:
    for products, (one, two), bound, size in ((X, LEFT, a, ROWS), (Y, RIGHT, b, COLUMNS)):
        axis = "rows" if products is X else "columns"
        chain.define(
            f"Take two weights on the {axis}, with their norms,",
            products.norm[0],
            total(one[bound] ** 2, (bound, size)),
        )
        chain.define("one each,", products.norm[1], total(two[bound] ** 2, (bound, size)))
        chain.define("their inner product,", products.inner, total(one[bound] * two[bound], (bound, size)))
        overlap = total(one[bound] ** 2 * two[bound] ** 2, (bound, size))
        chain.define("and the overlap of their squares.", products.overlap, overlap)
    chain.step(
        "Lemma. Two linear forms in the noise have as covariance s^2 times the inner products of their weights.",
        Expectation(form(1, 1) * form(2, 2)),
        S**2 * X.inner * Y.inner,
    )
    chain.step(
        "A cycle of four has three pairings, and the fourth cumulant where all four meet.",
        Expectation(form(1, 1) * form(2, 1) * form(2, 2) * form(1, 2)),
        cycle_mean(chain.planted),
    )


def _double_centring(chain: Chain) -> None:
    chain.define("Centring an axis of size m has the weights", CENTRE[i, a], KroneckerDelta(i, a) - 1 / ROWS)
    claimed = Integer(0) if chain.planted == "projection_is_identity" else -1 / ROWS
    chain.step("Rows 1 and 2 are correlated after it,", total(CENTRE[1, a] * CENTRE[2, a], (a, ROWS)), claimed)
    chain.step("each has lost part of its variance,", total(CENTRE[1, a] ** 2, (a, ROWS)), 1 - 1 / ROWS)
    overlap = total(CENTRE[1, a] ** 2 * CENTRE[2, a] ** 2, (a, ROWS))
    chain.step("and their squares overlap.", overlap, (2 * ROWS - 3) / ROWS**3)
    for products, size in ((X, ROWS), (Y, COLUMNS)):
        norm = 1 - 1 / size
        _found(chain, products, (norm, -1 / size, (2 * size - 3) / size**3))
    exact = S**4 * ((ROWS - 1) ** 2 + (COLUMNS - 1) ** 2 + 1) / (ROWS * COLUMNS) ** 2
    exact += FOURTH * (2 * ROWS - 3) * (2 * COLUMNS - 3) / (ROWS * COLUMNS) ** 3
    chain.step(
        "So the null mean of the four-cycle after double centring is not zero, but, exactly,",
        cycle_mean(),
        Integer(0) if chain.planted == "no_shift" else exact,
    )
    deviation = 2 * S**4 / (SIZE * (SIZE - 1))
    chain.step(
        "On square arrays the shift tends to one standard deviation of the null (array.four-cycle): false alarms.",
        Limit(exact.xreplace({ROWS: SIZE, COLUMNS: SIZE}) / deviation, SIZE, oo),
        1,
    )


def _found(chain: Chain, products: Products, values: tuple[Expr, Expr, Expr]) -> None:
    """Give the products of the lemma the values that the steps before found."""
    norm, inner, overlap = values
    axis = "rows" if products is X else "columns"
    chain.define(f"For these weights on the {axis} the norm in the lemma is", products.norm[0], norm, why=FOUND)
    chain.define("for both,", products.norm[1], norm, why=FOUND)
    chain.define("the inner product", products.inner, inner, why=FOUND)
    chain.define("and the overlap", products.overlap, overlap, why=FOUND)


def _helmert_rows(chain: Chain) -> None:
    """Row p of the Helmert matrix: p times 1, then -p, then zeros, over the root of p (p + 1)."""
    last = -1 if chain.planted == "unnormalised_contrast" else -FIRST
    unit, later = 1 / sqrt(FIRST * (FIRST + 1)), FIRST + GAP
    unit_later = 1 / sqrt(later * (later + 1))
    head = total(unit, (a, FIRST)) + last * unit
    squares = total(unit**2, (a, FIRST)) + last**2 * unit**2
    chain.step(
        "Row p of the Helmert matrix has p entries 1, then -p, then 0, over one root: orthogonal to constants,", head, 0
    )
    chain.step("and of norm 1.", squares, 1)
    chain.step("A later row p + g is constant where row p lives: orthogonal,", unit_later * head, 0)
    chain.step("with this overlap of the squares.", unit_later**2 * squares, 1 / (later * (later + 1)))


def _contrasts(chain: Chain) -> None:
    x, y = LEFT[0], RIGHT[0]
    weights = total(x[a], (a, ROWS)), total(y[b], (b, COLUMNS))
    effects = total(x[a] * EFFECT[a], (a, ROWS)), total(y[b] * OTHER[b], (b, COLUMNS))
    chain.step(
        "A contrast of row and column effects contains sums of its weights, which are zero: the effects fall out.",
        total(x[a] * y[b] * (EFFECT[a] + OTHER[b]), (a, ROWS), (b, COLUMNS)),
        effects[0] * weights[1] + weights[0] * effects[1],
    )
    for products, first, gap in ((X, FIRST, GAP), (Y, FIRST_COLUMN, COLUMN_GAP)):
        later = first + gap
        _found(chain, products, (Integer(1), Integer(0), 1 / (later * (later + 1))))
    later, later_column = FIRST + GAP, FIRST_COLUMN + COLUMN_GAP
    chain.step("By the lemma contrasts are uncorrelated, whatever the noise;", S**2 * X.inner * Y.inner, 0)
    chain.step("all have the variance of an entry;", S**2 * X.norm[0] * Y.norm[0], S**2)
    chain.step(
        "and the null mean of a cycle of them is the fourth cumulant times the overlaps: zero for Gaussian noise.",
        cycle_mean(),
        FOURTH / (later * (later + 1) * later_column * (later_column + 1)),
    )


def _average_overlap(chain: Chain) -> None:
    harmonic = array("H")
    chain.define("Let H be the harmonic numbers,", harmonic[SIZE + 1], harmonic[SIZE] + 1 / (SIZE + 1))
    summed, later = array("B"), index("p'")
    chain.define("and B this function of them.", summed[later], harmonic[later] + 1 / later - 2)
    chain.step(
        "Row p' overlaps with p' - 1 earlier ones by 1/(p' (p'+1)) each: the sum of all up to row N - 1 grows by this, "
        "from B(2) = 0.",
        summed[SIZE + 1] - summed[SIZE],
        (SIZE - 1) / (SIZE * (SIZE + 1)),
    )
    average = 2 * (1 + log(SIZE)) / ((SIZE - 1) * (SIZE - 2))
    deviation = 2 * S**4 / ((SIZE - 1) * (SIZE - 2))
    chain.step(
        "With H_N at most 1 + log N the mean overlap of two rows is at most 2 (1 + log N) / ((N-1)(N-2)): what the "
        "fourth cumulant leaves vanishes against the standard deviation of the null.",
        Limit(FOURTH * average**2 / deviation, SIZE, oo),
        0,
    )


def _not_independent(chain: Chain) -> None:
    first = (NOISE[1, 1] - NOISE[2, 1] - NOISE[1, 2] + NOISE[2, 2]) / 2
    pair = (NOISE[1, r] + NOISE[2, r] - 2 * NOISE[3, r] for r in (1, 2))
    second = (next(pair) - next(pair)) / sqrt(Integer(12))
    chain.step(
        "Uncorrelated is not independent: the squares of the contrasts (1, 1) and (2, 1) of an array with two columns "
        "are correlated, unless the fourth cumulant vanishes.",
        Expectation(first**2 * second**2) - Expectation(first**2) * Expectation(second**2),
        Integer(0) if chain.planted == "independent_contrasts" else FOURTH / 12,
    )
