"""Claim `layout.neox`: the fused rows (head, q|k|v, coordinate) are the separate ones under another numbering.

The row of part p of head h stands at (3h + p) d + c: a one-to-one numbering, undone by division. Whatever is done to
whole heads in the separate layout is done to whole blocks of 3d rows in the fused one. Partial rotary position is a
matter inside a head and does not meet the numbering.
"""

from sympy import Expr, Integer, Sum, Symbol, cos, sin

from proofs.chain import Chain, argument
from proofs.flat_axes import Offset, division
from proofs.notation import Relabelling, array, index, indices, total, width
from proofs.residual_stream import of_zero_sum
from proofs.rotary import product, turned
from rctheory.suite.derivation import Scope

CLAIM = "layout.neox"
ASSUMPTIONS = (
    "one fused matrix with the query, key and value rows of a head together; H, d and the stream's width are symbols",
    "every head has its own key and value",
    "the first 2r coordinates of a head turn in pairs (c, c + r), the others do not; the numbers r and d are symbols",
)
PLANTS = {
    "separate_order": "the rows are taken to stand as in a layout with all queries first",
    "wrong_block": "a head is moved as a block of d rows instead of 3d",
    "missing_tail": "the coordinates that do not turn are left out of the score",
    "output_undivided": "the copies of a head keep whole output columns",
}

h, c, j, t, s, i, a = indices("h c j t s i a")
HEADS, SIZE, MODEL, TURNING, COPIES = width("H"), width("d"), width("D"), width("r"), width("m")
FUSED, STREAM, OUT, THETA, MIXED = array("W"), array("Y"), array("O"), array("theta"), array("o")
PARTS = ("q", "k", "v")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _numbering(chain)
    _projections(chain)
    _relabelled(chain)
    _copied(chain)
    _rotary(chain)


derive = argue.derive


def row(head: Expr, part: int, place: Expr, *, block: Expr = 3 * SIZE) -> Expr:
    """Return the fused row, counted from 1, of coordinate `place` of part 0, 1, 2 of a head."""
    return block * (head - 1) + SIZE * part + place


def _numbering(chain: Chain) -> None:
    head, part, place = (Offset.named(letter) for letter in ("h", "p", "c"))
    size, parts, heads = place.size, part.size, head.size
    separate = chain.planted == "separate_order"
    fused = (part.place * heads + head.place if separate else head.place * parts + part.place) * size + place.place
    division(
        chain,
        "Count from 0. Row c_0 of part p_0 of head h_0, with p_0 + 1 + p' parts and d = c_0 + 1 + c', stands at "
        "(h_0 parts + p_0) d + c_0. Divide by the block of a head: the quotient is h_0,",
        fused,
        parts * size,
        head.place,
    )
    inside = fused - parts * size * head.place
    division(chain, "divide the rest by d: the quotient is p_0,", inside, size, part.place)
    chain.order("and no row lies beyond the last: the numbering is one to one.", fused, heads * parts * size - 1)
    all_queries_first = (part.place * heads + head.place) * size + place.place
    chain.step(
        "A layout with all queries first numbers otherwise, unless there is one head:",
        fused - all_queries_first,
        size * (head.place * (parts - 1) - part.place * (heads - 1)),
    )


def _projections(chain: Chain) -> None:
    chain.define(
        "The fused projection, rows counted from 1.",
        array("z")[i, t],
        total(FUSED[i, j] * STREAM[t, j], (j, MODEL)) + array("b")[i],
    )
    for part, name in enumerate(PARTS):
        matrix, bias = array(f"W^{name}"), array(f"b^{name}")
        chain.define(f"Take the rows of {name} apart,", matrix[h, c, j], FUSED[row(h, part, c), j])
        chain.define("with their bias.", bias[h, c], array("b")[row(h, part, c)])
        chain.define(
            "Separate projection.", array(name)[h, t, c], total(matrix[h, c, j] * STREAM[t, j], (j, MODEL)) + bias[h, c]
        )
    chain.step(
        "Query and key of a head meet in the fused layout as they do apart.",
        total(array("z")[row(h, 0, c), t] * array("z")[row(h, 1, c), s], (c, SIZE)),
        total(array("q")[h, t, c] * array("k")[h, s, c], (c, SIZE)),
    )


def _relabelled(chain: Chain) -> None:
    moved = Relabelling(h, HEADS)
    block = SIZE if chain.planted == "wrong_block" else 3 * SIZE
    for part, name in enumerate(PARTS):
        chain.step(
            f"Relabel the heads: their blocks of 3d fused rows move as a whole, with the rows of {name},",
            array("z")[row(moved, part, c, block=block), t],
            array(name)[moved, t, c],
        )
    chain.step(
        "so that with the output columns, which have blocks of d, the sum over the heads is the same in another order.",
        total(OUT[i, SIZE * (moved - 1) + c] * array("z")[row(moved, 2, c), t], (c, SIZE), (h, HEADS)),
        total(OUT[i, SIZE * (h - 1) + c] * array("v")[h, t, c], (c, SIZE), (h, HEADS)),
    )


def _copied(chain: Chain) -> None:
    for part, name in enumerate(PARTS):
        chain.define(
            f"Copy the {name} rows of every head m times; copy a of head h is head (h - 1) m + a.",
            array(f"W^{name}*")[h, a, c, j],
            FUSED[row(h, part, c), j],
        )
    share = Integer(1) if chain.planted == "output_undivided" else 1 / COPIES
    noise = of_zero_sum(array("N")[i, h, a, c], a, COPIES)
    chain.define("Split its output columns.", array("O^*")[i, h, a, c], share * OUT[i, SIZE * (h - 1) + c] + noise)
    attention = array("A")[h, t, s]
    value = total(array("W^v*")[h, a, c, j] * STREAM[s, j], (j, MODEL)) + array("b^v")[h, c]
    chain.step(
        "A copy has query and key of its head, and so its attention weights A: the layer writes what it wrote.",
        total(array("O^*")[i, h, a, c] * attention * value, (s, t), (c, SIZE), (a, COPIES), (h, HEADS)),
        total(OUT[i, SIZE * (h - 1) + c] * attention * array("v")[h, s, c], (s, t), (c, SIZE), (h, HEADS)),
    )


def _rotary(chain: Chain) -> None:
    """Partial rotary position: pairs (c, c + r) of the first 2r coordinates turn, the rest is a plain product."""
    query, key, shift, score = array("x"), array("y"), index("tau"), array("S")
    left, right = (query[c], query[c + TURNING]), (key[c], key[c + TURNING])
    cross = left[0] * right[1] - left[1] * right[0]
    distance, alpha, beta = THETA[c] * (t - s), Symbol("alpha", real=True), Symbol("beta", real=True)
    chain.step(
        "Inside a head, a query x and a key y: what a pair that turns adds depends on the difference of the angles.",
        product(turned(left, alpha), turned(right, beta)),
        product(left, right) * cos(alpha - beta) + cross * sin(alpha - beta),
    )
    tail = Sum(query[c] * key[c], (c, 2 * TURNING + 1, SIZE))
    pairs = total(product(left, right) * cos(distance) + cross * sin(distance), (c, TURNING))
    chain.define(
        "The score: the r pairs that turn, and the coordinates from 2r + 1 on, which do not.",
        score[t, s],
        pairs + (Integer(0) if chain.planted == "missing_tail" else tail),
        why="the step above, pair by pair",
    )
    chain.step("It sees distances only,", score[t + shift, s + shift], score[t, s])
    plain = total(product(left, right), (c, TURNING)) + tail
    chain.step("and a token meets itself in the plain product.", score[t, t], plain)
