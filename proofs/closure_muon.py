"""Claim `closure.muon`: the orthogonalised update of Muon stays in the span of the signatures.

Odd powers of G = sum_x d a^T are d P a^T with a matrix P over the data that only Gram matrices of signatures enter.
Hence every odd polynomial of G is, Newton-Schulz iterations among them; and U V^T is one, exactly: that polynomial
which is 1 at the singular values of G. The increment of a weight is d_i^T M a_j, with M common to all weights.
"""

from sympy import Expr, IndexedBase, Integer, KroneckerDelta, Sum, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.notation import array, indices, total, width
from proofs.optimisers import (
    COLUMNS,
    COMMON_ASSUMPTIONS,
    DATA,
    DELTA,
    ETA,
    NOISE_PLANT,
    ROWS,
    SIGNAL,
    STEP,
    STEPS,
    Q,
    W,
    define_path,
    e,
    history,
    i,
    j,
    residual,
    s,
    t,
    twins,
    x,
    y,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.muon"
ASSUMPTIONS = (
    *COMMON_ASSUMPTIONS,
    "singular values are those of the matrix in the metric of the masses, (p_i p_j)^(1/2) g_ij: with uniform masses "
    "those of g up to a factor, so that U V^T is that of g; the increment is U V^T / (p_i p_j)^(1/2)",
    "U V^T runs over the nonzero singular values: no rank is supposed, signatures may be dependent; what is supposed "
    "of the optimiser is that it applies an odd function to the singular values",
    "with momentum the data axis is the axis of pairs (step, datum), with weights q beta^(T - s)",
)
PLANTS = NOISE_PLANT | {
    "even_power": "the second power of the matrix is taken for an odd one",
    "lost_gram": "the sensitivities' Gram matrix is left out of the third power",
    "lost_masses": "a Gram matrix sums its neurons without their masses",
    "not_interpolated": "the polynomial is 1 at one of two singular values only",
    "own_core": "every row has a matrix M of its own",
}

u, v, k, c = indices("u v k c")
MASS, MASS_BELOW = IndexedBase("p", positive=True), IndexedBase("p^-", positive=True)
G, POWER, NEXT, CORE, NEXT_CORE = array("G"), array("Y"), array("Y'"), array("P"), array("P'")
ROW_GRAM, COLUMN_GRAM, DEGREE = array("Delta"), array("Lambda"), width("K")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _define(chain)
    _powers(chain)
    _polynomial(chain)
    _singular(chain)
    _solve(chain)
    sentence = (
        "Two pairs of neurons with equal signatures keep the difference of their weights, for M is common to all."
    )
    twins(chain, sentence=sentence)
    residual(chain, sentence="The residual is frozen.")
    _rank(chain)
    chain.differ(
        "Not linear: for one weight U V^T is a sign. The step for the gradient 2 is 1, and twice that for 1 is 2.",
        Integer(1),
        Integer(2),
    )


derive = argue.derive


def _roots(row: Expr = i, column: Expr = j) -> Expr:
    return sqrt(MASS[row]) * sqrt(MASS_BELOW[column])


def _spanned(core: IndexedBase, row: Expr = i, column: Expr = j, *, power: Expr | None = None) -> Expr:
    """Return d_i^T core a_j, with the roots of the masses."""
    slots = (x, y) if power is None else (power, x, y)
    return _roots(row, column) * total(
        Q[x] * DELTA[t, row, x] * core[slots] * SIGNAL[t, column, y], (x, DATA), (y, DATA)
    )


def _define(chain: Chain) -> None:
    outer = total(Q[x] * DELTA[t, i, x] * SIGNAL[t, j, x], (x, DATA))
    chain.define(
        "The matrix whose singular values are orthogonalised: the factorised gradient in the metric of the masses.",
        G[i, j],
        _roots() * outer,
        why="claim gradient.factorizes",
    )
    weight = Integer(1) if chain.planted == "lost_masses" else MASS[i]
    chain.define(
        "Correlate the weighted sensitivities over the rows,",
        ROW_GRAM[x, y],
        total(weight * Q[x] * DELTA[t, i, x] * Q[y] * DELTA[t, i, y], (i, ROWS)),
    )
    chain.define(
        "and the signals over the columns.",
        COLUMN_GRAM[x, y],
        total(MASS_BELOW[j] * SIGNAL[t, j, x] * SIGNAL[t, j, y], (j, COLUMNS)),
    )


def _powers(chain: Chain) -> None:
    """(G G^T)^k G, by induction on k."""
    chain.step(
        "The first power is in the span of the signatures, with the unit matrix in the middle.",
        G[i, j],
        _roots()
        * total(Q[x] * DELTA[t, i, x] * KroneckerDelta(x, y, (1, DATA)) * SIGNAL[t, j, y], (x, DATA), (y, DATA)),
    )
    chain.define(
        "Suppose that an odd power is, with a matrix P in the middle.",
        POWER[i, j],
        _spanned(CORE),
        why="hypothesis of the induction",
    )
    chain.define(
        "The next one is G G^T times it;", NEXT[i, j], total(G[i, c] * G[k, c] * POWER[k, j], (c, COLUMNS), (k, ROWS))
    )
    if chain.planted == "even_power":
        chain.define("Planted.", NEXT[i, j], total(G[i, c] * POWER[c, j], (c, COLUMNS)))
    gram = KroneckerDelta(u, v, (1, DATA)) if chain.planted == "lost_gram" else ROW_GRAM[u, v]
    chain.define(
        "its matrix is multiplied by both Gram matrices,",
        NEXT_CORE[x, y],
        total(COLUMN_GRAM[x, u] * gram * CORE[v, y], (u, DATA), (v, DATA)),
    )
    chain.step(
        "and it is in the span again: no neuron enters the matrix in the middle but through the two Gram matrices.",
        NEXT[i, j],
        _spanned(NEXT_CORE),
    )


def _polynomial(chain: Chain) -> None:
    coefficient, core, middle = array("c"), array("P^*"), array("M")
    polynomial = array("O")
    powers = (k, 0, DEGREE)
    chain.define("Number the odd powers, 2k + 1, and their matrices.", array("Y^*")[k, i, j], _spanned(core, power=k))
    chain.define(
        "An odd polynomial of G: a Newton-Schulz iteration, whose composition is one, or an interpolation.",
        polynomial[i, j],
        Sum(coefficient[k] * array("Y^*")[k, i, j], powers),
    )
    chain.define("Its matrix is the same combination.", middle[x, y], Sum(coefficient[k] * core[k, x, y], powers))
    chain.step(
        "So its entry over the roots of the masses is d_i^T M a_j, with one matrix M for all weights.",
        polynomial[i, j] / _roots(),
        total(Q[x] * DELTA[t, i, x] * middle[x, y] * SIGNAL[t, j, y], (x, DATA), (y, DATA)),
    )


def _singular(chain: Chain) -> None:
    """An odd polynomial acts on singular values; one that is 1 on them is U V^T."""
    sigma, factor = Symbol("sigma", positive=True), Symbol("c", positive=True)
    right, left, back, image = array("v"), array("w"), array("z"), array("y")
    chain.define("Let v be a right singular vector, and", left[i], total(G[i, j] * right[j], (j, COLUMNS)) / sigma)
    chain.define("the left one; its image under the transpose is", back[j], sigma * right[j], why="singular pair")
    chain.define(
        "Suppose that an odd power maps v to c times the left vector,", image[i], factor * left[i], why="hypothesis"
    )
    chain.step(
        "then the next one maps it to c sigma^2 times it: odd powers and odd polynomials act on singular values.",
        total(G[i, j] * (factor * back[j]), (j, COLUMNS)),
        sigma**2 * image[i],
    )
    coordinates = array("alpha")
    chain.define(
        "Take the coordinates of v in the signals;",
        coordinates[x],
        total(sqrt(MASS_BELOW[j]) * SIGNAL[t, j, x] * right[j], (j, COLUMNS)),
    )
    image_back = total(G[i, j] * left[i], (i, ROWS))
    chain.step(
        "the product of the Gram matrices maps them to those of sigma times the image of w under the transpose, that "
        "is of sigma^2 v: singular values, and with them the coefficients, are functions of the Gram matrices.",
        total(COLUMN_GRAM[x, u] * ROW_GRAM[u, v] * coordinates[v], (u, DATA), (v, DATA)),
        sigma * total(sqrt(MASS_BELOW[j]) * SIGNAL[t, j, x] * image_back, (j, COLUMNS)),
    )
    _interpolate(chain)


def _interpolate(chain: Chain) -> None:
    one, two = Symbol("sigma_1", positive=True), Symbol("sigma_2", positive=True)
    scale = one * two * (one + two)
    cubic = Integer(0) if chain.planted == "not_interpolated" else -1 / scale
    for value, sentence in (
        (
            one,
            "Squares of distinct singular values are distinct, so some odd polynomial is 1 at all of them. For two of "
            "them it is this cubic, at the first",
        ),
        (
            two,
            "and at the second. Such a polynomial maps every v to its left vector, and what is orthogonal to all v to "
            "zero: it is U V^T.",
        ),
    ):
        chain.step(sentence, (one**2 + one * two + two**2) / scale * value + cubic * value**3, Integer(1))


def _solve(chain: Chain) -> None:
    middle = array("M^t")
    slots = (t, i, x, y) if chain.planted == "own_core" else (t, x, y)
    body = Q[x] * DELTA[t, i, x] * middle[slots] * SIGNAL[t, j, y]
    chain.define("So a step of Muon is", STEP[t, i, j], total(body, (x, DATA), (y, DATA)), why="shown above")
    define_path(chain, ETA * history(Integer(1), STEP[s, i, j], t), "and a weight is its start less the steps so far.")
    chain.step(
        "Every step subtracts the orthogonalised gradient: this is the path of every weight, at every finite width.",
        W[STEPS + 1, i, j, e],
        W[STEPS, i, j, e] - ETA * STEP[STEPS, i, j],
    )


def _rank(chain: Chain) -> None:
    left, right = array("A"), array("B")
    middle = array("M^t")
    chain.define(
        "Collect the sensitivities, mixed by M,",
        left[i, s, y],
        -ETA * total(Q[x] * DELTA[s, i, x] * middle[s, x, y], (x, DATA)),
    )
    chain.define("and the signals.", right[s, y, j], SIGNAL[s, j, y])
    chain.step(
        "The increment has rank at most data x steps, although it is not linear in the gradient.",
        W[STEPS, i, j, e] - W[0, i, j, e],
        Sum(left[i, s, y] * right[s, y, j], (y, 1, DATA), (s, 0, STEPS - 1)),
    )
    chain.define("With uniform masses on the rows", MASS[i], 1 / ROWS)
    chain.define("and the columns", MASS_BELOW[j], 1 / COLUMNS)
    chain.step(
        "the division of U V^T by the roots of the masses is this factor: the mean-field rate of Muon.",
        1 / _roots(),
        sqrt(ROWS * COLUMNS),
    )
