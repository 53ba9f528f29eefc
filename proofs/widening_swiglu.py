"""Claim `widening.swiglu`: copy gate and up rows of a unit together and split its down column among the copies.

Any multiplicities, hence any wider F'. The split may carry noise of sum zero. The up rows may be split instead of the
down column, because the layer is linear in them; the gate rows may not.
"""

from sympy import Expr, IndexedBase, Integer

from proofs.chain import Chain, argument
from proofs.notation import Activation, array, indices, total, width
from proofs.residual_stream import of_zero_sum, starred
from rctheory.suite.derivation import Scope

CLAIM = "widening.swiglu"
ASSUMPTIONS = (
    "a gated layer, down (sigma(gate x + g) * (up x + b)), any activation; D, F and the multiplicities m_u are symbols",
    "one copy map for the rows of gate and up, their biases, and the columns of down",
    "exact arithmetic",
)
PLANTS = {
    "down_copied": "the columns of down are copied whole",
    "untied_up": "the rows of up follow another copy map than those of gate",
    "gate_split": "the gate rows are divided too",
    "bias_divided": "the biases of gate and up are divided among the copies",
    "noise_uncentred": "the noise on the columns of down does not sum to zero",
}

u, b, r, i = indices("u b r i")
UNITS, MODEL, FACTOR, WIDER = width("F"), width("D"), width("k"), width("F'")
X, GATE, UP, DOWN, GATE_BIAS, UP_BIAS, COPIES = (array(name) for name in ("x", "G", "U", "D_w", "g", "b_u", "m"))


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _units(chain)
    _copies(chain)
    _split(chain)
    _split_up(chain)
    _count(chain)


derive = argue.derive


def unit(gate: Expr, gate_bias: Expr, up: Expr, up_bias: Expr) -> Expr:
    """Return what one unit sends: sigma(gate x + g) (up x + b)."""
    return Activation(total(gate * X[r], (r, MODEL)) + gate_bias) * (total(up * X[r], (r, MODEL)) + up_bias)


def layer(down: Expr, hidden: IndexedBase) -> Expr:
    """Return what all copies of all units write to coordinate i."""
    return total(down * hidden[u, b], (b, COPIES[u]), (u, UNITS))


def _units(chain: Chain) -> None:
    chain.define("A unit sends", array("h")[u], unit(GATE[u, r], GATE_BIAS[u], UP[u, r], UP_BIAS[u]))
    chain.define("and the layer writes", array("f")[i], total(DOWN[i, u] * array("h")[u], (u, UNITS)))


def _copies(chain: Chain) -> None:
    gate_share = 1 / COPIES[u] if chain.planted == "gate_split" else Integer(1)
    bias_share = 1 / COPIES[u] if chain.planted == "bias_divided" else Integer(1)
    up = array("U_o")[u, b, r] if chain.planted == "untied_up" else UP[u, r]
    chain.define("Copy the gate rows of unit u,", starred("G")[u, b, r], gate_share * GATE[u, r])
    chain.define("its up rows", starred("U")[u, b, r], up)
    chain.define("and its gate bias", starred("g")[u, b], bias_share * GATE_BIAS[u])
    chain.define("and up bias.", starred("b_u")[u, b], bias_share * UP_BIAS[u])
    sent = unit(starred("G")[u, b, r], starred("g")[u, b], starred("U")[u, b, r], starred("b_u")[u, b])
    chain.define("The copy sends", starred("h")[u, b], sent)
    chain.step("what the unit sends.", starred("h")[u, b], array("h")[u])


def _split(chain: Chain) -> None:
    shares = Integer(1) if chain.planted == "down_copied" else 1 / COPIES[u]
    share, noise = array("a")[u, b], array("N")[i, u, b]
    free = noise if chain.planted == "noise_uncentred" else of_zero_sum(noise, b, COPIES[u])
    chain.define(
        "Split the down column in any shares of sum one, plus noise of sum zero.",
        starred("D_w")[i, u, b],
        (shares + of_zero_sum(share, b, COPIES[u])) * DOWN[i, u] + free,
    )
    chain.step(
        "The wide layer writes what the narrow one writes.", layer(starred("D_w")[i, u, b], starred("h")), array("f")[i]
    )


def _split_up(chain: Chain) -> None:
    """The layer is linear in up and not in gate: only up can carry the split."""
    divided = unit(starred("G")[u, b, r], starred("g")[u, b], UP[u, r] / COPIES[u], UP_BIAS[u] / COPIES[u])
    chain.define("One may split the up rows and their bias instead", array("h^p")[u, b], divided)
    chain.step("and copy the down columns,", layer(DOWN[i, u], array("h^p")), array("f")[i])
    gate, square = Integer(2), Integer(2)
    chain.differ(
        "but not split the gate: for sigma(g) = g^2 and two copies of a gate of 2 the sum is half of what it was.",
        square * (gate / 2) ** 2,
        gate**2,
    )


def _count(chain: Chain) -> None:
    chain.define("Count the copies,", WIDER, total(Integer(1), (b, COPIES[u]), (u, UNITS)))
    chain.step(
        "they exceed F by the sum of the m_u - 1, any numbers from 0 on: every F' from F on can be reached.",
        WIDER - UNITS,
        total(COPIES[u] - 1, (u, UNITS)),
    )
