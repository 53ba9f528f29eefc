"""Claim `closure.momentum`: gradient descent with momentum, heavy ball or Nesterov, is closed in the signatures.

Momentum remembers gradients with weights that depend on the steps alone, and every gradient is an outer product of
signatures: the path of a weight is the one of gradient descent with other coefficients in time.
"""

from sympy import Expr, Integer, Symbol

from proofs.chain import Chain, argument
from proofs.notation import array
from proofs.optimisers import (
    COMMON_ASSUMPTIONS,
    ETA,
    GRADIENT,
    NOISE_PLANT,
    START,
    STEPS,
    W,
    define_gradient,
    define_path,
    e,
    history,
    i,
    j,
    rank,
    reads,
    residual,
    s,
    solve_moment,
    t,
    twins,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.momentum"
ASSUMPTIONS = (
    *COMMON_ASSUMPTIONS,
    "the buffer starts at zero and takes the gradient with weight one (dampening 0); 0 < beta, beta not 1",
)
PLANTS = NOISE_PLANT | {
    "wrong_weight": "the first gradient is remembered with one power of beta too few",
    "lost_step": "the path forgets the last step",
    "dampened": "the step uses (1 - beta) times the buffer, the closed form does not",
}

BETA, BUFFER, NESTEROV = Symbol("beta", positive=True), array("u"), array("W^N")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    define_gradient(chain)
    moment = {"entry": BUFFER[t, i, j], "rate": BETA, "gain": Integer(1), "body": GRADIENT[s, i, j]}
    solve_moment(chain, "The buffer remembers all gradients, older ones less.", moment)
    _heavy_ball(chain)
    _nesterov(chain)
    twins(chain, sentence="Two pairs of neurons with equal signatures keep the difference of their weights.")
    residual(chain, sentence="The residual is frozen.")
    reads(chain, coefficient(STEPS))
    rank(chain, coefficient(STEPS))


derive = argue.derive


def coefficient(time: Expr) -> Expr:
    """Return what the gradient of step s weighs in the weights after `time` steps."""
    return (1 - BETA ** (time - s)) / (1 - BETA)


def _heavy_ball(chain: Chain) -> None:
    weight = coefficient(t + 1) if chain.planted == "wrong_weight" else coefficient(t)
    steps = t - 1 if chain.planted == "lost_step" else t
    define_path(
        chain,
        ETA * history(weight, GRADIENT[s, i, j], steps),
        "A gradient acts in every later step, with a geometric series of weights: its sum is the weight of that "
        "gradient in the path.",
    )
    gain = 1 - BETA if chain.planted == "dampened" else Integer(1)
    chain.step(
        "and every step adds the buffer: this is the path of every weight, at every finite width.",
        W[STEPS + 1, i, j, e],
        W[STEPS, i, j, e] - ETA * gain * BUFFER[STEPS + 1, i, j],
    )


def _nesterov(chain: Chain) -> None:
    chain.define(
        "Nesterov's variant looks one step ahead: it weighs the gradients otherwise,",
        NESTEROV[t, i, j, e],
        START[i, j, e] - ETA * history(1 + BETA * coefficient(t), GRADIENT[s, i, j], t),
    )
    chain.step(
        "and solves its own recursion, again with coefficients of the steps alone.",
        NESTEROV[STEPS + 1, i, j, e],
        NESTEROV[STEPS, i, j, e] - ETA * (GRADIENT[STEPS, i, j] + BETA * BUFFER[STEPS + 1, i, j]),
    )
