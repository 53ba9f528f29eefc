"""Claim `widening.optimizer-state`: the state of an optimiser follows the gradient, by the chain rule.

When a weight is copied as alpha W, its gradient is copied as rho G, with the sum of alpha rho over the copies equal to
one. Moving averages scale like rho, averages of squares like rho^2. Training goes on unchanged when the learning
rate and the epsilon of each tensor follow; in mean-field parametrisation everything is copied as it is.
"""

from sympy import Expr, IndexedBase, Integer, Lambda, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.notation import Activation, Loss, LossSlope, Partial, array, index, indices, total, width
from proofs.residual_stream import starred
from rctheory.suite.derivation import Scope

CLAIM = "widening.optimizer-state"
ASSUMPTIONS = (
    "a layer of symbolic width, neuron i copied C_i times; any differentiable activation and loss of all outputs",
    "even split and no symmetry-breaking noise: the copies of a neuron stay equal",
    "standard parametrisation: rows are copied, the columns that read them are divided by C_i; mean-field: weights are "
    "copied and masses divided, and the optimiser is fed the gradient over the masses",
    "learning rate, decay and epsilon may be set for each tensor and neuron, for equal multiplicities for each tensor",
)
PLANTS = {
    "copied_state": "in standard parametrisation the average of the gradient is copied as it is",
    "square_as_gradient": "the average of squares is scaled like the gradient",
    "epsilon_kept": "epsilon is not scaled with the gradient",
    "decay_kept": "decoupled weight decay keeps its coefficient although the learning rate is scaled",
    "rate_kept": "the learning rate is not scaled with the weight",
    "undivided_columns": "the columns that read the copies are copied whole",
    "raw_gradient": "in mean-field parametrisation the optimiser is fed the gradient without division by the masses",
}

i, j, k, b, x = indices("i j k b x")
DATA, ROWS, COLUMNS, OUTPUTS = width("N"), width("n"), width("n^-"), width("K")
COPIES, MASS, DATUM, SIGNAL = array("C"), array("p"), array("q"), array("a")
W, V, READ, OUTPUT = array("W"), array("V"), array("h"), array("f")
SQUARES = IndexedBase("m_2", nonnegative=True)
ALPHA, RHO, BETA, ETA = (Symbol(name, positive=True) for name in ("alpha", "rho", "beta", "eta"))


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _layers(chain)
    _gradients(chain)
    _standard(chain)
    _mean_field(chain)
    _state(chain)
    _training(chain)


derive = argue.derive


def slope(outputs: Expr, slot: Expr) -> Expr:
    """Return the slope of the loss of datum x in one output; `outputs` is the array of outputs."""
    other = index("k'")
    return LossSlope(slot, Lambda(other, outputs[other, x]), OUTPUTS, x)


def risk(outputs: Expr) -> Expr:
    """Return the mean over the data of a loss of all outputs."""
    other = index("k'")
    return total(DATUM[x] * Loss(Lambda(other, outputs[other, x]), OUTPUTS, x), (x, DATA))


def _layers(chain: Chain) -> None:
    """The layer and its copy, with masses: the standard parametrisation is masses of one."""
    chain.define("A neuron reads the signals below.", READ[i, x], total(W[i, j] * SIGNAL[j, x], (j, COLUMNS)))
    read = total(MASS[i] * V[k, i] * Activation(READ[i, x]), (i, ROWS))
    chain.define("The outputs read the layer, with masses p (1 in standard parametrisation),", OUTPUT[k, x], read)
    chain.define("and the risk is", Symbol("R"), risk(OUTPUT))
    wide_read = total(starred("W")[i, b, j] * SIGNAL[j, x], (j, COLUMNS))
    chain.define("A copy reads", starred("h")[i, b, x], wide_read)
    sent = starred("p")[i, b] * starred("V")[k, i, b] * Activation(starred("h")[i, b, x])
    chain.define("the outputs read all copies,", starred("f")[k, x], total(sent, (b, COPIES[i]), (i, ROWS)))
    chain.define("and the risk of the wide network is", Symbol("R^*"), risk(starred("f")))


def _gradients(chain: Chain) -> None:
    """Differentiate the wide network before its weights are said to be copies."""
    heard = total(starred("V")[k, i, b] * slope(starred("f"), k), (k, OUTPUTS))
    row = total(DATUM[x] * Activation(starred("h")[i, b, x], 1) * heard * SIGNAL[j, x], (x, DATA))
    column = total(DATUM[x] * slope(starred("f"), k) * Activation(starred("h")[i, b, x]), (x, DATA))
    mass = starred("p")[i, b]
    chain.step(
        "Differentiate the wide risk in a row of a copy, whatever its weights are,",
        Partial(Symbol("R^*"), starred("W")[i, b, j]),
        mass * row,
    )
    chain.step("and in a column that reads it.", Partial(Symbol("R^*"), starred("V")[k, i, b]), mass * column)
    chain.define("Write", starred("G")[i, b, j], mass * row, why="the first of these steps")
    chain.define("and", starred("B")[k, i, b], mass * column, why="the second")


def _copy(chain: Chain, divisor: Expr, mass: Expr, sentence: str) -> None:
    chain.define(sentence, starred("W")[i, b, j], W[i, j])
    chain.define("columns", starred("V")[k, i, b], V[k, i] / divisor)
    chain.define("and masses.", starred("p")[i, b], mass)
    chain.step("The function is unchanged.", starred("f")[k, x], OUTPUT[k, x])


