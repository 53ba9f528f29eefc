"""Claim `invariant.balance`: each neuron balances its outgoing against its incoming weights under gradient flow.

What a neuron sends and what it hears meet in one number, whichever way it is computed: through the weights above or
through the weights below. For homogeneous activations these two rates are equal, so the difference of the mean
squares of outgoing and incoming weights has no first-order change; a step of size eta changes it by exactly eta^2
times the same difference for the velocities.
"""

from sympy import Expr, Integer, Symbol

from proofs.chain import Chain, argument
from proofs.notation import Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "invariant.balance"
ASSUMPTIONS = (
    "homogeneous activation, sigma'(h) h = alpha sigma(h): alpha = 1 for linear and ReLU units, at the kink for "
    "every choice of sigma'(0)",
    "mean-field rates; the sum over a growing axis is a mean (masses p), over a fixed axis a sum (masses 1); no biases",
    "exact under gradient flow; gradient descent conserves it up to eta^2 a step, that is O(eta) in a given time",
)
PLANTS = {
    "sums_for_means": "the outgoing weights are summed without their masses",
    "wrong_degree": "the degree of the activation is left out of the balance",
    "same_sign": "the mean squares are added instead of subtracted",
    "exact_descent": "gradient descent is taken to conserve the balance exactly",
    "missing_slope": "the sensitivity forgets the slope of the activation",
}

i, j, k, x = indices("i j k x")
ABOVE, BELOW, DATA = width("n^+"), width("n^-"), width("N")
MASS_ABOVE, MASS_BELOW, Q = array("p^+"), array("p^-"), array("q")
OUT, IN, OUT_RATE, IN_RATE = array("V"), array("W"), array("dot V"), array("dot W")
PRE, SIGNAL, SLOPE, BELOW_SIGNAL = array("h"), array("a"), array("sigma'"), array("a^-")
DELTA, HEARD, DELTA_ABOVE = array("delta"), array("H"), array("delta^+")
DEGREE, ETA, LAMBDA = (Symbol(name, positive=True) for name in ("alpha", "eta", "lambda"))
BALANCE = array("I")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _define(chain)
    _meet(chain)
    _conserve(chain)
    _decay(chain)
    _counterexample(chain)


derive = argue.derive


def _define(chain: Chain) -> None:
    chain.define(
        "Neuron j reads the layer below,", PRE[j, x], total(MASS_BELOW[k] * IN[j, k] * BELOW_SIGNAL[k, x], (k, BELOW))
    )
    chain.define(
        "and sends a homogeneous function of what it read: its signal is slope times pre-activation over the degree.",
        SIGNAL[j, x],
        SLOPE[j, x] * PRE[j, x] / DEGREE,
        why="Euler's identity, sigma'(h) h = alpha sigma(h)",
    )
    chain.define(
        "It hears the layer above", HEARD[j, x], total(MASS_ABOVE[i] * OUT[i, j] * DELTA_ABOVE[i, x], (i, ABOVE))
    )
    slope = Integer(1) if chain.planted == "missing_slope" else SLOPE[j, x]
    chain.define("through the slope of its activation.", DELTA[j, x], slope * HEARD[j, x])
    source = "claim gradient.factorizes"
    chain.define(
        "Its outgoing weights move with",
        OUT_RATE[i, j],
        -total(Q[x] * DELTA_ABOVE[i, x] * SIGNAL[j, x], (x, DATA)),
        why=source,
    )
    chain.define(
        "and its incoming ones with",
        IN_RATE[j, k],
        -total(Q[x] * DELTA[j, x] * BELOW_SIGNAL[k, x], (x, DATA)),
        why=source,
    )


def _meet(chain: Chain) -> None:
    chain.step(
        "Outgoing weights against their velocity: what is heard meets what is sent.",
        total(MASS_ABOVE[i] * OUT[i, j] * OUT_RATE[i, j], (i, ABOVE)),
        -total(Q[x] * HEARD[j, x] * SIGNAL[j, x], (x, DATA)),
    )
    chain.step(
        "Incoming weights against theirs: the sensitivity meets what was read.",
        total(MASS_BELOW[k] * IN[j, k] * IN_RATE[j, k], (k, BELOW)),
        -total(Q[x] * DELTA[j, x] * PRE[j, x], (x, DATA)),
    )
    chain.step(
        "For a homogeneous activation the second is alpha times the first.",
        DEGREE * total(MASS_ABOVE[i] * OUT[i, j] * OUT_RATE[i, j], (i, ABOVE)),
        total(MASS_BELOW[k] * IN[j, k] * IN_RATE[j, k], (k, BELOW)),
    )


def difference_of_squares(chain: Chain, outgoing: Expr, incoming: Expr) -> Expr:
    """Return alpha mean_i outgoing^2 - mean_k incoming^2 of neuron j."""
    degree = Integer(1) if chain.planted == "wrong_degree" else DEGREE
    mass = Integer(1) if chain.planted == "sums_for_means" else MASS_ABOVE[i]
    sign = 1 if chain.planted == "same_sign" else -1
    squares = total(mass * outgoing**2, (i, ABOVE)), total(MASS_BELOW[k] * incoming**2, (k, BELOW))
    return degree * squares[0] + sign * squares[1]


def _conserve(chain: Chain) -> None:
    balance, defect, after = Symbol("I"), Symbol("D"), Symbol("I_eta")
    chain.define(
        "The balance of neuron j, alpha = 1 for linear and ReLU units.",
        balance,
        difference_of_squares(chain, OUT[i, j], IN[j, k]),
    )
    chain.define(
        "The same difference of the velocities.", defect, difference_of_squares(chain, OUT_RATE[i, j], IN_RATE[j, k])
    )
    chain.define(
        "The balance after a step of size eta.",
        after,
        difference_of_squares(chain, OUT[i, j] + ETA * OUT_RATE[i, j], IN[j, k] + ETA * IN_RATE[j, k]),
    )
    kept = Integer(0) if chain.planted == "exact_descent" else ETA**2
    chain.step(
        "Gradient descent: the first order cancels, and the balance changes by exactly eta^2 times that difference. "
        "T steps change it by eta^2 times a sum of T terms, O(eta) in the time eta T.",
        after,
        balance + kept * defect,
    )
    chain.step(
        "Gradient flow: the derivative in the time eta is 2 eta D and vanishes at eta = 0: the balance is conserved.",
        Partial(after, ETA),
        2 * ETA * defect,
    )


def _decay(chain: Chain) -> None:
    decayed = Symbol("I_lambda")
    kept = 1 - ETA * LAMBDA
    chain.define(
        "With weight decay,",
        decayed,
        difference_of_squares(chain, kept * OUT[i, j] + ETA * OUT_RATE[i, j], kept * IN[j, k] + ETA * IN_RATE[j, k]),
    )
    chain.step(
        "the balance shrinks by (1 - eta lambda)^2 in every step, in the limit like e^(-2 lambda t): neurons become "
        "balanced.",
        decayed,
        kept**2 * Symbol("I") + ETA**2 * Symbol("D"),
    )


def _counterexample(chain: Chain) -> None:
    one = Integer(1)
    chain.differ(
        "Homogeneity is needed: for sigma(h) = h + h^3 at h = 1 slope times pre-activation is 4 and the signal 2; at a "
        "small h their ratio is 1, so no degree serves both and the two rates differ.",
        (1 + 3 * one**2) * one,
        one + one**3,
    )
