"""Claim `weights.exchangeable-axes`: which relabellings of a Llama layer change nothing, and why the test is exact.

A relabelling pi is any bijection of an axis; a sum over the axis does not see it. FFN units, residual coordinates,
value coordinates inside a head and whole heads can be relabelled; query and key coordinates cannot, because rotary
position ties them in pairs, and rows cannot move between heads. Without side information an axis that can be
relabelled carries no order: then the permutation p-value is valid at every number of permutations.
"""

from sympy import Expr, IndexedBase, Integer, Rational, Symbol, cos, floor, frac, pi, sin

from proofs.chain import Chain, argument
from proofs.notation import Activation, Relabelling, array, index, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "weights.exchangeable-axes"
ASSUMPTIONS = (
    "one block of the Llama architecture: RMSNorm, attention with rotary positions, gated FFN; widths are symbols",
    "one relabelling of an axis, used by every tensor that touches it",
    "what cannot be relabelled is shown by explicit counterexamples",
    "under the null hypothesis the observed and the B permuted statistics are exchangeable; 0 < level < 1",
)
PLANTS = {
    "columns_left": "the down columns keep their order while gate and up rows are relabelled",
    "gain_left": "the gain of the norm keeps its order while the residual axis is relabelled",
    "output_left": "the output columns keep their order while the value rows are relabelled",
    "rotary_symmetry": "exchanging the two members of a rotary pair is taken for a symmetry",
    "p_without_one": "the p-value does not count the observed statistic",
}

i, j, u, r, c, g, s, t = indices("i j u r c g s t")
WIDTH, UNITS, HEADS, HEAD_WIDTH, TOKENS = width("D"), width("F"), width("H"), width("d_h"), width("T")
X, NORMED, GAIN, EPS = array("x"), array("y"), array("gamma"), Symbol("epsilon", positive=True)
RMS = Symbol("rho")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _ffn_units(chain)
    _residual_axis(chain)
    _value_coordinates(chain)
    _rows_across_heads(chain)
    _query_coordinates(chain)
    _p_value(chain)


derive = argue.derive


def relabelled(base: str) -> IndexedBase:
    """Return the array of the relabelled layer that belongs to an array of the layer."""
    return array(f"{base}*" if "^" in base else f"{base}^*")


def _gated(gate: IndexedBase, up: IndexedBase, down: IndexedBase) -> Expr:
    """Return the gated FFN: down (sigma(gate x) * up x)."""
    gates, ups = (total(matrix[u, r] * X[r], (r, WIDTH)) for matrix in (gate, up))
    return total(down[i, u] * Activation(gates) * ups, (u, UNITS))


def _ffn_units(chain: Chain) -> None:
    gate, up, down = array("G"), array("U"), array("D")
    column = u if chain.planted == "columns_left" else Relabelling(u, UNITS)
    chain.define("Relabel the FFN units: the rows of the gate,", relabelled("G")[u, r], gate[Relabelling(u, UNITS), r])
    chain.define("the rows of up,", relabelled("U")[u, r], up[Relabelling(u, UNITS), r])
    chain.define("and the columns of down.", relabelled("D")[i, u], down[i, column])
    chain.step(
        "The layer is a sum over the units, and the same sum in another order.",
        _gated(relabelled("G"), relabelled("U"), relabelled("D")),
        _gated(gate, up, down),
    )


def _residual_axis(chain: Chain) -> None:
    """One relabelling of the residual axis everywhere: stream, gain, reads, writes, embedding and head."""
    stream, read, write, value = relabelled("x"), array("R"), array("O"), array("v")
    scale = Symbol("rho'")
    chain.define(
        "The norm divides by the root mean square of the stream",
        RMS,
        (EPS + total(X[r] ** 2, (r, WIDTH)) / WIDTH) ** Rational(-1, 2),
    )
    chain.define("and multiplies by its gain.", NORMED[i], GAIN[i] * X[i] * RMS)
    chain.define(
        "Relabel the residual axis: the stream, as embedding columns or earlier blocks write it,",
        stream[i],
        X[Relabelling(i, WIDTH)],
        why="relabelling, then hypothesis of the induction over blocks",
    )
    gain = i if chain.planted == "gain_left" else Relabelling(i, WIDTH)
    chain.define("the gain,", relabelled("gamma")[i], GAIN[gain])
    chain.define("the columns of every matrix that reads,", relabelled("R")[u, i], read[u, Relabelling(i, WIDTH)])
    chain.define("and the rows of every matrix that writes.", relabelled("O")[i, u], write[Relabelling(i, WIDTH), u])
    chain.define("The relabelled norm.", scale, (EPS + total(stream[r] ** 2, (r, WIDTH)) / WIDTH) ** Rational(-1, 2))
    chain.step("The root mean square does not see the relabelling,", scale, RMS)
    normed = relabelled("gamma")[i] * stream[i] * scale
    chain.step("the normed stream is relabelled,", normed, NORMED[Relabelling(i, WIDTH)])
    chain.step(
        "a read, and the head with it, is unchanged,",
        total(relabelled("R")[u, i] * normed, (i, WIDTH)),
        total(read[u, i] * NORMED[i], (i, WIDTH)),
    )
    chain.define(
        "and with a write the stream becomes", array("x^+")[i], X[i] + total(write[i, u] * value[u], (u, UNITS))
    )
    chain.step(
        "the relabelled stream: the induction climbs from block to block.",
        stream[i] + total(relabelled("O")[i, u] * value[u], (u, UNITS)),
        array("x^+")[Relabelling(i, WIDTH)],
    )


