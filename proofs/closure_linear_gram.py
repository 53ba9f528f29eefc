"""Claim `closure.linear-gram`: deep linear networks close in finitely many order parameters, at every width.

Let the weights of a layer be W = phi^T B phi^-, with fixed features of its rows and columns. Signals and
sensitivities then are combinations of features, the velocity is phi^T b phi^-, and b is a function of the order
parameters B of all layers and of the Gram matrices of the features: the law of the neurons enters in no other way.
"""

from sympy import Expr, KroneckerDelta, Symbol

from proofs.chain import Chain, argument
from proofs.notation import Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "closure.linear-gram"
ASSUMPTIONS = (
    "linear activation; any differentiable loss of the outputs; any depth, by induction over the layers",
    "the weights start in the span of the features, without residual: a residual that is orthogonal to the features of "
    "its columns and rows is frozen and never read, any other one is read and enters at finite width",
    "gradient descent with mean-field rates, with or without momentum and decay; entrywise optimisers leave the span",
    "numbers of features, widths, data and masses are symbols: the empirical law of n neurons as well as the limit",
)
PLANTS = {
    "lost_gram": "the signals below are read without their Gram matrix",
    "transposed": "sensitivities read the order parameters untransposed",
    "plain_gradient": "the order parameters are taken to follow their gradient, without inverse Gram matrices",
    "nonlinear": "the layer squares its signals",
    "wrong_sign": "the order parameters climb the risk",
}

i, j, k, x, u, v, w, y, c = indices("i j k x u v w y c")
r, s = indices("r s")
ROWS, COLUMNS, ABOVE, DATA, INPUTS = width("n"), width("n^-"), width("n^+"), width("N"), width("d")
RANK, RANK_BELOW, RANK_ABOVE = width("R"), width("R^-"), width("R^+")
MASS, MASS_BELOW, MASS_ABOVE, Q = array("p"), array("p^-"), array("p^+"), array("q")
W, V, ORDER, ORDER_ABOVE, RATE = array("W"), array("V"), array("B"), array("B^+"), array("b")
PHI, PHI_BELOW, PHI_ABOVE = array("phi"), array("phi^-"), array("phi^+")
GRAM, GRAM_BELOW, GRAM_ABOVE = array("G"), array("G^-"), array("G^+")
PRE, SIGNAL, DELTA, HEARD = array("h"), array("h^-"), array("delta"), array("delta^+")
COORD, COORD_BELOW, ECHO, ECHO_ABOVE = array("c"), array("c^-"), array("e"), array("e^+")
VELOCITY, ETA = array("v"), Symbol("eta", positive=True)


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _define(chain)
    _forward(chain)
    _backward(chain)
    _train(chain)
    _risk(chain)
    _ends(chain)


derive = argue.derive


def _define(chain: Chain) -> None:
    induction = "at the start, then hypothesis of the induction over training steps"
    chain.define(
        "The weights of a layer are in the span of the features of its rows and columns, with order parameters B.",
        W[i, j],
        total(PHI[i, u] * ORDER[u, v] * PHI_BELOW[j, v], (u, RANK), (v, RANK_BELOW)),
        why=induction,
    )
    chain.define(
        "So are those of the layer above.",
        V[k, i],
        total(PHI_ABOVE[k, w] * ORDER_ABOVE[w, u] * PHI[i, u], (w, RANK_ABOVE), (u, RANK)),
        why=induction,
    )
    for sentence, gram, mass, phi, size in (
        ("Gram matrices of the features: below,", GRAM_BELOW, MASS_BELOW, PHI_BELOW, COLUMNS),
        ("of the layer,", GRAM, MASS, PHI, ROWS),
        (
            "and above. The features never move, so these are constant in time.",
            GRAM_ABOVE,
            MASS_ABOVE,
            PHI_ABOVE,
            ABOVE,
        ),
    ):
        chain.define(sentence, gram[u, v], total(mass[j] * phi[j, u] * phi[j, v], (j, size)))


def _forward(chain: Chain) -> None:
    chain.define(
        "Upwards: suppose that the signals below are combinations of the features.",
        SIGNAL[j, x],
        total(PHI_BELOW[j, v] * COORD_BELOW[v, x], (v, RANK_BELOW)),
        why="hypothesis of the induction over layers",
    )
    power = 2 if chain.planted == "nonlinear" else 1
    chain.define("A neuron reads", PRE[i, x], total(MASS_BELOW[j] * W[i, j] * SIGNAL[j, x] ** power, (j, COLUMNS)))
    gram = KroneckerDelta(v, y, (1, RANK_BELOW)) if chain.planted == "lost_gram" else GRAM_BELOW[v, y]
    chain.define(
        "Let the coordinates of the layer be",
        COORD[u, x],
        total(ORDER[u, v] * gram * COORD_BELOW[y, x], (v, RANK_BELOW), (y, RANK_BELOW)),
    )
    chain.step(
        "Then its signals are these combinations of its features: the induction climbs to the outputs.",
        PRE[i, x],
        total(PHI[i, u] * COORD[u, x], (u, RANK)),
    )


