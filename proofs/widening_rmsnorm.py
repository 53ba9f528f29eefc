"""Claim `widening.rmsnorm`: a block that reads through RMSNorm widens exactly iff the copies carry balanced energy.

Coordinate i of the stream is copied m_i times with scales s. The energy that the copies of i carry, sum_c s_ic^2, must
be the same for all i: necessary whatever gains and reads are chosen, and sufficient with the rules for gains, reads
and writes below, at symbolic widths and multiplicities.
"""

from sympy import Expr, Integer, KroneckerDelta, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.notation import Partial, array, total, width
from proofs.residual_stream import (
    COPIES,
    GAIN,
    HIDDEN,
    READ,
    ROOT,
    UNITS,
    WIDER,
    WIDTH,
    WRITE,
    X,
    c,
    i,
    j,
    of_zero_sum,
    over_copies,
    starred,
    u,
)
from rctheory.suite.derivation import Scope

CLAIM = "widening.rmsnorm"
ASSUMPTIONS = (
    "D, D' and the multiplicities m_i >= 1 are symbols, D' is the sum of the m_i, and D >= 2 for necessity",
    "one copy map for every tensor that touches the residual axis",
    "sufficiency: the copies of one coordinate share a scale s_i > 0; necessity: any scales s_ic",
    "exact arithmetic",
)
PLANTS = {
    "unit_scales": "copies of unequal multiplicity keep the scale 1",
    "gain_copied": "the gain is copied and not divided by the scale",
    "read_undivided": "every copy of a column that reads keeps the whole weight",
    "noise_uncentred": "the noise on the columns that read does not sum to zero over the copies",
    "write_unscaled": "the rows that write are copied without the scale",
}

SCALE, STREAM = array("s"), starred("x")
EPS, WIDE_EPS, POWER, WIDE_POWER = (Symbol(name) for name in ("epsilon", "epsilon^*", "P", "P^*"))
KAPPA, FACTOR = Symbol("kappa", positive=True), width("k")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _necessary(chain)
    _no_read_repairs(chain)
    _balanced(chain)
    _reads(chain)
    _writes(chain)
    _tiles(chain)


derive = argue.derive


def power(stream: Expr) -> Expr:
    """Return the mean square of the narrow stream whose coordinate i is `stream`."""
    return total(stream**2, (i, WIDTH)) / WIDTH


def wide_power(stream: Expr) -> Expr:
    """Return the mean square of the wide stream whose copies carry s_ic times `stream`."""
    return over_copies((SCALE[i, c] * stream) ** 2) / WIDER


def _necessary(chain: Chain) -> None:
    chain.define("RMSNorm divides by the root of", POWER, power(X[i]) + EPS)
    chain.define("and multiplies by its gain. The copy (i, c) carries", STREAM[i, c], SCALE[i, c] * X[i])
    chain.define(
        "so that the wide norm divides by the root of", WIDE_POWER, over_copies(STREAM[i, c] ** 2) / WIDER + WIDE_EPS
    )
    chain.step(
        "Suppose that the normalised copies are the normalised coordinates, for every stream, with some gains and some "
        "epsilon. Then the ratio of the two mean squares does not depend on the stream. Twice differentiated in one "
        "coordinate, the narrow one gives the same for every coordinate,",
        Partial(Partial(POWER, X[j]), X[j]),
        2 / WIDTH,
    )
    chain.step(
        "the wide one the energy of the copies of this coordinate: it must be the same for all coordinates.",
        Partial(Partial(WIDE_POWER, X[j]), X[j]),
        2 * total(SCALE[j, c] ** 2, (c, COPIES[j])) / WIDER,
    )


def _no_read_repairs(chain: Chain) -> None:
    """No weights that read can make up for an unequal energy: four unit streams show it."""
    energy, ratio, both = array("E"), Symbol("q_1"), Symbol("q_12")
    one, two = (KroneckerDelta(i, Integer(unit), (1, WIDTH)) for unit in (1, 2))
    chain.define(
        "Nor can reads make up for it. Write E for the energy", energy[j], total(SCALE[j, c] ** 2, (c, COPIES[j]))
    )
    for unit, number in ((one, 1), (two, 2)):
        opening = "and take unit streams, so long that epsilon is nothing beside them:" if number == 1 else "then"
        chain.step(
            f"{opening} coordinate {number} alone,",
            wide_power(unit) / power(unit),
            energy[number] * WIDTH / WIDER,
        )
    for sign, name in ((1, "their sum,"), (-1, "and their difference.")):
        chain.step(
            name,
            wide_power(one + sign * two) / power(one + sign * two),
            (energy[1] + energy[2]) * WIDTH / (2 * WIDER),
        )
    chain.define(
        "A read r of the narrow norm and its wide twin w, one the root of q times the other: on coordinate 1",
        ratio,
        energy[1] * WIDTH / WIDER,
    )
    chain.define("and on sum and difference;", both, (energy[1] + energy[2]) * WIDTH / (2 * WIDER))
    chain.step(
        "then w_1^2 = q_1 r_1^2 from the first and, adding the last two, w_1^2 = q_12 r_1^2. With r_1 not 0 this wants "
        "q_1 = q_12, that is, equal energies: nothing but the balance remains.",
        (ratio - both) * array("r")[1] ** 2,
        array("r")[1] ** 2 * WIDTH * (energy[1] - energy[2]) / (2 * WIDER),
    )


