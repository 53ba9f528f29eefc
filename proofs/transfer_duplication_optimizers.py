"""Claim `transfer.duplication-optimizers`: copies stay copies under momentum and Adam, for any multiplicities.

One hypothesis on the state at step t: weights and buffers of copies are those of their neurons. From it the function,
the sensitivities and the velocities of the grown network follow at step t (two inductions over the layers), then its
buffers and weights at step t + 1: the hypothesis again. The state that has to be copied is read off, also for an
optimiser that is fed with raw gradients, in which the masses of the copies appear.
"""

from sympy import Expr, IndexedBase, Integer, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.notation import Activation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "transfer.duplication-optimizers"
ASSUMPTIONS = (
    "one copy map per hidden axis; widths, data and multiplicities C_j >= 1 are symbols; a fixed axis has C = 1 and "
    "masses 1",
    "mean-field learning rates: buffers see the gradient over the masses, or the raw gradient, with epsilon divided "
    "like it",
    "at the start weights and buffers are copied (buffers of zeros are)",
)
PLANTS = {
    "undivided_mass": "every copy keeps the whole mass of its neuron",
    "divided_buffer": "the momentum of a copy is divided by the number of copies",
    "raw_epsilon": "Adam sees raw gradients and epsilon is left as it is",
    "linear_second_moment": "the second moment of raw gradients is copied with the factor of the first",
    "fresh_buffer": "the copies start with a fresh first moment",
    "stale_correction": "the bias correction of the copies counts one step less",
}

i, j, k, b, c, e, x, t = indices("i j k b c e x t")
DATA, COLUMNS, ABOVE = width("N"), width("n^-"), width("n^+")
COPIES, COPIES_BELOW, COPIES_ABOVE = array("C"), array("C^-"), array("C^+")
MASS, MASS_BELOW, MASS_ABOVE, Q = array("p"), array("p^-"), array("p^+"), array("q")
W, V, SIGNAL, PRE, DELTA, HEARD = array("W"), array("V"), array("a"), array("h"), array("delta"), array("epsilon")
VELOCITY, SEEN, BUFFER, FIRST, SECOND = (array(name) for name in ("v", "nu", "u", "M", "S"))
ETA, BETA, BETA_1, BETA_2, EPS, DECAY = (
    Symbol(name, positive=True) for name in ("eta", "beta", "beta_1", "beta_2", "epsilon", "lambda")
)


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _state(chain)
    _signals(chain)
    _velocity(chain)
    _momentum(chain)
    _adam(chain)
    _raw_gradients(chain)


derive = argue.derive


def grown(base: IndexedBase) -> IndexedBase:
    """Return the array of the grown network that belongs to an array of the original one."""
    return array(f"{base}*" if "^" in str(base) else f"{base}^*")


def _state(chain: Chain) -> None:
    divisor = Integer(1) if chain.planted == "undivided_mass" else COPIES_BELOW[j]
    chain.define(
        "Divide the mass of a neuron among its copies, below,", grown(MASS_BELOW)[j, c], MASS_BELOW[j] / divisor
    )
    chain.define("in the layer,", grown(MASS)[i, b], MASS[i] / COPIES[i])
    chain.define("and above.", grown(MASS_ABOVE)[k, e], MASS_ABOVE[k] / COPIES_ABOVE[k])
    why = "copied at the start, then hypothesis of the induction over steps"
    chain.define(
        "At step t the weights into the layer are copies,", grown(W)[t, i, b, j, c], W[t, i, j], fixed=(t,), why=why
    )
    chain.define("those out of it too,", grown(V)[t, k, e, i, b], V[t, k, i], fixed=(t,), why=why)
    buffer = BUFFER[t, i, j] / (COPIES[i] if chain.planted == "divided_buffer" else 1)
    chain.define("and so are the momentum", grown(BUFFER)[t, i, b, j, c], buffer, fixed=(t,), why=why)
    first = 0 if chain.planted == "fresh_buffer" else FIRST[t, i, j]
    chain.define("and the first", grown(FIRST)[t, i, b, j, c], first, fixed=(t,), why=why)
    chain.define("and second moments.", grown(SECOND)[t, i, b, j, c], SECOND[t, i, j], fixed=(t,), why=why)


