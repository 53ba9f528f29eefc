"""Claim `closure.gd`: gradient descent with mean-field rates is closed in the signatures of the neurons.

A weight moves by the mean outer product of two signatures. Hence its path is a sum of outer products, two pairs of
neurons with equal signatures keep the difference of their weights (the residual is frozen), the signatures obey
equations in which the weights enter through their initial values alone, and the law of the weights obeys a
continuity equation.
"""

from sympy import Expr, Integer, Sum, Symbol

from proofs.chain import Chain, argument
from proofs.notation import Activation, Partial, array, index, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "closure.gd"
ASSUMPTIONS = (
    "full-batch gradient descent with the mean-field rate: every weight has the velocity of gradient.factorizes",
    "t counts steps, T is their symbolic number; widths, data and their weights are symbols",
    "the continuity equation is along every step of descent, hence for gradient flow, against smooth test functions",
)
PLANTS = {
    "langevin_noise": "every step adds fresh noise to every weight",
    "stale_signature": "a step reads the signatures of the step before",
    "wrong_sign": "the telescoped sum has the wrong sign",
    "moving_residual": "the velocity depends on the residual of the weight",
    "lost_step": "the telescoped sum forgets the last step",
}

i, j, t, x, y = indices("i j t x y")
i2, j2 = index("i'"), index("j'")
ETA, STEPS, DATA = Symbol("eta", positive=True), width("T"), width("N")
ROWS, COLUMNS = width("n"), width("n^-")
W, KERNEL, RESIDUAL, NOISE = array("W"), array("m"), array("xi"), array("zeta")
DELTA, SIGNAL, Q, MASS, VELOCITY = array("delta"), array("a"), array("q"), array("p"), array("b")


class TestFunction(Activation):
    """A smooth test function of a weight."""

    letter, tex = "phi", r"\varphi"


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _define_step(chain)
    _telescope(chain)
    _freeze_residual(chain)
    _close(chain)
    _bound_rank(chain)
    _continuity(chain)


derive = argue.derive


def outer(time: Expr, row: Expr = i, column: Expr = j) -> Expr:
    """Return E_x[delta_i a_j] at one time."""
    return total(Q[x] * DELTA[time, row, x] * SIGNAL[time, column, x], (x, DATA))


def _path(row: Expr = i, column: Expr = j, steps: Expr = STEPS) -> Expr:
    """Return the sum of the outer products over the first steps."""
    return Sum(outer(t, row, column), (t, 0, steps - 1))


def _define_step(chain: Chain) -> None:
    chain.define(
        "A weight moves against the mean outer product of the signatures of its two neurons.",
        VELOCITY[t, i, j],
        -outer(t - 1 if chain.planted == "stale_signature" else t) + _planted_force(chain),
    )


def _planted_force(chain: Chain) -> Expr:
    forces = {"langevin_noise": NOISE[t, i, j], "moving_residual": -RESIDUAL[i, j]}
    return forces.get(chain.planted or "", Integer(0))


def _telescope(chain: Chain) -> None:
    sign = 1 if chain.planted == "wrong_sign" else -1
    last = STEPS - 1 if chain.planted == "lost_step" else STEPS
    chain.step(
        "Before the first step the sum over the steps is empty.", W[0, i, j] - ETA * _path(steps=Integer(0)), W[0, i, j]
    )
    chain.define(
        "Suppose that after T steps the weight is its start less the outer products of the steps so far.",
        W[STEPS, i, j],
        W[0, i, j] + sign * ETA * _path(steps=last),
        fixed=(STEPS,),
        why="hypothesis of the induction",
    )
    chain.step(
        "One more step of descent extends the sum by its next term: the path of every weight telescopes, "
        "at every finite width.",
        W[STEPS, i, j] + ETA * VELOCITY[STEPS, i, j],
        W[0, i, j] - ETA * _path(steps=last + 1),
    )


