"""Claim `widening.layernorm`: what LayerNorm lets through exactly, and what it does not.

k copies of every coordinate and, for widths that are no multiple, e further coordinates that carry the mean of the
stream: mean unchanged, variance diluted by kD/D'. Unequal multiplicities fail from three coordinates on, whatever the
scales, gains, biases and epsilon.
"""

from sympy import Expr, Integer, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.notation import Partial, array, index, total, width
from proofs.residual_stream import (
    BIAS,
    COPIES,
    GAIN,
    HIDDEN,
    READ,
    ROOT,
    UNITS,
    WIDTH,
    WRITE,
    X,
    c,
    i,
    of_zero_sum,
    over_copies,
    starred,
    u,
)
from rctheory.suite.derivation import Scope

CLAIM = "widening.layernorm"
ASSUMPTIONS = (
    "D, the number k of copies and the number e of further coordinates are symbols, D' = kD + e; e = 0 is the tile",
    "embeddings, positions, rows that write and output biases carry their average on the further coordinates",
    "the further coordinates have bias 0 in the norm; their gain and the columns that read them are then free",
    "for the converse: the stream is made of copies alone, D >= 3, gains are not 0",
    "exact arithmetic",
)
PLANTS = {
    "epsilon_kept": "epsilon is not scaled with the variance",
    "gain_copied": "the gain is copied without the root of the scale",
    "zero_extra": "the further coordinates carry zeros instead of the mean",
    "unaveraged_write": "a matrix writes nothing to the further coordinates",
    "read_undivided": "every copy of a column that reads keeps the whole weight",
    "scale_of_width": "the variance is taken to be diluted by D/D' instead of kD/D'",
}

p = index("p")
TILES, WIDER, COPIES_IN_ALL = width("k"), width("D'"), width("S")
EXTRA = index("e")
MEAN, WIDE_MEAN, VAR, WIDE_VAR, EPS, WIDE_EPS, SCALE, WIDE_ROOT = (
    Symbol(name) for name in ("mu", "mu^*", "V", "V^*", "epsilon", "epsilon^*", "rho", "R^*")
)


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _stream(chain)
    _moments(chain)
    _norm(chain)
    _reads(chain)
    _writes(chain)
    _unequal(chain)


derive = argue.derive


def wide_mean_of(copy: Expr, extra: Expr) -> Expr:
    """Return the mean over the wide stream: k copies of each coordinate, and the further coordinates."""
    return (total(copy, (c, TILES), (i, WIDTH)) + total(extra, (p, EXTRA))) / WIDER


def _stream(chain: Chain) -> None:
    chain.define("LayerNorm centres the stream by its mean", MEAN, total(X[i], (i, WIDTH)) / WIDTH)
    chain.define("and has the variance", VAR, total((X[i] - MEAN) ** 2, (i, WIDTH)) / WIDTH)
    chain.define("Let R be the positive root of variance plus epsilon: that is,", EPS, ROOT**2 - VAR)
    chain.define("The wide stream has k copies of each narrow coordinate", starred("x")[i, c], X[i])
    chain.define("and, in number,", EXTRA, WIDER - TILES * WIDTH)
    extra = Integer(0) if chain.planted == "zero_extra" else MEAN
    chain.define(
        "more that carry the mean of the stream.",
        starred("z")[p],
        extra,
        why="average expansion of the embeddings, then hypothesis of the induction over blocks",
    )
    chain.define("Its mean", WIDE_MEAN, wide_mean_of(starred("x")[i, c], starred("z")[p]))
    squares = wide_mean_of((starred("x")[i, c] - WIDE_MEAN) ** 2, (starred("z")[p] - WIDE_MEAN) ** 2)
    chain.define("and its variance.", WIDE_VAR, squares)


def _moments(chain: Chain) -> None:
    chain.step("The mean is unchanged,", WIDE_MEAN, MEAN)
    copies = Integer(1) if chain.planted == "scale_of_width" else TILES
    chain.define("and with", SCALE, copies * WIDTH / WIDER)
    chain.step("the variance is diluted.", WIDE_VAR, SCALE * VAR)
    _whole_part(chain)


def _whole_part(chain: Chain) -> None:
    extra, short = (Symbol(name, integer=True, nonnegative=True) for name in ("e'", "r"))
    narrow = extra + 1 + short
    ratio = (TILES * narrow + extra) / narrow
    chain.order("With e' < D further coordinates, D = e' + 1 + r, the ratio D'/D is at least k", TILES, ratio)
    chain.order("and below k + 1: k is its floor.", ratio, TILES + 1 - 1 / narrow)


