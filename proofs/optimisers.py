"""What the closures share: the factorised gradient, closed forms that solve a recursion, and the fate of the residual.

An optimiser is given by its recursion. A closure states the solution of that recursion in closed form, for every
step t, and checks its start and its step: the solution of a recursion is unique, so this is induction. Weights carry
an index e for the values that the residual may take at one pair of neurons; the finite network has one of them.
"""

from collections.abc import Mapping

from sympy import Expr, Integer, Sum, Symbol

from proofs.chain import Chain
from proofs.notation import array, index, indices, total, width

i, j, t, s, x, y, e = indices("i j t s x y e")
i2, j2 = index("i'"), index("j'")
ETA, ONE = Symbol("eta", positive=True), Integer(1)
STEPS = Symbol("T", integer=True, nonnegative=True)  # from 0 on: recursions are checked for the first step, too
DATA, ROWS, COLUMNS, VALUES = width("N"), width("n"), width("n^-"), width("E")
W, START, GRADIENT, STEP = array("W"), array("W^0"), array("g"), array("S")
DELTA, SIGNAL, Q, MASS, MASS_BELOW = array("delta"), array("a"), array("q"), array("p"), array("p^-")
KERNEL, RESIDUAL, NOISE = array("m"), array("r"), array("zeta")

COMMON_ASSUMPTIONS = (
    "mean-field rate: the gradient of a weight is divided by the masses of its two neurons (gradient.factorizes)",
    "T steps, widths, data and their weights are symbols; the statement is exact at every finite width",
)
NOISE_PLANT = {"fresh_noise": "every step adds fresh noise to every weight: the residual is not what is claimed"}


def outer(time: Expr, row: Expr = i, column: Expr = j) -> Expr:
    """Return E_x[delta_i a_j] at one time."""
    return total(Q[x] * DELTA[time, row, x] * SIGNAL[time, column, x], (x, DATA))


def define_gradient(chain: Chain) -> None:
    """Define the gradient over the masses: a mean outer product of the signatures of the two neurons."""
    chain.define(
        "The gradient over the masses is the mean outer product of the signatures of the two neurons.",
        GRADIENT[t, i, j],
        outer(t),
        why="claim gradient.factorizes",
    )


def history(weight: Expr, body: Expr, steps: Expr) -> Sum:
    """Return the sum over the steps s = 0 .. steps - 1 of weight times body, both functions of s."""
    return Sum(weight * body, (s, 0, steps - 1))


def geometric(rate: Expr, body: Expr, steps: Expr = t) -> Sum:
    """Return the geometric memory sum_s rate^(steps - 1 - s) body_s."""
    return history(rate ** (steps - 1 - s), body, steps)


def solve_moment(chain: Chain, sentence: str, moment: Mapping[str, Expr]) -> None:
    """Define the moment with the decay `rate` and the gain `gain` of the entry `body`, and check its recursion.

    Args:
        chain: the argument.
        sentence: what the moment is.
        moment: `array` (an entry at time t), `rate`, `gain`, `body` (an entry at time s).
    """
    left, rate, gain, body = (moment[name] for name in ("entry", "rate", "gain", "body"))
    chain.define(sentence, left, gain * geometric(rate, body))
    chain.step("Its start is zero,", left.xreplace({t: Integer(0)}), Integer(0))
    chain.step(
        "and it solves the recursion of the optimiser.",
        left.xreplace({t: STEPS + 1}),
        rate * left.xreplace({t: STEPS}) + gain * body.xreplace({s: STEPS}),
    )


def define_path(chain: Chain, path: Expr, sentence: str, factor: Expr = ONE) -> None:
    """Define W[t] = factor^t W[0] - path[t], with the planted noise where it is planted, and check the start."""
    noise = history(Integer(1), NOISE[s, i, j, e], t) if chain.planted == "fresh_noise" else Integer(0)
    chain.define(sentence, W[t, i, j, e], factor**t * START[i, j, e] - path + noise)
    chain.step("It starts where it should,", W[0, i, j, e], START[i, j, e])


def twins(chain: Chain, *, factor: Expr = ONE, sentence: str) -> None:
    """Show that pairs of neurons with equal signatures keep the difference of their weights, up to `factor`^T."""
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
        sentence,
        W[STEPS, i2, j2, e] - W[STEPS, i, j, e],
        factor**STEPS * (START[i2, j2, e] - START[i, j, e]),
    )


def residual(chain: Chain, *, factor: Expr = ONE, sentence: str) -> None:
    """Show the fate of the residual, the weight less its mean over e, as `factor`^T times its start."""
    chain.define(
        "The mean kernel is the mean of the weight over the values e of the residual;",
        KERNEL[t, i, j],
        total(W[t, i, j, e], (e, VALUES)) / VALUES,
    )
    chain.define(
        "the residual is what the weight has beyond it.", RESIDUAL[t, i, j, e], W[t, i, j, e] - KERNEL[t, i, j]
    )
    chain.step(sentence, RESIDUAL[STEPS, i, j, e], factor**STEPS * RESIDUAL[0, i, j, e])


def reads(chain: Chain, coefficient: Expr, factor: Expr = ONE) -> None:
    """Show that what a row reads closes: only the start and correlations of signals enter.

    Args:
        chain: the argument.
        coefficient: c(T, s), what the outer product of step s weighs at step T.
        factor: what a step leaves of the start.
    """
    gram = array("Gamma")
    chain.define(
        "Correlate the signals of two steps over the neurons of the layer below.",
        gram[s, y, x],
        total(MASS_BELOW[j] * SIGNAL[s, j, y] * SIGNAL[STEPS, j, x], (j, COLUMNS)),
    )
    own = total(Q[y] * DELTA[s, i, y] * gram[s, y, x], (y, DATA))
    chain.step(
        "What a row reads at step T: its start, and its own past sensitivities weighted by these correlations. "
        "A column hears in the same way: the signatures and the start of the weights close the dynamics.",
        total(MASS_BELOW[j] * W[STEPS, i, j, e] * SIGNAL[STEPS, j, x], (j, COLUMNS)),
        factor**STEPS * total(MASS_BELOW[j] * START[i, j, e] * SIGNAL[STEPS, j, x], (j, COLUMNS))
        - ETA * history(coefficient, own, STEPS),
    )


def rank(chain: Chain, coefficient: Expr, factor: Expr = ONE) -> None:
    """Show that the change is a product of two matrices through an axis of steps and data."""
    left, right = array("A"), array("B")
    chain.define(
        "Collect the weighted sensitivities of all steps and data in one matrix,",
        left[i, s, x],
        -ETA * coefficient * Q[x] * DELTA[s, i, x],
    )
    chain.define("and the signals in another.", right[s, x, j], SIGNAL[s, j, x])
    pairs = ((x, 1, DATA), (s, 0, STEPS - 1))
    chain.step(
        "Linear in the factorised gradient: the increment is the product of the two, of rank at most data x steps.",
        W[STEPS, i, j, e] - factor**STEPS * START[i, j, e],
        Sum(left[i, s, x] * right[s, x, j], *pairs),
    )
