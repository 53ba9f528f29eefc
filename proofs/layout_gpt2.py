"""Claim `layout.gpt2`: GPT-2's Conv1D stores (in, out), and c_attn holds all queries, then all keys, then all values.

Reading and writing change the dimension of the residual axis: a read splits rows, a write copies columns. In c_attn
coordinate c of part p of head h stands at p D + h d + c with D = Hd, so that widening moves the blocks of keys and
values: offsets follow the new width.
"""

from sympy import Expr, Integer

from proofs.chain import Chain, argument
from proofs.flat_axes import Offset, division
from proofs.notation import array, indices, total, width
from proofs.residual_stream import of_zero_sum
from rctheory.suite.derivation import Scope

CLAIM = "layout.gpt2"
ASSUMPTIONS = (
    "Conv1D computes y_f = sum_j x_j C_jf + b_f; the residual stream is read through LayerNorm and tiled by k",
    "H heads of d coordinates, each copied m times; k, m, H, d and the width of the stream are symbols",
    "the stored model wants m = k when its heads fill the stream; the algebra does not",
)
PLANTS = {
    "transposed": "the stored matrix is read as (out, in)",
    "read_undivided": "the rows that read are copied whole",
    "write_divided": "the columns that write are divided among the copies",
    "output_undivided": "the rows of c_proj are copied whole to the copies of a head",
    "old_offset": "after widening the keys are looked for at the old width",
}

h, c, j, t, s, i, f, a, e = indices("h c j t s i f a e")
HEADS, SIZE, MODEL, COPIES, TILES = width("H"), width("d"), width("D"), width("m"), width("k")
C_ATTN, C_PROJ, STREAM, BIAS = array("C"), array("P"), array("Y"), array("b")
PARTS = ("q", "k", "v")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _stored(chain)
    _numbering(chain)
    _reads(chain)
    _writes(chain)


derive = argue.derive


def column(head: Expr, part: int, place: Expr) -> Expr:
    """Return the column of c_attn, counted from 1, of coordinate `place` of part 0, 1, 2 of a head."""
    return HEADS * SIZE * part + SIZE * (head - 1) + place


def _stored(chain: Chain) -> None:
    """The stored matrix, the linear maps that it stands for, and what the heads read."""
    entry = C_ATTN[f, j] if chain.planted == "transposed" else C_ATTN[j, f]
    chain.define(
        "Conv1D reads the normalised stream.",
        array("z")[f, t],
        total(STREAM[t, j] * C_ATTN[j, f], (j, MODEL)) + BIAS[f],
    )
    chain.define("A linear map stores (out, in).", array("L")[f, j], entry)
    chain.step(
        "It is the transpose:",
        total(array("L")[f, j] * STREAM[t, j], (j, MODEL)) + BIAS[f],
        array("z")[f, t],
    )
    for part, name in enumerate(PARTS):
        chain.define(f"Take {name} apart.", array(name)[h, t, c], array("z")[column(h, part, c), t])


def _numbering(chain: Chain) -> None:
    part, head, place, copy = (Offset.named(letter) for letter in ("p", "h", "c", "a"))
    wide_head = head.place * copy.size + copy.place
    narrow_width, wide_width = head.size * place.size, head.size * copy.size * place.size
    narrow = part.place * narrow_width + head.place * place.size + place.place
    division(
        chain,
        "Count from 0. Column p_0 D + h_0 d + c_0, divided by D, gives the part:",
        narrow,
        narrow_width,
        part.place,
    )
    offset = narrow_width if chain.planted == "old_offset" else wide_width
    wide = part.place * offset + wide_head * place.size + place.place
    sentence = (
        "Copy a_0 of head h_0 is head h_0 m + a_0, in a part of width mD: divided by mD, its column gives the part:"
    )
    division(chain, sentence, wide, wide_width, part.place)
    division(
        chain, "and inside the part, divided by d, the head:", wide - part.place * wide_width, place.size, wide_head
    )
    chain.step(
        "A block starts later than before by its number times the growth: a key is not where it was.",
        wide - narrow,
        part.place * narrow_width * (copy.size - 1) + place.size * (head.place * (copy.size - 1) + copy.place),
    )


def _reads(chain: Chain) -> None:
    chain.define(
        "Tile the stream: copy e of coordinate j is normalised to the same (widening.layernorm).",
        array("Y^*")[t, j, e],
        STREAM[t, j],
        why="claim widening.layernorm",
    )
    shares = Integer(1) if chain.planted == "read_undivided" else 1 / TILES
    for part, name in enumerate(PARTS):
        stored, vector = array(f"C^{name}"), array(f"{name}^*")
        noise = of_zero_sum(array(f"N^{name}")[j, e, h, a, c], e, TILES)
        chain.define(
            f"The {name} block of the wide c_attn: split rows among the copies of a coordinate, copy columns.",
            stored[j, e, h, a, c],
            shares * C_ATTN[j, column(h, part, c)] + noise,
        )
        read = total(array("Y^*")[t, j, e] * stored[j, e, h, a, c], (e, TILES), (j, MODEL))
        chain.define("With the bias copied it reads", vector[h, a, t, c], read + BIAS[column(h, part, c)])
        chain.step("what the head reads.", vector[h, a, t, c], array(name)[h, t, c])


def _writes(chain: Chain) -> None:
    mixed, wide = array("o"), array("o^*")
    chain.define(
        "Equal queries, keys and values: a copy takes from the past",
        wide[h, a, t, c],
        mixed[h, t, c],
        why="claim widening.gqa",
    )
    shares = Integer(1) if chain.planted == "output_undivided" else 1 / COPIES
    written = 1 / TILES if chain.planted == "write_divided" else Integer(1)
    noise = of_zero_sum(array("N^o")[h, a, c, i], a, COPIES)
    chain.define(
        "c_proj is stored (in, out) too: split each row among the copies of its head, copy each column.",
        array("P^*")[h, a, c, i, e],
        written * (shares * C_PROJ[SIZE * (h - 1) + c, i] + noise),
    )
    chain.step(
        "Every copy of a coordinate is written what the coordinate is written: the induction climbs.",
        total(wide[h, a, t, c] * array("P^*")[h, a, c, i, e], (c, SIZE), (a, COPIES), (h, HEADS)) + BIAS[i],
        total(mixed[h, t, c] * C_PROJ[SIZE * (h - 1) + c, i], (c, SIZE), (h, HEADS)) + BIAS[i],
    )
