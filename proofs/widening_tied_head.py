"""Claim `widening.tied-head`: the tie between embedding and head survives widening; the final gain pays for it.

An embedding writes to the stream, a head reads from it: tied, both get the rule of a write, and the copies of a
coordinate are read m_i s_i^2 times. With balanced energy this is D'/D for every coordinate, so the final gain is the
narrow one times D/D'; it replaces the division by s_i of an untied head.
"""

from sympy import Expr, Integer, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.notation import array, index, total, width
from proofs.residual_stream import BIAS, COPIES, GAIN, ROOT, WIDER, WIDTH, X, c, i, over_copies, starred, v
from rctheory.suite.derivation import Scope

CLAIM = "widening.tied-head"
ASSUMPTIONS = (
    "one matrix E for embedding and head; D, D' and the multiplicities m_i are symbols",
    "stream and root widen as in widening.rmsnorm, widening.zero-padding and widening.layernorm",
    "LayerNorm: the factor on gain and bias is 1/k, which is D/D' for a tile and not for other widths; the further "
    "coordinates have gain and bias 0",
    "where the model multiplies the embedding by the root of its width: a tile, factor (D/D')^(1/2) on the final gain",
    "exact arithmetic",
)
PLANTS = {
    "gain_unscaled": "the final gain is copied",
    "divided_by_scale": "the final gain is divided by s_i, as for an untied head, and then multiplied by D/D'",
    "untied_read": "the head divides its columns by the multiplicities, so that the tie is cut",
    "padding_scaled": "under zero padding the final gain takes D/D' as well",
    "bias_copied": "LayerNorm's bias is copied while its gain is divided",
    "gemma_divided": "embeddings multiplied by the root of the width are divided by k instead of its root",
}

p = index("p")
TILES, PAD, EMBED, SCALE = width("k"), width("e"), array("E"), Symbol("s")
NORMED, BALANCE = array("y"), WIDER / WIDTH


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _balanced(chain)
    _padded(chain)
    _layernorm(chain)
    _scaled_embedding(chain)


derive = argue.derive


def logits(normed: Expr, embedding: Expr) -> Expr:
    """Return the logit of word v in the narrow model."""
    return total(embedding * normed, (i, WIDTH))


def _balanced(chain: Chain) -> None:
    scale = array("s")
    chain.define("The final norm sends", NORMED[i], GAIN[i] * X[i] / ROOT)
    chain.define("and the tied head reads it with the embedding.", array("l")[v], logits(NORMED[i], EMBED[v, i]))
    chain.define("Widen with balanced energy (widening.rmsnorm):", scale[i], sqrt(BALANCE / COPIES[i]))
    shares = COPIES[i] if chain.planted == "untied_read" else Integer(1)
    chain.define("The embedding writes, so its columns are scaled,", starred("E")[v, i, c], scale[i] * EMBED[v, i])
    chain.define("and the stream that it writes carries", starred("x")[i, c], scale[i] * X[i])
    chain.step(
        "The tied head reads each coordinate with this total weight, the same for all: the energy.",
        total(starred("E")[v, i, c] * scale[i], (c, COPIES[i])),
        BALANCE * EMBED[v, i],
    )
    factors: dict[str | None, Expr] = {"gain_unscaled": Integer(1), "divided_by_scale": WIDTH / WIDER / scale[i]}
    factor = factors.get(chain.planted, WIDTH / WIDER)
    chain.define(
        "Divide the final gain by it: the factor D/D' on the narrow gain", starred("gamma")[i, c], factor * GAIN[i]
    )
    normed = starred("gamma")[i, c] * starred("x")[i, c] / ROOT
    chain.define("(the root is unchanged).", starred("y")[i, c], normed, why="claim widening.rmsnorm")
    chain.step(
        "The logits are unchanged, and embedding and head are one matrix.",
        over_copies(starred("E")[v, i, c] / shares * starred("y")[i, c]),
        array("l")[v],
    )


