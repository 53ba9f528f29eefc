"""Claim `init.iid-collapse`: without row-column structure the middle neurons of a deep network are all alike.

At initialisation the spread over neurons of what a layer reads is the residual's alone, and falls like n^(-1/2). In
the limit a layer between two independent matrices starts with equal neurons, and gradient descent keeps them equal:
this is the middle one of three hidden layers. A structured kernel, or a read-out next to the layer, breaks the tie.
"""

from sympy import Expr, IndexedBase, Integer, Rational, Symbol, log

from proofs.chain import Chain, argument, registered_rate
from proofs.moments import Neurons
from proofs.notation import Activation, Expectation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "init.iid-collapse"
ASSUMPTIONS = (
    "entries of the two matrices beside the layer independent, centred, identically distributed, variance s^2",
    "mean-field scale and learning rates, full-batch gradient descent; widths and the number of data are symbols",
    "the layer starts to move only if the activation does not vanish at 0: with tanh the limit does not train at all",
    "at initialisation: exact at every n. Signals below and sensitivities above have second moments",
    "through training: the limit, in which averages of the residual against signals vanish at every step; that they "
    "do, with what training has put into the signals, is supposed and not derived",
)
PLANTS = {
    "forgotten_residual": "the spread is claimed to vanish at every width",
    "shared_width": "the spread of a mean over n neurons is claimed to fall like 1/n^2",
    "structured_kernel": "the matrix below has a kernel that depends on the neuron",
    "read_out_above": "the layer above is the read-out, whose weights differ from neuron to neuron",
    "own_increment": "the increment of a neuron has a part of its own",
}

i, j, k, x = indices("i j k x")
BELOW, LAYER, ABOVE, WIDTH, DATA, OUTPUTS = (width(name) for name in ("n_1", "n_2", "n_3", "n", "N", "K"))
RESIDUAL, UPPER, KERNEL, SIGNAL, HEARD = array("xi"), array("zeta"), array("m"), array("a"), array("e")
NOISE, ETA = Symbol("s", positive=True) ** 2, Symbol("eta", positive=True)
LAW = Neurons(frozenset({KERNEL, SIGNAL, HEARD}), {RESIDUAL: NOISE, UPPER: NOISE})


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS, (LAW,))
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _start(chain)
    _structured(chain)
    _exponent(chain)
    _limit(chain)
    _step(chain)
    _first_step(chain)
    _beside_the_read_out(chain)


derive = argue.derive


def spread(values: Expr) -> Expr:
    """Return the variance of `values` over the neurons i of the layer."""
    mean = total(values, (i, LAYER)) / LAYER
    return total((values - mean) ** 2, (i, LAYER)) / (LAYER - 1)


def _start(chain: Chain) -> None:
    read, heard = array("h"), array("b")
    power = NOISE * Expectation(SIGNAL[j] ** 2)
    fall = {"forgotten_residual": Integer(0), "shared_width": 1 / BELOW**2}.get(chain.planted or "", 1 / BELOW)
    chain.define("Neuron i of the layer reads", read[i], total(RESIDUAL[i, j] * SIGNAL[j], (j, BELOW)) / BELOW)
    chain.step("with mean zero,", Expectation(read[i]), 0)
    chain.step(
        "and the variance over the neurons of the layer is on average this,", Expectation(spread(read[i])), power * fall
    )
    chain.step("all that a neuron reads:", Expectation(read[i] ** 2), power / BELOW)
    chain.step("two neurons have nothing in common.", Expectation(read[1] * read[2]), 0)
    chain.define("It hears from above", heard[i], total(UPPER[k, i] * HEARD[k], (k, ABOVE)) / ABOVE)
    chain.step(
        "with the like variance over its neurons.",
        Expectation(spread(heard[i])),
        NOISE * Expectation(HEARD[k] ** 2) / ABOVE,
    )


def _structured(chain: Chain) -> None:
    read = array("g")
    chain.define(
        "With a kernel m beside the residual a neuron reads",
        read[i],
        total((KERNEL[i, j] + RESIDUAL[i, j]) * SIGNAL[j], (j, BELOW)) / BELOW,
    )
    own = Expectation(KERNEL[i, j] * KERNEL[i, k] * SIGNAL[j] * SIGNAL[k])
    common = Expectation(KERNEL[i, j] * SIGNAL[j]) ** 2
    pairs = (
        Expectation(KERNEL[i, j] ** 2 * SIGNAL[j] ** 2)
        - own
        - Expectation(KERNEL[i, j] * KERNEL[k, j] * SIGNAL[j] ** 2)
        + common
    )
    chain.step(
        "and the spread keeps a part of order one, the variance over the neurons of what they read in the limit.",
        Expectation(spread(read[i])),
        own - common + (pairs + NOISE * Expectation(SIGNAL[j] ** 2)) / BELOW,
    )


def _exponent(chain: Chain) -> None:
    deviation = Symbol("D_n")
    rate = registered_rate(CLAIM, "initial_spread")
    chain.define("Let the layer below have n neurons.", BELOW, WIDTH)
    chain.define(
        "Without the kernel the root mean square of the spread is",
        deviation,
        (NOISE * Expectation(SIGNAL[j] ** 2) / WIDTH) ** Rational(1, 2),
    )
    chain.step("indeed,", Expectation(spread(array("h")[i])), deviation**2)
    chain.step("and its slope in log n is the exponent of the registry.", WIDTH * Partial(log(deviation), WIDTH), rate)


