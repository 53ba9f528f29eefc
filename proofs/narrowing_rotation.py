"""Claim `narrowing.rotation`: a stream that is read through RMSNorm may be turned, and cut where nothing is left.

A rotation is written as a product of rotations of two coordinates; any two are the first two after a relabelling. With
the gain in the matrices that read, the turned model is the same function, and no other linear map but a multiple of a
rotation or reflection leaves the norm free. Coordinates that stay zero are cut, with two factors that leave
epsilon as it is. Of all orthonormal frames the leading principal directions hold the largest mean square.
"""

from collections.abc import Callable

from sympy import Expr, Integer, KroneckerDelta, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.notation import Partial, array, index, total, width
from proofs.residual_stream import GAIN, HIDDEN, READ, ROOT, UNITS, WIDER, WIDTH, WRITE, X, i, j, starred, u
from rctheory.suite.derivation import Scope

CLAIM = "narrowing.rotation"
ASSUMPTIONS = (
    "every read of the stream goes through RMSNorm; D >= 2, D' and the numbers m and e of coordinates are symbols",
    "a rotation is a product of rotations of two coordinates, whose half angle has a tangent",
    "cut: the coordinates that are left out stay zero; frames: the second moments of the normed stream are finite",
    "exact arithmetic",
)
PLANTS = {
    "shear": "the two coordinates are mixed with equal signs, which is no rotation",
    "gain_kept": "the gain stays in the norm",
    "read_unturned": "the matrices that read are not turned",
    "write_unturned": "the matrices that write are not turned",
    "write_unscaled": "what writes the cut stream is not multiplied by (m / D)^(1/2)",
    "scale_forgotten": "reads of the cut stream are not multiplied by (D / m)^(1/2)",
    "trailing": "a direction that is left out has a larger moment than one that is kept",
}

k, p = index("k"), index("p")
KEPT, CUT = width("m"), width("e")
COS, SIN, TANGENT = (Symbol(name) for name in ("c", "s", "t"))
EPS, POWER, WIDE_POWER, WIDE_ROOT = (Symbol(name) for name in ("epsilon", "P", "P^*", "R^*"))
FOLDED, MAP = array("G"), array("A")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _norm(chain)
    _reads_and_writes(chain)
    _nothing_else(chain)
    _cut(chain)
    _directions(chain)


derive = argue.derive


def rotated(entry: Callable[[Expr], Expr], *, shear: bool = False) -> Expr:
    """Return coordinate i of the vector `entry` after a rotation of the coordinates 1 and 2."""
    one, two = (KroneckerDelta(i, Integer(unit), (1, WIDTH)) for unit in (1, 2))
    first, second = entry(Integer(1)), entry(Integer(2))
    sign = 1 if shear else -1
    return entry(i) + one * ((COS - 1) * first + sign * SIN * second) + two * (SIN * first + (COS - 1) * second)


def _norm(chain: Chain) -> None:
    shear, flipped = chain.planted == "shear", array("x^-")
    chain.define("Let t be the tangent of half an angle,", COS, (1 - TANGENT**2) / (1 + TANGENT**2))
    chain.define("so that these are its cosine and sine.", SIN, 2 * TANGENT / (1 + TANGENT**2))
    chain.define(
        "Turn two coordinates of the stream; any others are these after a relabelling.",
        starred("x")[i],
        rotated(lambda slot: X[slot], shear=shear),
        why="one factor of the rotation",
    )
    chain.define("The norm divides by the root of", POWER, total(X[i] ** 2, (i, WIDTH)) / WIDTH + EPS)
    chain.define("and in the turned model of", WIDE_POWER, total(starred("x")[i] ** 2, (i, WIDTH)) / WIDTH + EPS)
    chain.step("A rotation keeps the mean square;", WIDE_POWER, POWER)
    chain.define("a coordinate that changes its sign", flipped[i], X[i] - 2 * KroneckerDelta(i, 1, (1, WIDTH)) * X[1])
    chain.step(
        "does so too: products of both are all orthogonal matrices.",
        total(flipped[i] ** 2, (i, WIDTH)),
        total(X[i] ** 2, (i, WIDTH)),
    )


def _reads_and_writes(chain: Chain) -> None:
    kept, planted = chain.planted == "gain_kept", chain.planted
    chain.define(
        "Let R be the positive root of mean square plus epsilon: that is,",
        EPS,
        ROOT**2 - total(X[i] ** 2, (i, WIDTH)) / WIDTH,
    )
    chain.define("The turned norm divides by", WIDE_ROOT, sqrt(WIDE_POWER))
    chain.step("which is the same:", WIDE_ROOT, ROOT)
    chain.define("The norm sends", array("y")[i], GAIN[i] * X[i] / ROOT)
    gain = GAIN[i] if kept else Integer(1)
    chain.define("the turned one, its gain set to one,", starred("y")[i], gain * starred("x")[i] / WIDE_ROOT)
    chain.define("and the matrices that read take the gain,", FOLDED[u, i], READ[u, i] * (1 if kept else GAIN[i]))
    turned = FOLDED[u, i] if planted == "read_unturned" else rotated(lambda slot: FOLDED[u, slot])
    chain.define("turned like the stream.", starred("W")[u, i], turned)
    chain.step(
        "Then they read what they read before:",
        total(starred("W")[u, i] * starred("y")[i], (i, WIDTH)),
        total(READ[u, i] * array("y")[i], (i, WIDTH)),
    )
    after = array("v")
    chain.define(
        "Embeddings, biases and rows that write are turned too,",
        starred("O")[i, u],
        WRITE[i, u] if planted == "write_unturned" else rotated(lambda slot: WRITE[slot, u]),
    )
    chain.define("and with the stream after the write", after[i], X[i] + total(WRITE[i, u] * HIDDEN[u], (u, UNITS)))
    chain.step(
        "the turned one is this stream turned: the induction climbs from block to block, and from factor to factor.",
        starred("x")[i] + total(starred("O")[i, u] * HIDDEN[u], (u, UNITS)),
        rotated(lambda slot: after[slot]),
    )