def _padded(chain: Chain) -> None:
    eta = Symbol("eta", positive=True)
    twice = WIDTH / WIDER if chain.planted == "padding_scaled" else Integer(1)
    chain.define("Zero padding: the wide root is", Symbol("R^0"), eta * ROOT, why="claim widening.zero-padding")
    chain.define("and the gain", array("gamma^0")[i], twice * eta * GAIN[i], why="claim widening.zero-padding")
    chain.define("The wide norm sends", array("y^0")[i], array("gamma^0")[i] * X[i] / Symbol("R^0"))
    chain.define("and the embedding has zeros on the padding.", array("E^0")[v, p], Integer(0))
    chain.step(
        "The tied head reads what it read, with any gain on the padding: eta is all it needs.",
        logits(array("y^0")[i], EMBED[v, i]) + total(array("E^0")[v, p] * array("g")[p] * array("z")[p], (p, PAD)),
        array("l")[v],
    )


def _layernorm(chain: Chain) -> None:
    mean, root, factor = Symbol("mu"), Symbol("r", positive=True), Symbol("phi", positive=True)
    wide, further, extra, average = array("y^{L*}"), array("t"), index("e_D"), total(EMBED[v, i], (i, WIDTH)) / WIDTH
    chain.define("LayerNorm sends", array("y^L")[i], GAIN[i] * (X[i] - mean) / ROOT + BIAS[i])
    on_bias = Integer(1) if chain.planted == "bias_copied" else factor
    chain.define(
        "With k copies of every coordinate its wide root is", Symbol("R^L"), root * ROOT, why="claim widening.layernorm"
    )
    chain.define(
        "and its gain", array("gamma^L")[i], root * GAIN[i], why="claim widening.layernorm, one number r for both"
    )
    sent = array("gamma^L")[i] * (X[i] - mean) / Symbol("R^L")
    chain.define("Put a factor phi on gain and bias of the final norm:", wide[i, c], factor * sent + on_bias * BIAS[i])
    chain.define("The further coordinates,", extra, WIDER - TILES * WIDTH)
    chain.define("to which the embedding writes its average,", array("E^L")[v, p], average)
    chain.define("send nothing.", further[p], Integer(0), why="claim widening.layernorm, gain and bias 0")
    read = total(EMBED[v, i] * wide[i, c], (c, TILES), (i, WIDTH)) + total(array("E^L")[v, p] * further[p], (p, extra))
    narrow = logits(array("y^L")[i], EMBED[v, i])
    chain.step("The tied head reads the logits k phi times,", read, TILES * factor * narrow)
    chain.define("so that phi is", factor, 1 / TILES)
    chain.step("and the logits are unchanged;", read, narrow)
    chain.define("with", factor, WIDTH / WIDER)
    chain.step("they are scaled, by the dilution of the variance,", read, TILES * WIDTH / WIDER * narrow)
    chain.define("and right for the tile only.", WIDER, TILES * WIDTH)
    chain.step("There", read, narrow)


def _scaled_embedding(chain: Chain) -> None:
    embedded = array("e_w")
    divisor = TILES if chain.planted == "gemma_divided" else sqrt(TILES)
    chain.define(
        "Some models multiply the embedding by the root of their width.", embedded[v, i], sqrt(WIDTH) * EMBED[v, i]
    )
    chain.define("Tile such a model by k with", array("E^S")[v, i], EMBED[v, i] / divisor)
    chain.step(
        "the stream is the old one, though the root of the width has grown,",
        sqrt(TILES * WIDTH) * array("E^S")[v, i],
        embedded[v, i],
    )
    stored, wide = array("w"), starred("w")
    chain.define("With a gain that is stored as 1 + w", GAIN[i], 1 + stored[i])
    chain.define("let the final norm store", wide[i], (1 + stored[i]) / sqrt(TILES) - 1)
    chain.step(
        "The tied head, which has not that root, reads what it read: the final gain is divided by k^(1/2), not by k.",
        total(array("E^S")[v, i] * (1 + wide[i]) * X[i] / ROOT, (c, TILES), (i, WIDTH)),
        array("l")[v],
    )