def _balanced(chain: Chain) -> None:
    """Sufficiency: the balance, its epsilon and its gain."""
    balance = Integer(1) if chain.planted == "unit_scales" else KAPPA / COPIES[i]
    root, wide_root = ROOT, Symbol("R^*")
    chain.define("Conversely let every coordinate have the energy kappa, in equal scales.", SCALE[i, c], sqrt(balance))
    chain.step("Indeed", total(SCALE[i, c] ** 2, (c, COPIES[i])), KAPPA if balance != 1 else COPIES[i])
    chain.define("Let R be the positive root of the mean square plus epsilon: that is,", EPS, root**2 - power(X[i]))
    chain.define("Scale epsilon with the energy.", WIDE_EPS, KAPPA * WIDTH / WIDER * EPS)
    chain.step("The wide mean square is a multiple of the narrow one,", WIDE_POWER, KAPPA * WIDTH / WIDER * POWER)
    chain.define("and the wide root is", wide_root, sqrt(WIDE_POWER))
    divisor = Integer(1) if chain.planted == "gain_copied" else SCALE[i, c]
    chain.define(
        "Divide the gain by the scale.",
        starred("gamma")[i, c],
        GAIN[i] * sqrt(KAPPA * WIDTH / WIDER) / divisor,
    )
    chain.define("The narrow norm sends", array("y")[i], GAIN[i] * X[i] / root)
    chain.define("and the wide one", starred("y")[i, c], starred("gamma")[i, c] * STREAM[i, c] / wide_root)
    chain.step("All copies of a normalised coordinate equal it: the norm is exact.", starred("y")[i, c], array("y")[i])
    chain.define("Choose the energy with which epsilon is unchanged:", KAPPA, WIDER / WIDTH)
    chain.step("then epsilon is copied", WIDE_EPS, EPS)
    chain.step(
        "and gains are divided by s_i = ((D'/D)/m_i)^(1/2).",
        starred("gamma")[i, c],
        GAIN[i] / sqrt(WIDER / WIDTH / COPIES[i]),
    )


def _reads(chain: Chain) -> None:
    share, noise, bias = array("a"), array("N"), array("b")
    even = Integer(1) if chain.planted == "read_undivided" else 1 / COPIES[i]
    chain.define(
        "A matrix that reads splits each column among the copies, in shares of sum one:",
        starred("a")[i, c],
        even + of_zero_sum(share[i, c], c, COPIES[i]),
    )
    free = noise[u, i, c] if chain.planted == "noise_uncentred" else of_zero_sum(noise[u, i, c], c, COPIES[i])
    chain.define("plus noise of sum zero.", starred("W")[u, i, c], starred("a")[i, c] * READ[u, i] + free)
    chain.step("The split columns add up to the column,", total(starred("W")[u, i, c], (c, COPIES[i])), READ[u, i])
    chain.define("the hidden bias is copied, not divided,", starred("b")[u], bias[u])
    chain.step(
        "and the wide matrix reads what the narrow one reads, whatever the shares and the noise.",
        over_copies(starred("W")[u, i, c] * starred("y")[i, c]) + starred("b")[u],
        total(READ[u, i] * array("y")[i], (i, WIDTH)) + bias[u],
    )
    chain.step(
        "On one normalised coordinate alone it reads the sum of its columns: no other split is exact.",
        over_copies(starred("W")[u, i, c] * KroneckerDelta(i, j, (1, WIDTH))),
        total(starred("W")[u, j, c], (c, COPIES[j])),
    )


def _writes(chain: Chain) -> None:
    scale = Integer(1) if chain.planted == "write_unscaled" else SCALE[i, c]
    bias, sent = array("b_o"), total(WRITE[i, u] * HIDDEN[u], (u, UNITS)) + array("b_o")[i]
    chain.define(
        "A matrix that writes, an embedding, a position: scale the rows,", starred("O")[i, c, u], scale * WRITE[i, u]
    )
    chain.define("and the output bias.", starred("b_o")[i, c], scale * bias[i])
    chain.step(
        "After the write the copies carry the scaled new stream again: the induction climbs from block to block.",
        STREAM[i, c] + total(starred("O")[i, c, u] * HIDDEN[u], (u, UNITS)) + starred("b_o")[i, c],
        SCALE[i, c] * (X[i] + sent),
    )


def _tiles(chain: Chain) -> None:
    chain.define("Now count the copies,", WIDER, over_copies(Integer(1)))
    chain.define("and let each coordinate have k.", COPIES[i], FACTOR)
    chain.step("The stream is k times as wide,", WIDER, FACTOR * WIDTH)
    chain.step("the scales are one,", SCALE[i, c], 1)
    chain.step(
        "and the gains are copied: a tile needs nothing but the split of the reads.", starred("gamma")[i, c], GAIN[i]
    )
