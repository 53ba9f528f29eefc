"""Claim `transfer.duplication`: copies of neurons with divided masses change neither function nor training.

Neuron j of a hidden layer becomes the copies (j, 1), ..., (j, C_j) with masses p_j / C_j. One layer at symbolic widths
and multiplicities is the step of two inductions over the layers, upwards for signals and downwards for sensitivities;
equal velocities then carry equality of the copies from one step of training to the next.
"""

from sympy import IndexedBase, Integer, Symbol

from proofs.chain import Chain, argument
from proofs.notation import Activation, array, index, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "transfer.duplication"
ASSUMPTIONS = (
    "every hidden axis has one copy map, used by the tensor that writes it and by the tensor that reads it",
    "mean-field learning rates: the gradient is divided by the masses of the two copies",
    "the optimiser acts on every weight by one rule, a function of the history of its own velocity and weight",
    "widths and multiplicities C_j >= 1 are symbols; a fixed axis has C = 1 and masses 1",
)
PLANTS = {
    "undivided_mass": "every copy keeps the whole mass of its neuron",
    "untied_axis": "the reading tensor uses another copy map than the writing one",
    "standard_rate": "the gradient of a copy is divided by the masses of the original neurons",
    "noisy_copies": "the copies start with independent noise",
}

i, j, k, b, c, e, x = indices("i j k b c e x")
DATA, ROWS, COLUMNS, ABOVE, FACTOR = width("N"), width("n"), width("n^-"), width("n^+"), width("g")
COPIES, COPIES_BELOW, COPIES_ABOVE, OTHER_MAP = array("C"), array("C^-"), array("C^+"), array("D")
MASS, MASS_BELOW, MASS_ABOVE, Q = array("p"), array("p^-"), array("p^+"), array("q")
W, V, SIGNAL, PRE, DELTA, HEARD = array("W"), array("V"), array("a"), array("h"), array("delta"), array("epsilon")
VELOCITY, MOMENTUM = array("v"), array("u")
ETA, BETA, DECAY = (Symbol(name, positive=True) for name in ("eta", "beta", "lambda"))


class Rule(Activation):
    """One step of an optimiser, as a function of the velocity: whatever it is, equal arguments give equal steps."""

    letter, tex = "Phi", r"\Phi"


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _define_copies(chain)
    _forward(chain)
    _backward(chain)
    _velocity(chain)
    _training(chain)
    _uniform(chain)


derive = argue.derive


def copied(base: str) -> IndexedBase:
    """Return the array of the grown network that belongs to an array of the original one."""
    return array(f"{base}*" if "^" in base else f"{base}^*")


def _define_copies(chain: Chain) -> None:
    """Masses of the copies, and the hypothesis on weights: at step t copies are equal."""
    divisor = Integer(1) if chain.planted == "undivided_mass" else COPIES_BELOW[j]
    chain.define(
        "Divide the mass of a neuron among its copies, in the layer below,",
        copied("p^-")[j, c],
        MASS_BELOW[j] / divisor,
    )
    chain.define("in the layer,", copied("p")[i, b], MASS[i] / COPIES[i])
    chain.define("and in the layer above.", copied("p^+")[k, e], MASS_ABOVE[k] / COPIES_ABOVE[k])
    noise = array("zeta")[i, b, j, c] if chain.planted == "noisy_copies" else 0
    chain.define(
        "The weight between two copies is the weight between the neurons, on the way into the layer",
        copied("W")[i, b, j, c],
        W[i, j] + noise,
        why="copying at the start, then hypothesis of the induction over training steps",
    )
    chain.define(
        "and on the way out of it.",
        copied("V")[k, e, i, b],
        V[k, i],
        why="copying at the start, then hypothesis of the induction over training steps",
    )