def _signals(chain: Chain) -> None:
    """Function and sensitivities of the grown network at step t."""
    why = "hypothesis of the induction over layers"
    chain.define(
        "Upwards: the copies below send the signal of their neuron.",
        grown(SIGNAL)[t, j, c, x],
        SIGNAL[t, j, x],
        why=why,
    )
    chain.define("A neuron reads", PRE[t, i, x], total(MASS_BELOW[j] * W[t, i, j] * SIGNAL[t, j, x], (j, COLUMNS)))
    read = grown(MASS_BELOW)[j, c] * grown(W)[t, i, b, j, c] * grown(SIGNAL)[t, j, c, x]
    chain.define("its copy reads all copies,", grown(PRE)[t, i, b, x], total(read, (c, COPIES_BELOW[j]), (j, COLUMNS)))
    chain.step(
        "and sends the same: up to the outputs, the function at step t is unchanged.",
        Activation(grown(PRE)[t, i, b, x]),
        Activation(PRE[t, i, x]),
    )
    chain.define(
        "Downwards: the copies above have the sensitivity of theirs.", grown(HEARD)[t, k, e, x], HEARD[t, k, x], why=why
    )
    heard = total(MASS_ABOVE[k] * V[t, k, i] * HEARD[t, k, x], (k, ABOVE))
    chain.define("A neuron hears", DELTA[t, i, x], Activation(PRE[t, i, x], 1) * heard)
    copies = grown(MASS_ABOVE)[k, e] * grown(V)[t, k, e, i, b] * grown(HEARD)[t, k, e, x]
    chain.define(
        "its copy hears all copies,",
        grown(DELTA)[t, i, b, x],
        Activation(grown(PRE)[t, i, b, x], 1) * total(copies, (e, COPIES_ABOVE[k]), (k, ABOVE)),
    )
    chain.step("and both hear the same, down to the inputs.", grown(DELTA)[t, i, b, x], DELTA[t, i, x])


def _velocity(chain: Chain) -> None:
    chain.define(
        "A weight has the velocity", VELOCITY[t, i, j], -total(Q[x] * DELTA[t, i, x] * SIGNAL[t, j, x], (x, DATA))
    )
    outer = total(Q[x] * grown(DELTA)[t, i, b, x] * grown(SIGNAL)[t, j, c, x], (x, DATA))
    chain.define("and its copy", grown(VELOCITY)[t, i, b, j, c], -outer)
    chain.step("the same one.", grown(VELOCITY)[t, i, b, j, c], VELOCITY[t, i, j])
    chain.define(
        "So, writing nu for the velocity that an optimiser sees, for copies",
        grown(SEEN)[t, i, b, j, c],
        SEEN[t, i, j],
        why="the step before",
    )


def _twice(chain: Chain, sentence: str, base: IndexedBase, rule: tuple[Expr, Expr]) -> None:
    """Define an entry at step t + 1 in both networks, and check that the copy has that of its neuron."""
    plain, copy = base[t + 1, i, j], grown(base)[t + 1, i, b, j, c]
    chain.define(sentence, plain, rule[0])
    chain.define("in the grown network likewise.", copy, rule[1])
    chain.step("Copies stay copies.", copy, plain)


def _momentum(chain: Chain) -> None:
    entries = (i, j), (i, b, j, c)
    names = (W, BUFFER, SEEN), (grown(W), grown(BUFFER), grown(SEEN))
    buffers = tuple(BETA * u[t, *at] + v[t, *at] for (_, u, v), at in zip(names, entries, strict=True))
    _twice(chain, "Momentum remembers velocities,", BUFFER, (buffers[0], buffers[1]))
    weights = tuple(
        (1 - ETA * DECAY) * w[t, *at] + ETA * u[t + 1, *at] for (w, u, _), at in zip(names, entries, strict=True)
    )
    _twice(chain, "and moves the weights, with decay; plain descent is beta = lambda = 0:", W, (weights[0], weights[1]))