def _backward(chain: Chain) -> None:
    chain.define(
        "Downwards: suppose that the sensitivities above are combinations of the features.",
        HEARD[k, x],
        total(PHI_ABOVE[k, w] * ECHO_ABOVE[w, x], (w, RANK_ABOVE)),
        why="hypothesis of the induction over layers",
    )
    chain.define("A neuron hears", DELTA[i, x], total(MASS_ABOVE[k] * V[k, i] * HEARD[k, x], (k, ABOVE)))
    order = ORDER_ABOVE[u, w] if chain.planted == "transposed" else ORDER_ABOVE[w, u]
    chain.define(
        "Let the dual coordinates of the layer be",
        ECHO[u, x],
        total(order * GRAM_ABOVE[w, y] * ECHO_ABOVE[y, x], (w, RANK_ABOVE), (y, RANK_ABOVE)),
    )
    chain.step(
        "Then its sensitivities are these combinations of its features: the induction descends to the inputs.",
        DELTA[i, x],
        total(PHI[i, u] * ECHO[u, x], (u, RANK)),
    )


def _spanned(core: Expr) -> Expr:
    return total(PHI[i, u] * core * PHI_BELOW[j, v], (u, RANK), (v, RANK_BELOW))


def _train(chain: Chain) -> None:
    chain.define(
        "A weight moves with",
        VELOCITY[i, j],
        -total(Q[x] * DELTA[i, x] * SIGNAL[j, x], (x, DATA)),
        why="claim gradient.factorizes",
    )
    sign = 1 if chain.planted == "wrong_sign" else -1
    chain.define(
        "and let the order parameters move with",
        RATE[u, v],
        sign * total(Q[x] * ECHO[u, x] * COORD_BELOW[v, x], (x, DATA)),
    )
    chain.step(
        "The velocity is in the span again, with the rate b of the order parameters in the middle.",
        VELOCITY[i, j],
        _spanned(RATE[u, v]),
    )
    chain.step(
        "So a step on the weights is a step on the order parameters, exactly and at every width: by induction the "
        "dynamics close in B, and the law of the neurons enters through the Gram matrices alone.",
        W[i, j] + ETA * VELOCITY[i, j],
        _spanned(ORDER[u, v] + ETA * RATE[u, v]),
    )
    memory, decay, beta = array("U"), Symbol("lambda", positive=True), Symbol("beta", positive=True)
    buffer = array("m")
    chain.define("Momentum starts in the span and stays there,", memory[i, j], _spanned(buffer[u, v]), why="hypothesis")
    chain.step(
        "as does weight decay: both are linear.",
        (1 - ETA * decay) * W[i, j] + ETA * (beta * memory[i, j] + VELOCITY[i, j]),
        _spanned((1 - ETA * decay) * ORDER[u, v] + ETA * (beta * buffer[u, v] + RATE[u, v])),
    )


def _risk(chain: Chain) -> None:
    """What b is for the risk as a function of B: its gradient, preconditioned."""
    middle = -total(GRAM[u, w] * RATE[w, y] * GRAM_BELOW[y, v], (w, RANK), (y, RANK_BELOW))
    if chain.planted == "plain_gradient":
        middle = -RATE[u, v]
    chain.step(
        "As functions of B, the pre-activations carry the risk, whose slope in h_i is q p_i delta_i "
        "(gradient.factorizes): the gradient of the risk in B is -G b G^-. So b is the gradient preconditioned by the "
        "inverse Gram matrices, the plain one only for orthonormal features.",
        total(Q[x] * MASS[i] * DELTA[i, x] * Partial(PRE[i, x], ORDER[u, v]), (i, ROWS), (x, DATA)),
        middle,
    )


def _ends(chain: Chain) -> None:
    """The fixed axes: inputs (and outputs likewise) are features of themselves."""
    unit, gram, entry = array("phi^0"), array("G^0"), array("X")
    chain.define(
        "The input axis is fixed: masses 1, and each coordinate is a feature of its own.",
        unit[r, s],
        KroneckerDelta(r, s, (1, INPUTS)),
    )
    chain.define("Its Gram matrix", gram[u, v], total(unit[r, u] * unit[r, v], (r, INPUTS)))
    chain.step("is the unit matrix,", gram[u, v], KroneckerDelta(u, v, (1, INPUTS)))
    chain.step(
        "and the inputs are their own coordinates: both inductions have their start, and the output axis is alike.",
        entry[r, x],
        total(unit[r, c] * entry[c, x], (c, INPUTS)),
    )
