"""Claim `widening.layernorm`: what LayerNorm lets through exactly, and what it does not.

k copies of every coordinate and, for widths that are no multiple, e further coordinates that carry the mean of the
stream: mean unchanged, variance diluted by kD/D'. Unequal multiplicities fail from three coordinates on, whatever the
scales, gains, biases and epsilon.
"""

from sympy import Expr, Integer, Symbol, sqrt

from proofs.chain import Chain
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
from rctheory.suite.derivation import Derivation, Scope

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


def derive(planted: str | None = None) -> Derivation:
    """Return the checked derivation.

    Raises:
        DerivationError: a step does not hold, as for every planted error in `PLANTS`.
    """
    return argue(planted).derivation()


def argue(planted: str | None = None) -> Chain:
    """Return the argument with its definitions, every step checked; `planted` names an error to plant."""
    chain = Chain(CLAIM, Scope.DERIVED, ASSUMPTIONS, planted, PLANTS)
    _stream(chain)
    _moments(chain)
    _norm(chain)
    _reads(chain)
    _writes(chain)
    _unequal(chain)
    return chain


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
    scale, centred, wide = array("s"), array("l"), starred("l")
    chain.define(
        "Conversely let coordinate i have m_i copies of scale s_i, S copies in all, and nothing else. The norm centres",
        centred[i],
        X[i] - MEAN,
    )
    wide_mean = over_copies(scale[i] * X[i]) / COPIES_IN_ALL
    chain.define("and the wide norm centres the copies.", wide[i], scale[i] * X[i] - wide_mean)
    chain.step(
        "A stream and its negative with l_i = 0 both give the narrow norm's bias: an exact wide norm has the same bias "
        "and l*_i = 0 wherever l_i = 0, so the two forms are proportional. The slope of l_i is the same in all other "
        "coordinates,",
        Partial(centred[1], X[2]),
        Partial(centred[1], X[3]),
    )
    chain.step(
        "the slopes of l*_i differ by this: m_j s_j is one constant,",
        (Partial(wide[1], X[3]) - Partial(wide[1], X[2])) * COPIES_IN_ALL,
        COPIES[2] * scale[2] - COPIES[3] * scale[3],
    )
    constant = Symbol("q", positive=True)
    chain.define("say q.", scale[i], constant / COPIES[i])
    chain.step(
        "The slopes of l_i in its own and in another coordinate have the ratio 1 - D, those of l*_i differ from this "
        "ratio by the following: every s_i is qD/S, so that all m_i are equal.",
        Partial(wide[1], X[1]) + (WIDTH - 1) * Partial(wide[1], X[2]),
        scale[1] - constant * WIDTH / COPIES_IN_ALL,
    )
    _counterexample(chain)


def _counterexample(chain: Chain) -> None:
    one, zero = Integer(1), Integer(0)
    stream, doubled = (one, zero, -one), (one, one, zero, -one)
    chain.step(
        "In numbers: the stream (1, 0, -1) is centred to itself, its second coordinate to",
        stream[1] - sum(stream) / Integer(3),
        0,
    )
    chain.differ(
        "With the first coordinate copied twice the mean is 1/4, and no gain can make the second coordinate 0 again.",
        doubled[2] - sum(doubled) / Integer(4),
        zero,
    )