def _nothing_else(chain: Chain) -> None:
    """A linear map that leaves the norm free has orthogonal columns of one length."""
    image = total(total(MAP[i, j] * X[j], (j, WIDTH)) ** 2, (i, WIDER))
    chain.step(
        "Conversely let any matrix A map the stream, so that the ratio of the two mean squares does not depend on the "
        "stream. Differentiated in two coordinates, its own square gives",
        Partial(Partial(image, X[1]), X[2]),
        2 * total(MAP[i, 1] * MAP[i, 2], (i, WIDER)),
    )
    chain.step(
        "where that of the stream gives zero: the columns of A are orthogonal;",
        Partial(Partial(total(X[i] ** 2, (i, WIDTH)), X[1]), X[2]),
        0,
    )
    chain.step(
        "twice in one coordinate the squared length of its column,",
        Partial(Partial(image, X[k]), X[k]),
        2 * total(MAP[i, k] ** 2, (i, WIDER)),
    )
    chain.step(
        "where that of the stream gives the same for all: a rotation, up to reflections and one factor.",
        Partial(Partial(total(X[i] ** 2, (i, WIDTH)), X[k]), X[k]),
        2,
    )


def _cut(chain: Chain) -> None:
    stream, small, root = array("z"), starred("z"), Symbol("r^*")
    whole = KEPT + CUT
    chain.define("Now let the last e of m + e turned coordinates stay zero,", array("o")[p], Integer(0))
    squares = total(stream[i] ** 2, (i, KEPT)) + total(array("o")[p] ** 2, (p, CUT))
    chain.define("and R be the root before the cut: that is,", EPS, ROOT**2 - squares / whole)
    scale = Integer(1) if chain.planted == "write_unscaled" else sqrt(KEPT / whole)
    chain.define("Scale what writes the others.", small[i], scale * stream[i])
    chain.define("The norm of m coordinates divides by the root of", root, total(small[i] ** 2, (i, KEPT)) / KEPT + EPS)
    chain.step("which is what it was before the cut, for every stream,", root, ROOT**2)
    factor = Integer(1) if chain.planted == "scale_forgotten" else sqrt(whole / KEPT)
    chain.define("so that reads take back the scale.", starred("V")[u, i], factor * array("V")[u, i])
    rest = total(array("V_o")[u, p] * array("o")[p] / ROOT, (p, CUT))
    chain.step(
        "The cut model reads what the turned one reads: nothing is lost.",
        total(starred("V")[u, i] * small[i] / ROOT, (i, KEPT)),
        total(array("V")[u, i] * stream[i] / ROOT, (i, KEPT)) + rest,
    )


def _directions(chain: Chain) -> None:
    moment, least, other = array("lambda"), Symbol("lambda_m", positive=True), array("mu")
    above, below, missing, taken = array("a"), array("b"), array("d"), array("f")
    frame, best, held, shares = array("q"), Symbol("B"), Symbol("H"), Symbol("S")
    chain.step(
        "Where something is left, take the principal directions of the normed stream as coordinates; they are "
        "uncorrelated, so that a direction q holds of its mean square",
        total(frame[i] * frame[j] * moment[i] * KroneckerDelta(i, j, (1, WIDTH)), (i, WIDTH), (j, WIDTH)),
        total(moment[i] * frame[i] ** 2, (i, WIDTH)),
    )
    chain.define("In falling order the first m moments are", moment[k], least + above[k] ** 2)
    sign = 1 if chain.planted == "trailing" else -1
    chain.define("and the others", other[p], least + sign * below[p] ** 2)
    chain.define("The leading m hold", best, total(moment[k], (k, KEPT)))
    chain.define(
        "Any m orthonormal ones take the share 1 - d_k^2 of direction k, as rows of an orthogonal matrix have length "
        "one, and f_p^2 of direction p: they hold",
        held,
        total(moment[k] * (1 - missing[k] ** 2), (k, KEPT)) + total(other[p] * taken[p] ** 2, (p, CUT)),
    )
    chain.define(
        "Their shares add up to", shares, total(1 - missing[k] ** 2, (k, KEPT)) + total(taken[p] ** 2, (p, CUT))
    )
    chain.order(
        "which is m, as columns have length one. So nothing holds more than the leading directions.",
        held + least * (KEPT - shares),
        best,
    )