def _forward(chain: Chain) -> None:
    chain.step(
        "Copying keeps the total mass.",
        total(copied("p^-")[j, c], (c, COPIES_BELOW[j]), (j, COLUMNS)),
        total(MASS_BELOW[j], (j, COLUMNS)),
    )
    chain.define(
        "Upwards: suppose that the copies below carry the signal of their neuron, as the inputs do.",
        copied("a")[j, c, x],
        SIGNAL[j, x],
        why="hypothesis of the induction over layers",
    )
    chain.define("A neuron reads", PRE[i, x], total(MASS_BELOW[j] * W[i, j] * SIGNAL[j, x], (j, COLUMNS)))
    copies = OTHER_MAP[j] if chain.planted == "untied_axis" else COPIES_BELOW[j]
    chain.define(
        "and its copy reads all copies below.",
        copied("h")[i, b, x],
        total(copied("p^-")[j, c] * copied("W")[i, b, j, c] * copied("a")[j, c, x], (c, copies), (j, COLUMNS)),
    )
    chain.step("Both read the same,", copied("h")[i, b, x], PRE[i, x])
    chain.step(
        "so the copy sends the signal of its neuron: the induction climbs to the outputs, and the function stays.",
        Activation(copied("h")[i, b, x]),
        Activation(PRE[i, x]),
    )


def _backward(chain: Chain) -> None:
    chain.define(
        "Downwards: suppose that the copies above have the sensitivity of their neuron, as the outputs do.",
        copied("epsilon")[k, e, x],
        HEARD[k, x],
        why="hypothesis of the induction over layers",
    )
    heard = total(MASS_ABOVE[k] * V[k, i] * HEARD[k, x], (k, ABOVE))
    chain.define("A neuron hears", DELTA[i, x], Activation(PRE[i, x], 1) * heard)
    copies = copied("p^+")[k, e] * copied("V")[k, e, i, b] * copied("epsilon")[k, e, x]
    chain.define(
        "and its copy hears all copies above.",
        copied("delta")[i, b, x],
        Activation(copied("h")[i, b, x], 1) * total(copies, (e, COPIES_ABOVE[k]), (k, ABOVE)),
    )
    chain.step("Both hear the same: the induction descends to the inputs.", copied("delta")[i, b, x], DELTA[i, x])


def _velocity(chain: Chain) -> None:
    masses = copied("p")[i, b] * copied("p^-")[j, c]
    outer = total(Q[x] * copied("delta")[i, b, x] * copied("a")[j, c, x], (x, DATA))
    rate = MASS[i] * MASS_BELOW[j] if chain.planted == "standard_rate" else masses
    chain.define(
        "The gradient in a copied weight carries the masses of its two copies (gradient.factorizes).",
        copied("G")[i, b, j, c],
        masses * outer,
        why="claim gradient.factorizes",
    )
    chain.define("A weight moves with", VELOCITY[i, j], -total(Q[x] * DELTA[i, x] * SIGNAL[j, x], (x, DATA)))
    chain.define(
        "and its copy with its own gradient over its own masses.",
        copied("v")[i, b, j, c],
        -copied("G")[i, b, j, c] / rate,
    )
    chain.step("All copies of a weight have the velocity of that weight.", copied("v")[i, b, j, c], VELOCITY[i, j])


def _training(chain: Chain) -> None:
    velocity, weight = copied("v")[i, b, j, c], copied("W")[i, b, j, c]
    chain.step(
        "So a step of gradient descent keeps the copies equal: by induction the whole trajectory is unchanged.",
        weight + ETA * velocity,
        W[i, j] + ETA * VELOCITY[i, j],
    )
    chain.define(
        "With momentum, which starts equal,",
        copied("u")[i, b, j, c],
        MOMENTUM[i, j],
        why="hypothesis of the induction over steps",
    )
    chain.step(
        "and weight decay, the same holds;",
        (1 - DECAY) * weight + ETA * (BETA * copied("u")[i, b, j, c] + velocity),
        (1 - DECAY) * W[i, j] + ETA * (BETA * MOMENTUM[i, j] + VELOCITY[i, j]),
    )
    chain.step(
        "and for every optimiser that acts entry by entry on histories, which are equal: Adam among them.",
        weight + Rule(velocity),
        W[i, j] + Rule(VELOCITY[i, j]),
    )


def _uniform(chain: Chain) -> None:
    size = index("m")
    chain.define("Now let the masses be uniform", MASS_BELOW[j], 1 / COLUMNS)
    chain.define("and every neuron have the same number of copies.", COPIES_BELOW[j], FACTOR)
    chain.define("Count the grown layer.", size, total(Integer(1), (c, COPIES_BELOW[j]), (j, COLUMNS)))
    chain.step("It has g times the width,", size, FACTOR * COLUMNS)
    chain.step(
        "and its masses are uniform again: it is an ordinary network of that width.", copied("p^-")[j, c], 1 / size
    )