def adam_step(first: Expr, second: Expr, steps: Expr = t + 1) -> Expr:
    """Return the step from both moments, corrected for their start."""
    return quotient(first / (1 - BETA_1**steps), second / (1 - BETA_2**steps))


def quotient(first: Expr, second: Expr, eps: Expr = EPS) -> Expr:
    """Return the step from corrected moments."""
    return first / (sqrt(second) + eps)


def _adam(chain: Chain) -> None:
    plain, copy = SEEN[t, i, j], grown(SEEN)[t, i, b, j, c]
    old, new = (t, i, j), (t, i, b, j, c)
    first = BETA_1 * FIRST[old] + (1 - BETA_1) * plain, BETA_1 * grown(FIRST)[new] + (1 - BETA_1) * copy
    _twice(chain, "Adam remembers velocities", FIRST, first)
    second = BETA_2 * SECOND[old] + (1 - BETA_2) * plain**2, BETA_2 * grown(SECOND)[new] + (1 - BETA_2) * copy**2
    _twice(chain, "and their squares,", SECOND, second)
    at, at_copy = (t + 1, i, j), (t + 1, i, b, j, c)
    steps = t if chain.planted == "stale_correction" else t + 1
    moves = adam_step(FIRST[at], SECOND[at]), adam_step(grown(FIRST)[at_copy], grown(SECOND)[at_copy], steps=steps)
    weights = (1 - ETA * DECAY) * W[old] + ETA * moves[0], (1 - ETA * DECAY) * grown(W)[new] + ETA * moves[1]
    _twice(
        chain,
        "and moves the weights by their quotient (AdamW with decay). By induction the whole trajectory, function "
        "included, is unchanged:",
        W,
        weights,
    )


def _raw_gradients(chain: Chain) -> None:
    """An optimiser that sees raw gradients: the factor of the masses goes through its state."""
    raw, share, mass = array("G"), Symbol("r", positive=True), Symbol("kappa", positive=True)
    first, second = Symbol("M", real=True), Symbol("S", positive=True)
    chain.define(
        "A raw gradient carries the masses of its two neurons,", raw[i, j], -MASS[i] * MASS_BELOW[j] * SEEN[t, i, j]
    )
    masses = grown(MASS)[i, b] * grown(MASS_BELOW)[j, c]
    chain.define("that of a copy those of two copies:", grown(raw)[i, b, j, c], -masses * grown(SEEN)[t, i, b, j, c])
    chain.step(
        "it is that of the neurons over the product of their multiplicities.",
        grown(raw)[i, b, j, c],
        raw[i, j] / (COPIES[i] * COPIES_BELOW[j]),
    )
    power = 1 if chain.planted == "linear_second_moment" else 2
    chain.step(
        "Let r be one over that product. First moments of raw gradients of copies have the factor r, second ones r^2:",
        BETA_2 * share**power * second + (1 - BETA_2) * (share * mass) ** 2,
        share**2 * (BETA_2 * second + (1 - BETA_2) * mass**2),
    )
    eps = EPS if chain.planted == "raw_epsilon" else share * EPS
    chain.step(
        "so Adam on raw gradients makes the same step, at an unchanged rate, when epsilon is multiplied by r,",
        quotient(share * first, share**2 * second, eps),
        quotient(first, second),
    )
    one = Integer(1)
    chain.differ(
        "and not otherwise: with moments 1 and epsilon 1, halving the raw gradient (r = 1/2) changes the step.",
        one / 2 / (sqrt(one / 4) + one),
        one / (sqrt(one) + one),
    )
