"""Claim `closure.rmsprop`: RMSProp is closed in the histories of the signatures, but not linear in them.

The mean square remembers squares of the factorised gradient, entry by entry; the step divides by its root. Two pairs
of neurons with equal signature histories make equal steps, whatever their weights.
"""

from sympy import Integer, Symbol

from proofs.chain import Chain, argument
from proofs.closure_adam import EPS, quotient
from proofs.notation import array
from proofs.optimisers import (
    COMMON_ASSUMPTIONS,
    ETA,
    GRADIENT,
    NOISE_PLANT,
    STEP,
    STEPS,
    W,
    define_gradient,
    define_path,
    e,
    geometric,
    history,
    i,
    j,
    residual,
    s,
    solve_moment,
    t,
    twins,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.rmsprop"
ASSUMPTIONS = (
    *COMMON_ASSUMPTIONS,
    "plain RMSProp: no momentum, not centred, the mean square starts at zero and is not corrected for it",
    "epsilon is scaled like the gradient: fed with the raw gradient kappa g it must be epsilon kappa",
)
PLANTS = NOISE_PLANT | {
    "corrected": "the mean square after the first step is taken to be the square of the gradient",
    "stale_square": "the step divides by the mean square of the step before",
    "fixed_epsilon": "the raw gradient meets an epsilon that is not scaled with it",
}

ALPHA, SQUARE = Symbol("alpha", positive=True), array("V")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _scale(chain)
    define_gradient(chain)
    square = {"entry": SQUARE[t, i, j], "rate": ALPHA, "gain": 1 - ALPHA, "body": GRADIENT[s, i, j] ** 2}
    solve_moment(chain, "The mean square remembers the squares of the gradient of the entry.", square)
    gain = 1 if chain.planted == "corrected" else 1 - ALPHA
    chain.step(
        "After the first step it is a share of one square: the first step is larger than those of Adam by "
        "(1 - alpha)^(-1/2).",
        SQUARE[1, i, j],
        gain * GRADIENT[0, i, j] ** 2,
    )
    _solve(chain)
    twins(
        chain,
        sentence="Two pairs of neurons with equal signature histories make equal steps: the step is a function of the "
        "two histories, and the difference of their weights stays.",
    )
    residual(chain, sentence="The residual is frozen.")
    _not_linear(chain)


derive = argue.derive


def _solve(chain: Chain) -> None:
    seen = t if chain.planted == "stale_square" else t + 1
    chain.define(
        "The step divides the gradient by the root mean square, which has already seen it.",
        STEP[t, i, j],
        quotient(GRADIENT[t, i, j], SQUARE[seen, i, j]),
    )
    define_path(
        chain, ETA * history(Integer(1), STEP[s, i, j], t), "A weight is its start less the sum of the steps so far."
    )
    chain.step(
        "Every step divides by the mean square that the recursion has just given: this is the path of every weight, "
        "at every finite width.",
        W[STEPS + 1, i, j, e],
        W[STEPS, i, j, e] - ETA * quotient(GRADIENT[STEPS, i, j], SQUARE[STEPS + 1, i, j]),
    )


def _scale(chain: Chain) -> None:
    kappa, gradient, square = Symbol("kappa", positive=True), Symbol("g", real=True), Symbol("V", positive=True)
    raw, plain = array("G"), array("g")
    chain.define("Let the optimiser see the raw gradient, kappa times the width-free one.", raw[s], kappa * plain[s])
    chain.step(
        "Its mean square has the factor kappa squared,",
        geometric(ALPHA, raw[s] ** 2, STEPS),
        kappa**2 * geometric(ALPHA, plain[s] ** 2, STEPS),
    )
    chain.step(
        "so that the step does not see it, as long as epsilon is scaled too.",
        quotient(kappa * gradient, kappa**2 * square, EPS if chain.planted == "fixed_epsilon" else kappa * EPS),
        quotient(gradient, square),
    )


def _not_linear(chain: Chain) -> None:
    quarter = Integer(1) / 4

    def first_step(gradient: int) -> Integer:
        return quotient(Integer(gradient), quarter * gradient**2, Integer(1))

    chain.differ(
        "Not linear: with alpha = 3/4 and epsilon = 1 the first step for the gradient 2 is not twice that for 1.",
        first_step(2),
        2 * first_step(1),
    )
    chain.differ(
        "Not of low rank: from one datum, with sensitivities (1, 2) and signals (1, 2), the gradient has rank one, "
        "and the determinant of the step is not zero.",
        first_step(1) * first_step(4) - first_step(2) ** 2,
        Integer(0),
    )
