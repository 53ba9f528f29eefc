"""Claim `layout.gguf-rope`: GGUF's permuted query and key rows give the scores of the half-split rows.

Half-split rotary position turns the pairs (j, j + h) of a head, interleaved rotary position the pairs (2j - 1, 2j).
GGUF stores the rows of a head as the transpose of the array (member, pair): the interleaved turn of the permuted rows
has the scores of the half-split turn of the rows as they were. Values are not permuted.
"""

from sympy import Expr, IndexedBase, Integer, pi

from proofs.chain import Chain, argument
from proofs.flat_axes import Offset, division
from proofs.notation import array, indices, total, width
from proofs.rotary import turned
from rctheory.suite.derivation import Scope

CLAIM = "layout.gguf-rope"
ASSUMPTIONS = (
    "one head of 2h coordinates, all of which turn; h and the stream's width are symbols",
    "the same angles: pair j turns by the position times theta_j in both conventions",
    "query and key rows, and their biases, are permuted in the same way",
)
PLANTS = {
    "rows_as_they_were": "GGUF's rows are read as if they had not been permuted",
    "queries_alone": "the queries are permuted and the keys are not",
    "other_angles": "the interleaved turn takes the angle of the row instead of that of the pair",
    "reversed_members": "the two members of a pair change places in the queries",
}

j, b, c, r, t, s = indices("j b c r t s")
HALF, MODEL = width("h"), width("D")
THETA, STREAM = array("theta"), array("Y")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _numbering(chain)
    _rows(chain)
    _turns(chain)
    _scores(chain)
    _counterexample(chain)


derive = argue.derive


def half_split(pair: Expr, member: Expr) -> Expr:
    """Return the row, counted from 1, of a member (1 or 2) of a pair in half-split order."""
    return HALF * (member - 1) + pair


def interleaved(pair: Expr, member: Expr) -> Expr:
    """Return the row, counted from 1, of a member (1 or 2) of a pair in interleaved order."""
    return 2 * (pair - 1) + member


def _numbering(chain: Chain) -> None:
    head, member, pair = (Offset.named(letter) for letter in ("n", "b", "j"))
    members, pairs = member.size, pair.size
    split = (head.place * members + member.place) * pairs + pair.place
    stored = (head.place * pairs + pair.place) * members + member.place
    division(
        chain,
        "Count from 0, with 2 = b_0 + 1 + b' members and h = j_0 + 1 + j' pairs. Half-split order puts member b_0 of "
        "pair j_0 of head n_0 at (2 n_0 + b_0) h + j_0. Divided by h",
        split,
        pairs,
        head.place * members + member.place,
    )
    division(
        chain, "GGUF puts it at (h n_0 + j_0) 2 + b_0: divided by 2,", stored, members, head.place * pairs + pair.place
    )
    for place, order in (
        (split, "Either order keeps the rows of a head together: half-split, divided by 2h,"),
        (stored, "GGUF's likewise,"),
    ):
        division(chain, order, place, members * pairs, head.place)


def _rows(chain: Chain) -> None:
    for letter in ("q", "k"):
        matrix = array(f"W^{letter}")
        chain.define(
            "A row reads the stream,",
            array(letter)[r, t],
            total(matrix[r, c] * STREAM[t, c], (c, MODEL)) + array(f"b^{letter}")[r],
        )
        chain.define("and GGUF's row of member b of pair j", array(f"{letter}^g")[j, b, t], _stored(chain, letter))
    chain.step(
        "reads with the half-split row of this member, which lies h rows further for the second one.",
        array("q^g")[j, 2, t] - array("q^g")[j, 1, t],
        array("q")[j + HALF, t] - array("q")[j, t],
    )


def _stored(chain: Chain, letter: str) -> Expr:
    """Return what GGUF's row interleaved(j, b) reads."""
    place = half_split(j, b)
    if chain.planted == "rows_as_they_were" or (chain.planted == "queries_alone" and letter == "k"):
        place = interleaved(j, b)
    if chain.planted == "reversed_members" and letter == "q":
        place = half_split(j, 3 - b)
    return total(array(f"W^{letter}")[place, c] * STREAM[t, c], (c, MODEL)) + array(f"b^{letter}")[place]


def _turns(chain: Chain) -> None:
    for letter in ("q", "k"):
        split, stored = array(f"{letter}^r"), array(f"{letter}^i")
        angle = THETA[interleaved(j, 1) if chain.planted == "other_angles" else j] * t
        one, two = turned((array(letter)[j, t], array(letter)[j + HALF, t]), THETA[j] * t)
        chain.define("Half-split turn: the first member", split[j, t], one)
        chain.define("and the second.", array(f"{letter}^R")[j, t], two)
        one, two = turned((array(f"{letter}^g")[j, 1, t], array(f"{letter}^g")[j, 2, t]), angle)
        chain.define("Interleaved turn of GGUF's rows: the first member", stored[j, t], one)
        chain.define("and the second.", array(f"{letter}^I")[j, t], two)
        chain.step("They turn the same numbers, first", stored[j, t], split[j, t])
        chain.step("and second.", array(f"{letter}^I")[j, t], array(f"{letter}^R")[j, t])


def score(first: tuple[IndexedBase, IndexedBase], second: tuple[IndexedBase, IndexedBase]) -> Expr:
    """Return the sum over the pairs of both members."""
    return total(first[0][j, t] * first[1][j, s] + second[0][j, t] * second[1][j, s], (j, HALF))


def _scores(chain: Chain) -> None:
    chain.step(
        "A score is a sum over all coordinates, blind to their order: GGUF's are those of the rows as they were.",
        score((array("q^i"), array("k^i")), (array("q^I"), array("k^I"))),
        score((array("q^r"), array("k^r")), (array("q^R"), array("k^R"))),
    )


def _counterexample(chain: Chain) -> None:
    one, zero = Integer(1), Integer(0)
    rows = (one, one, zero, zero)  # four coordinates, two pairs, of which the second does not turn
    split, stored = turned((rows[0], rows[2]), pi / 2), turned((rows[0], rows[1]), pi / 2)
    chain.differ(
        "The permutation is needed: the vector (1, 1, 0, 0) meets itself, its first pair a quarter turn on. "
        "The pair is (1, 3) in half-split order and (1, 2) when the same rows are read as interleaved.",
        split[0] * rows[0] + split[1] * rows[2] + rows[1] ** 2 + rows[3] ** 2,
        stored[0] * rows[0] + stored[1] * rows[1] + rows[2] ** 2 + rows[3] ** 2,
    )