def _standard(chain: Chain) -> None:
    undivided = chain.planted == "undivided_columns"
    divisor = Integer(1) if undivided else COPIES[i]
    _copy(chain, divisor, MASS[i], "Standard parametrisation: copy rows, divide columns, keep the masses: rows")
    chain.step(
        "The gradient in a copied row is 1/C of the gradient in the row,",
        starred("G")[i, b, j],
        Partial(Symbol("R"), W[i, j]) / COPIES[i],
    )
    chain.step(
        "the gradient in a divided column is the gradient in the column.",
        starred("B")[k, i, b],
        Partial(Symbol("R"), V[k, i]),
    )
    chain.step(
        "Chain rule: weighted with the scales of the copies the gradients add up to the gradient, for rows",
        total(starred("G")[i, b, j], (b, COPIES[i])),
        Partial(Symbol("R"), W[i, j]),
    )
    chain.step(
        "and for columns.",
        total(starred("B")[k, i, b] / COPIES[i], (b, COPIES[i])),
        Partial(Symbol("R"), V[k, i]),
    )


def _mean_field(chain: Chain) -> None:
    _copy(chain, Integer(1), MASS[i] / COPIES[i], "Mean-field parametrisation: copy both, divide the masses: rows")
    fed = Integer(1) if chain.planted == "raw_gradient" else starred("p")[i, b]
    narrow = Integer(1) if chain.planted == "raw_gradient" else MASS[i]
    for wide, entry in ((starred("G")[i, b, j], W[i, j]), (starred("B")[k, i, b], V[k, i])):
        chain.step(
            "The gradient over the masses is copied unchanged,",
            wide / fed,
            Partial(Symbol("R"), entry) / narrow,
        )


def _state(chain: Chain) -> None:
    """Moving averages follow the gradient from one step to the next, from the moment of the transfer on."""
    gradient, first, second = array("g"), array("m_1"), SQUARES
    step = index("t")
    initial = Integer(1) if chain.planted == "copied_state" else RHO
    squared = RHO if chain.planted == "square_as_gradient" else RHO**2
    chain.define(
        "Let the gradients of a copy be rho times those of its weight, at every step.",
        starred("g")[step],
        RHO * gradient[step],
        why="the steps above, then hypothesis of the induction over steps",
    )
    chain.define(
        "Scale the average of the gradient with it,",
        starred("m_1")[step],
        initial * first[step],
        why="transfer, then hypothesis of the induction",
    )
    chain.define(
        "and the average of its square.",
        starred("m_2")[step],
        squared * second[step],
        why="transfer, then hypothesis of the induction",
    )
    averages = (
        (gradient, first, starred("g"), starred("m_1"), 1, RHO),
        (gradient, second, starred("g"), starred("m_2"), 2, RHO**2),
    )
    for fed, narrow, wide_fed, wide, power, scale in averages:
        chain.step(
            "The next average has the factor too," if power == 1 else "and that of the square its square.",
            BETA * wide[step] + (1 - BETA) * wide_fed[step] ** power,
            scale * (BETA * narrow[step] + (1 - BETA) * fed[step] ** power),
        )


def _training(chain: Chain) -> None:
    """What learning rate and epsilon must do for the weight alpha W to remain the image of the weight."""
    first, second, eps, weight = array("m_1"), SQUARES, Symbol("epsilon", positive=True), Symbol("w")
    step = index("t")
    wide_eps = eps if chain.planted == "epsilon_kept" else RHO * eps
    chain.define("Adam with an epsilon that follows the gradient", Symbol("epsilon^*"), wide_eps)
    narrow = first[step] / (sqrt(second[step]) + eps)
    wide = starred("m_1")[step] / (sqrt(starred("m_2")[step]) + Symbol("epsilon^*"))
    chain.step("takes the same normalised step,", wide, narrow)
    rate = ETA if chain.planted == "rate_kept" else ALPHA * ETA
    chain.define("so its learning rate follows the weight:", Symbol("eta^*"), rate)
    chain.step(
        "a copy alpha W stays alpha times the weight.",
        ALPHA * weight - Symbol("eta^*") * wide,
        ALPHA * (weight - ETA * narrow),
    )
    decay = Symbol("lambda", positive=True)
    wide_decay = decay if chain.planted == "decay_kept" else decay / ALPHA
    chain.define("Decoupled weight decay, which the learning rate multiplies, needs", Symbol("lambda^*"), wide_decay)
    chain.step(
        "to stay the same part of the weight.",
        ALPHA * weight - Symbol("eta^*") * (wide + Symbol("lambda^*") * ALPHA * weight),
        ALPHA * (weight - ETA * (narrow + decay * weight)),
    )
    chain.define("Gradient descent and momentum need", Symbol("eta^*"), ETA * ALPHA / RHO)
    chain.step(
        "for the same: rows (alpha = 1, rho = 1/C) learn at C times the rate, columns (alpha = 1/C, rho = 1) at 1/C.",
        ALPHA * weight - Symbol("eta^*") * starred("m_1")[step],
        ALPHA * (weight - ETA * first[step]),
    )