def _freeze_residual(chain: Chain) -> None:
    chain.define(
        "Let a second row have the same sensitivities at every step,",
        DELTA[t, i2, x],
        DELTA[t, i, x],
        fixed=(i2,),
        why="hypothesis",
    )
    chain.define(
        "and a second column the same signals.", SIGNAL[t, j2, x], SIGNAL[t, j, x], fixed=(j2,), why="hypothesis"
    )
    chain.step(
        "Two pairs with equal signatures keep the difference of their weights.",
        W[STEPS, i2, j2] - W[STEPS, i, j],
        W[0, i2, j2] - W[0, i, j],
    )
    chain.define(
        "Start from a row-column array: mean kernel and residual.", W[0, i, j], KERNEL[0, i, j] + RESIDUAL[i, j]
    )
    chain.define(
        "Move the mean kernel by the signatures alone.",
        KERNEL[STEPS, i, j],
        KERNEL[0, i, j] - ETA * _path(),
        fixed=(STEPS,),
    )
    chain.step("The residual is frozen.", W[STEPS, i, j] - KERNEL[STEPS, i, j], RESIDUAL[i, j])


def _close(chain: Chain) -> None:
    """Signatures at step T from signatures before it: the weights enter through their start alone."""
    gram, echo = array("Gamma"), array("Delta")
    chain.define(
        "Correlate the signals of two steps over the neurons of the layer below,",
        gram[t, y, x],
        total(MASS[j] * SIGNAL[t, j, y] * SIGNAL[STEPS, j, x], (j, COLUMNS)),
    )
    chain.define(
        "and the sensitivities over the neurons of the layer itself.",
        echo[t, y, x],
        total(MASS[i] * DELTA[t, i, y] * DELTA[STEPS, i, x], (i, ROWS)),
    )
    chain.step(
        "What a row reads at step T: its start, and its own past sensitivities weighted by the signal correlations.",
        total(MASS[j] * W[STEPS, i, j] * SIGNAL[STEPS, j, x], (j, COLUMNS)),
        total(MASS[j] * W[0, i, j] * SIGNAL[STEPS, j, x], (j, COLUMNS))
        - ETA * Sum(total(Q[y] * DELTA[t, i, y] * gram[t, y, x], (y, DATA)), (t, 0, STEPS - 1)),
    )
    chain.step(
        "What a column hears at step T, likewise: the signatures and the start of the weights close the dynamics.",
        total(MASS[i] * W[STEPS, i, j] * DELTA[STEPS, i, x], (i, ROWS)),
        total(MASS[i] * W[0, i, j] * DELTA[STEPS, i, x], (i, ROWS))
        - ETA * Sum(total(Q[y] * SIGNAL[t, j, y] * echo[t, y, x], (y, DATA)), (t, 0, STEPS - 1)),
    )


def _bound_rank(chain: Chain) -> None:
    left, right = array("A"), array("B")
    chain.define(
        "Collect the sensitivities of all steps and data in one matrix,", left[i, t, x], -ETA * Q[x] * DELTA[t, i, x]
    )
    chain.define("and the signals in another.", right[t, x, j], SIGNAL[t, j, x])
    pairs = ((x, 1, DATA), (t, 0, STEPS - 1))
    chain.step(
        "The change of the weights is the product of the two, through an inner axis of steps and data;",
        W[STEPS, i, j] - W[0, i, j],
        Sum(left[i, t, x] * right[t, x, j], *pairs),
    )
    chain.step(
        "that axis has T N entries, so the rank of the change is at most T N.", Sum(Integer(1), *pairs), STEPS * DATA
    )


def _continuity(chain: Chain) -> None:
    time, test = Symbol("s", real=True), array("g")
    moved = W[t, i, j] + time * VELOCITY[t, i, j]
    chain.step(
        "Along a step, at every time s, the law of (weight, row, column) is transported by the velocity: this is its "
        "weak continuity equation, against test functions g(z, z') phi(w), whose sums are dense.",
        Partial(total(MASS[i] * MASS[j] * test[i, j] * TestFunction(moved), (i, ROWS), (j, COLUMNS)), time),
        total(MASS[i] * MASS[j] * test[i, j] * TestFunction(moved, 1) * VELOCITY[t, i, j], (i, ROWS), (j, COLUMNS)),
    )