def _norm(chain: Chain) -> None:
    chain.define("Scale epsilon with the variance.", WIDE_EPS, EPS if chain.planted == "epsilon_kept" else SCALE * EPS)
    chain.define("The wide root", WIDE_ROOT, sqrt(WIDE_VAR + WIDE_EPS))
    chain.step("is a multiple of the narrow one,", WIDE_ROOT, sqrt(SCALE) * ROOT)
    chain.define("which we use from now on;", WIDE_ROOT, sqrt(SCALE) * ROOT, why="the step before")
    gain = GAIN[i] if chain.planted == "gain_copied" else sqrt(SCALE) * GAIN[i]
    chain.define("so the gain takes this factor", starred("gamma")[i, c], gain)
    chain.define("and the bias is copied.", starred("beta")[i, c], BIAS[i])
    chain.define("The narrow norm sends", array("y")[i], GAIN[i] * (X[i] - MEAN) / ROOT + BIAS[i])
    sent = starred("gamma")[i, c] * (starred("x")[i, c] - WIDE_MEAN) / WIDE_ROOT + starred("beta")[i, c]
    chain.define("and the wide one", starred("y")[i, c], sent)
    chain.step("All copies of a normalised coordinate equal it.", starred("y")[i, c], array("y")[i])
    chain.define(
        "A further coordinate, with any gain and bias 0, sends",
        array("t")[p],
        array("g")[p] * (starred("z")[p] - WIDE_MEAN) / WIDE_ROOT,
    )
    chain.step("nothing: its gain is free, 0 is one choice.", array("t")[p], 0)


def _reads(chain: Chain) -> None:
    noise, column = array("N"), array("V")
    even = Integer(1) if chain.planted == "read_undivided" else 1 / TILES
    chain.define(
        "A matrix that reads splits its columns evenly, plus any noise of sum zero over the copies.",
        starred("W")[u, i, c],
        even * READ[u, i] + of_zero_sum(noise[u, i, c], c, TILES),
    )
    read = total(starred("W")[u, i, c] * starred("y")[i, c], (c, TILES), (i, WIDTH))
    chain.step(
        "It reads what the narrow one reads, with any columns V on the further coordinates.",
        read + total(column[u, p] * array("t")[p], (p, EXTRA)),
        total(READ[u, i] * array("y")[i], (i, WIDTH)),
    )


def _writes(chain: Chain) -> None:
    chain.define("A matrix that writes copies its rows", starred("O")[i, c, u], WRITE[i, u])
    average = total(WRITE[i, u], (i, WIDTH)) / WIDTH
    rows = Integer(0) if chain.planted == "unaveraged_write" else average
    chain.define("and writes their average to the further coordinates.", starred("Z")[p, u], rows)
    narrow = X[i] + total(WRITE[i, u] * HIDDEN[u], (u, UNITS))
    chain.step(
        "The copies carry the new stream,",
        starred("x")[i, c] + total(starred("O")[i, c, u] * HIDDEN[u], (u, UNITS)),
        narrow,
    )
    chain.step(
        "and the further coordinates its mean: the induction climbs from block to block.",
        starred("z")[p] + total(starred("Z")[p, u] * HIDDEN[u], (u, UNITS)),
        total(narrow, (i, WIDTH)) / WIDTH,
    )


def _unequal(chain: Chain) -> None:
    """Copies alone, in unequal numbers: the two variances are not proportional, and no read can make up for it."""
    scale, wide, constant = array("s"), Symbol("V^m"), Symbol("q", positive=True)
    moments = (over_copies(scale[i] ** power * X[i] ** power) / COPIES_IN_ALL for power in (1, 2))
    mean, square = moments
    chain.define(
        "Conversely let coordinate i have m_i copies of scale s_i, S in all, and nothing else: the wide variance is",
        wide,
        square - mean**2,
    )
    chain.step(
        "Suppose that one read L of the narrow norm, not zero, is a read L* of the wide one, biases apart: L*/R* = L/R "
        "for every stream. L* vanishes where L does, so L* = c L, and the squares of the roots have the ratio c^2 "
        "everywhere. Differentiate them twice. In two coordinates the narrow variance gives the same for every pair,",
        Partial(Partial(VAR, X[1]), X[2]),
        -2 / WIDTH**2,
    )
    chain.step(
        "the wide one products: with three coordinates m_j s_j must be one constant,",
        Partial(Partial(wide, X[1]), X[2]),
        -2 * COPIES[1] * scale[1] * COPIES[2] * scale[2] / COPIES_IN_ALL**2,
    )
    chain.define("say q.", scale[i], constant / COPIES[i])
    chain.step(
        "Twice in one coordinate the narrow variance gives the same for all,",
        Partial(Partial(VAR, X[1]), X[1]),
        Partial(Partial(VAR, X[2]), X[2]),
    )
    chain.step(
        "the wide one differs from coordinate to coordinate as the scales do: these are equal, and so are the m_j.",
        Partial(Partial(wide, X[1]), X[1]) - Partial(Partial(wide, X[2]), X[2]),
        2 * constant * (scale[1] - scale[2]) / COPIES_IN_ALL,
    )
    _counterexample(chain)


def _counterexample(chain: Chain) -> None:
    first, third = array("x'")[1], array("x'")[3]
    between = (first + third) / 2
    chain.step(
        "In numbers: three coordinates, the second the mean of all, so that the narrow norm sends its bias. "
        "Copy the first one twice: the wide norm centres the second to this,",
        between - (2 * first + between + third) / 4,
        (third - first) / 8,
    )
    stream = (Integer(1), Integer(1), Integer(0), Integer(-1))
    chain.differ(
        "for the stream (1, 0, -1) to -1/4: no gain makes it 0.", stream[2] - sum(stream) / Integer(4), Integer(0)
    )
