"""Claim `widening.zero-padding`: appending e coordinates that stay zero is exact when gain and epsilon shrink.

The mean square loses the factor eta^2 = D / D': a gain of eta gamma and an epsilon of eta^2 epsilon make up for it.
What the norm and the reads do with the padding never matters, because nothing writes into it.
"""

from sympy import Expr, Integer, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.notation import Partial, array, index, total, width
from proofs.residual_stream import GAIN, HIDDEN, READ, ROOT, UNITS, WIDTH, WRITE, X, i, j, starred, u
from rctheory.suite.derivation import Scope

CLAIM = "widening.zero-padding"
ASSUMPTIONS = (
    "a stream that is read through RMSNorm; D and the number e of appended coordinates are symbols, D' = D + e",
    "embeddings, positions, rows that write and output biases are zero on the padding",
    "exact arithmetic",
)
PLANTS = {
    "gain_copied": "the gain is copied without the factor eta",
    "epsilon_kept": "epsilon is not scaled",
    "eta_inverted": "the gain is divided by eta instead of multiplied",
    "written_padding": "a matrix writes into the padding",
}

p = index("p")
PAD = width("e")
EPS, WIDE_EPS, POWER, WIDE_POWER, ETA = (Symbol(name) for name in ("epsilon", "epsilon^*", "P", "P^*", "eta"))
WIDE_ROOT, WIDER = Symbol("R^*"), Symbol("D'")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _stream(chain)
    _norm(chain)
    _free(chain)
    _reads_and_writes(chain)


derive = argue.derive


def _stream(chain: Chain) -> None:
    chain.define("The wide stream has", WIDER, WIDTH + PAD)
    chain.define("coordinates: the narrow ones,", starred("x")[i], X[i])
    chain.define(
        "and the padding.",
        starred("z")[p],
        Integer(0),
        why="zero embedding, then hypothesis of the induction over blocks",
    )
    chain.define(
        "Let R be the positive root of mean square plus epsilon: that is,",
        EPS,
        ROOT**2 - total(X[i] ** 2, (i, WIDTH)) / WIDTH,
    )
    chain.define("The narrow norm divides by the root of", POWER, total(X[i] ** 2, (i, WIDTH)) / WIDTH + EPS)
    squares = total(starred("x")[i] ** 2, (i, WIDTH)) + total(starred("z")[p] ** 2, (p, PAD))
    chain.define("the wide norm by the root of", WIDE_POWER, squares / WIDER + WIDE_EPS)


def _norm(chain: Chain) -> None:
    chain.define("Let eta be", ETA, sqrt(WIDTH / WIDER))
    chain.define("and scale epsilon by its square:", WIDE_EPS, EPS if chain.planted == "epsilon_kept" else ETA**2 * EPS)
    chain.step("zeros dilute the mean square by eta squared.", WIDE_POWER, ETA**2 * POWER)
    chain.define("Its root is", WIDE_ROOT, sqrt(WIDE_POWER))
    chain.step("so that", WIDE_ROOT, ETA * ROOT)
    factor: Expr = {"gain_copied": Integer(1), "eta_inverted": 1 / ETA}.get(chain.planted or "", ETA)
    chain.define("The gain takes the factor eta,", starred("gamma")[i], factor * GAIN[i])
    chain.define("the narrow norm sends", array("y")[i], GAIN[i] * X[i] / ROOT)
    chain.define("the wide norm", starred("y")[i], starred("gamma")[i] * starred("x")[i] / WIDE_ROOT)
    chain.step("and both are equal.", starred("y")[i], array("y")[i])


def _free(chain: Chain) -> None:
    gain, column, read = array("phi_g"), array("V"), Symbol("h^*")
    chain.define("With any gain, the padding sends", array("t")[p], gain[p] * starred("z")[p] / WIDE_ROOT)
    chain.define(
        "A matrix that reads has any columns V on it:",
        read,
        total(READ[u, i] * starred("y")[i], (i, WIDTH)) + total(column[u, p] * array("t")[p], (p, PAD)),
    )
    chain.step("it reads what the narrow one reads,", read, total(READ[u, i] * array("y")[i], (i, WIDTH)))
    chain.step("and neither the gains", Partial(read, gain[p]), 0)
    chain.step("nor the columns of the padding change it.", Partial(read, column[u, p]), 0)


def _reads_and_writes(chain: Chain) -> None:
    rows = array("Z")[p, u] if chain.planted == "written_padding" else Integer(0)
    chain.define("A matrix that writes keeps its rows", starred("O")[i, u], WRITE[i, u])
    chain.define("and has zero rows on the padding.", starred("Z")[p, u], rows)
    chain.step(
        "After the write the wide stream is the narrow one,",
        starred("x")[i] + total(starred("O")[i, u] * HIDDEN[u], (u, UNITS)),
        X[i] + total(WRITE[i, u] * HIDDEN[u], (u, UNITS)),
    )
    chain.step(
        "with zero padding: the induction climbs from block to block.",
        starred("z")[p] + total(starred("Z")[p, u] * HIDDEN[u], (u, UNITS)),
        0,
    )
    _epsilon(chain)


def _epsilon(chain: Chain) -> None:
    square, diluted = Symbol("M"), Symbol("M^*")
    chain.define("Conversely, of the mean square", square, total(X[i] ** 2, (i, WIDTH)) / WIDTH)
    chain.define("and the diluted one", diluted, total(X[i] ** 2, (i, WIDTH)) / WIDER)
    chain.define("with one and the same epsilon", EPS, Symbol("e_0", positive=True), why="any number")
    chain.step(
        "the ratio depends on the stream, unless epsilon vanishes: its slope in a coordinate has this numerator.",
        Partial(square, X[j]) * (diluted + EPS) - Partial(diluted, X[j]) * (square + EPS),
        2 * X[j] * EPS * PAD / (WIDTH * (WIDTH + PAD)),
    )