def _attention(value: IndexedBase, out: IndexedBase) -> Expr:
    """Return what the heads of one group write: any attention weights A, shared values, their own output columns."""
    values = total(value[c, r] * array("Y")[s, r], (r, WIDTH))
    mixed = total(array("A")[g, t, s] * values, (s, TOKENS))
    return total(out[i, g, c] * mixed, (g, HEADS), (c, HEAD_WIDTH))


def _value_coordinates(chain: Chain) -> None:
    value, out = array("V"), array("Q")
    column = c if chain.planted == "output_left" else Relabelling(c, HEAD_WIDTH)
    chain.define(
        "Relabel the coordinates of the values of one group,",
        relabelled("V")[c, r],
        value[Relabelling(c, HEAD_WIDTH), r],
    )
    chain.define("and the output columns of each of its heads.", relabelled("Q")[i, g, c], out[i, g, column])
    chain.step(
        "Attention mixes tokens, not coordinates: value coordinates are exchangeable inside a head.",
        _attention(relabelled("V"), relabelled("Q")),
        _attention(value, out),
    )
    head, columns = array("o"), array("P")
    chain.step(
        "Whole heads can be relabelled, with their output columns;",
        total(columns[i, Relabelling(g, HEADS), c] * head[Relabelling(g, HEADS), c], (g, HEADS), (c, HEAD_WIDTH)),
        total(columns[i, g, c] * head[g, c], (g, HEADS), (c, HEAD_WIDTH)),
    )


def _rows_across_heads(chain: Chain) -> None:
    query, key = array("q"), array("k")
    other_query, other_key = relabelled("q"), relabelled("k")
    for vector, other in ((query, other_query), (key, other_key)):
        chain.define(
            f"but let head 1 take a row of the {'queries' if vector == query else 'keys'} of head 2;",
            other[1, 2],
            vector[2, 1],
        )
    chain.step(
        "then the score of head 1 changes by a difference of products that no symmetry makes zero: rows of heads are "
        "not exchangeable.",
        (query[1, 1] * key[1, 1] + other_query[1, 2] * other_key[1, 2])
        - (query[1, 1] * key[1, 1] + query[1, 2] * key[1, 2]),
        query[2, 1] * key[2, 1] - query[1, 2] * key[1, 2],
    )


def _rotated(pair: tuple[Expr, Expr], angle: Expr) -> tuple[Expr, Expr]:
    first, second = pair
    return first * cos(angle) - second * sin(angle), first * sin(angle) + second * cos(angle)


def _score(queries: tuple[Expr, Expr], keys: tuple[Expr, Expr], query_angle: Expr, key_angle: Expr) -> Expr:
    """Return what one rotary pair adds to the score of two tokens."""
    left, right = _rotated(queries, query_angle), _rotated(keys, key_angle)
    return left[0] * right[0] + left[1] * right[1]


def _query_coordinates(chain: Chain) -> None:
    query, key, theta = array("q"), array("k"), Symbol("theta", real=True)
    queries, keys = (query[1], query[2]), (key[1], key[2])
    angles = theta * t, theta * s
    chain.step(
        "Where nothing rotates, a score is a sum over coordinates, blind to a relabelling of query and key rows.",
        total(query[Relabelling(c, HEAD_WIDTH)] * key[Relabelling(c, HEAD_WIDTH)], (c, HEAD_WIDTH)),
        total(query[c] * key[c], (c, HEAD_WIDTH)),
    )
    dot, cross = query[1] * key[1] + query[2] * key[2], query[1] * key[2] - query[2] * key[1]
    chain.step(
        "Rotary position turns the pair of coordinates (1, 2) by an angle that grows with the position: "
        "the score depends on the distance of the tokens, and on the orientation of the pair.",
        _score(queries, keys, *angles),
        dot * cos(theta * (t - s)) + cross * sin(theta * (t - s)),
    )
    sign = 0 if chain.planted == "rotary_symmetry" else -2
    chain.step(
        "Exchanging the members of the pair, in query and key alike, turns the orientation round.",
        _score(queries[::-1], keys[::-1], *angles) - _score(queries, keys, *angles),
        sign * cross * sin(theta * (t - s)),
    )
    one, zero = Integer(1), Integer(0)
    chain.differ(
        "With the query (1, 0), the key (0, 1) and a quarter turn between them the score changes its sign: query "
        "coordinates inside a head are not exchangeable.",
        _score((one, zero), (zero, one), pi / 2, zero),
        _score((zero, one), (one, zero), pi / 2, zero),
    )


def _p_value(chain: Chain) -> None:
    draws, level, rank, b = width("B"), Symbol("alpha", positive=True), index("rank"), index("b")
    orders = draws + 1
    observed = 0 if chain.planted == "p_without_one" else 1
    attained = floor(level * orders) if observed else floor(level * draws) + 1
    reached = Symbol("P_reject")
    chain.define(
        "Let the observed statistic have rank `rank` from the top among B + 1 exchangeable ones: each rank has "
        "probability 1/(B + 1), and p is at most alpha up to this rank.",
        reached,
        total(1 / orders, (rank, attained)),
    )
    chain.step(
        "Count the ranks: the probability to reject falls short of the level by a fraction of one rank;",
        level - reached,
        frac(level * orders) / orders,
    )
    chain.order(
        "the test at level alpha, with any number of permutations, rejects a true null at most so often.",
        reached,
        level,
    )
    above, kept, lost = (IndexedBase(name, nonnegative=True) for name in ("A_>", "K", "L"))
    chain.order(
        "Ties only help: p counts every tie, a random order of ties keeps some (K) and loses some (L); "
        "the ranks in random order are uniform, and p is never below theirs.",
        (1 + total(above[b] + kept[b], (b, draws))) / orders,
        (1 + total(above[b] + kept[b] + lost[b], (b, draws))) / orders,
    )