# The limit: averages over a layer are integrals against masses, averages of the residual are zero.

WEIGHT, UPPER_WEIGHT, START, UPPER_START = array("W"), array("V"), array("w"), array("v")
BELOW_SIGNAL, READ, SENT, SENSITIVITY, ABOVE_SENSITIVITY = (
    array(name) for name in ("a^-", "H", "A", "delta", "epsilon")
)
MASS, ABOVE_MASS, DATUM = array("p"), array("r"), array("q")


def _limit(chain: Chain) -> None:
    """One step of the induction: weights with a residual and a part that is the same for all neurons of the layer."""
    structured = KERNEL[i, j] if chain.planted == "structured_kernel" else Integer(0)
    chain.define(
        "Now train, in the limit. Suppose that the weights below are the residual and a part w_j without the neuron i,",
        WEIGHT[i, j],
        RESIDUAL[i, j] + START[j] + structured,
        why="w = 0 at the start, then hypothesis of the induction over steps",
    )
    chain.define(
        "and the weights above likewise.",
        UPPER_WEIGHT[k, i],
        UPPER[k, i] + UPPER_START[k],
        why="v = 0 at the start, then hypothesis of the induction over steps",
    )
    chain.define(
        "The averages of the residual vanish, so that the neuron reads",
        READ[i, x],
        total(MASS[j] * (WEIGHT[i, j] - RESIDUAL[i, j]) * BELOW_SIGNAL[j, x], (j, BELOW)),
        why="law of large numbers, with the variance above",
    )
    chain.define("and sends", SENT[i, x], Activation(READ[i, x]))
    heard = total(ABOVE_MASS[k] * (UPPER_WEIGHT[k, i] - UPPER[k, i]) * ABOVE_SENSITIVITY[k, x], (k, ABOVE))
    chain.define("Its sensitivity is", SENSITIVITY[i, x], Activation(READ[i, x], 1) * heard, why="law of large numbers")
    chain.step("All neurons of the layer read the same,", READ[i, x], READ[k, x])
    chain.step("send the same,", SENT[i, x], SENT[k, x])
    if chain.planted == "read_out_above":
        _read_out(chain, SENSITIVITY)
    chain.step("and have the same sensitivity.", SENSITIVITY[i, x], SENSITIVITY[k, x])


def _read_out(chain: Chain, sensitivity: IndexedBase) -> None:
    """Define the sensitivity of a layer beside the read-out: the fixed axis of outputs is summed."""
    heard = total(array("c")[k, i] * array("l")[k, x], (k, OUTPUTS))
    chain.define("Beside the read-out", sensitivity[i, x], Activation(READ[i, x], 1) * heard)


def _step(chain: Chain) -> None:
    lower, upper, first = START, UPPER_START, Integer(1)
    moved = array("theta")[i] if chain.planted == "own_increment" else Integer(0)
    after, upper_after = array("w'"), array("v'")
    change = total(DATUM[x] * SENSITIVITY[first, x] * BELOW_SIGNAL[j, x], (x, DATA))
    chain.define(
        "A step of gradient descent moves the part w, seen from neuron 1, to", after[j], lower[j] - ETA * change
    )
    chain.define(
        "and v to",
        upper_after[k],
        upper[k] - ETA * total(DATUM[x] * ABOVE_SENSITIVITY[k, x] * SENT[first, x], (x, DATA)),
    )
    own = total(DATUM[x] * SENSITIVITY[i, x] * BELOW_SIGNAL[j, x], (x, DATA)) + moved
    chain.step(
        "Every other neuron sees the same: its weights are the frozen residual and the new w,",
        WEIGHT[i, j] - ETA * own,
        RESIDUAL[i, j] + after[j],
    )
    chain.step(
        "and those that read it the residual and the new v. The induction goes on: the layer is one trajectory, and "
        "there is nothing to tell its neurons apart but a residual that nothing sees.",
        UPPER_WEIGHT[k, i] - ETA * total(DATUM[x] * ABOVE_SENSITIVITY[k, x] * SENT[i, x], (x, DATA)),
        UPPER[k, i] + upper_after[k],
    )


def _first_step(chain: Chain) -> None:
    """What the first step does: it needs an activation that does not vanish at 0."""
    chain.define("At the start w", START[j], Integer(0))
    chain.define("and v are zero:", UPPER_START[k], Integer(0))
    chain.step("a neuron reads nothing", READ[i, x], 0)
    chain.step("and has no sensitivity, so that w", SENSITIVITY[i, x], 0)
    chain.step("stays where it is.", array("w'")[j], 0)
    chain.step(
        "v moves by what the neurons send, sigma(0). An activation with sigma(0) = 0, such as tanh, never starts: the "
        "limit stays at this point for ever.",
        array("v'")[k],
        -ETA * Activation(0) * total(DATUM[x] * ABOVE_SENSITIVITY[k, x], (x, DATA)),
    )


def _beside_the_read_out(chain: Chain) -> None:
    beside = array("delta^o")
    _read_out(chain, beside)
    readout, slope = array("c"), array("l")
    chain.step(
        "With two hidden layers the layer above is the read-out. Neurons read the same still, but their sensitivities "
        "differ as their read-out weights do: three hidden layers are needed for the collapse.",
        beside[1, x] - beside[2, x],
        Activation(READ[1, x], 1) * total((readout[k, 1] - readout[k, 2]) * slope[k, x], (k, OUTPUTS)),
    )
