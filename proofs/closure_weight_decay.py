"""Claim `closure.weight-decay`: weight decay shrinks the start and the residual, and leaves the closure linear.

Every step multiplies the weight by rho = 1 - eta lambda before it adds an outer product of signatures. The residual
is multiplied and nothing else: rho^T after T steps, e^(-lambda s) after the time s in the limit of small steps.
"""

from sympy import Limit, Symbol, exp, oo

from proofs.chain import Chain, argument
from proofs.notation import Partial
from proofs.optimisers import (
    COMMON_ASSUMPTIONS,
    ETA,
    GRADIENT,
    NOISE_PLANT,
    STEPS,
    W,
    define_gradient,
    define_path,
    e,
    geometric,
    i,
    j,
    rank,
    reads,
    residual,
    s,
    twins,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.weight-decay"
ASSUMPTIONS = (
    *COMMON_ASSUMPTIONS,
    "the decay eta lambda is the same for every weight of the matrix and free of the width: it is not divided by "
    "masses",
    "0 < eta lambda < 1; for plain gradient descent decoupled decay and an L2 penalty are the same step",
)
PLANTS = NOISE_PLANT | {
    "frozen_residual": "the residual is taken to be frozen",
    "undecayed_gradients": "past gradients are not decayed",
    "growing": "decay adds the weight instead of subtracting it",
    "wrong_time": "the residual decays with e^(-2 lambda s)",
}

RHO, LAMBDA = Symbol("rho", positive=True), Symbol("lambda", positive=True)


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    define_gradient(chain)
    _flow(chain)
    define_decay(chain)
    _solve(chain)
    sentence = "Two pairs of neurons with equal signatures forget the difference of their weights at one rate."
    twins(chain, factor=RHO, sentence=sentence)
    residual(chain, factor=1 if chain.planted == "frozen_residual" else RHO, sentence="The residual decays with rho^T.")
    reads(chain, RHO ** (STEPS - 1 - s), RHO)
    rank(chain, RHO ** (STEPS - 1 - s), RHO)


derive = argue.derive


def define_decay(chain: Chain) -> None:
    """Define lambda through the factor rho that a step leaves of a weight."""
    chain.define(
        "Write rho for the factor 1 - eta lambda that a step of decay leaves of a weight.", LAMBDA, (1 - RHO) / ETA
    )


def _solve(chain: Chain) -> None:
    rate = RHO**0 if chain.planted == "undecayed_gradients" else RHO
    define_path(
        chain,
        ETA * geometric(rate, GRADIENT[s, i, j]),
        "A weight is what decay left of its start and of the outer products of the steps so far.",
        RHO,
    )
    sign = -1 if chain.planted == "growing" else 1
    chain.step(
        "Every step adds gradient and penalty: this is the path of every weight, at every finite width.",
        W[STEPS + 1, i, j, e],
        W[STEPS, i, j, e] - ETA * (GRADIENT[STEPS, i, j] + sign * LAMBDA * W[STEPS, i, j, e]),
    )


def _flow(chain: Chain) -> None:
    """Small steps: what is left of a residual r after the time s, as a limit and as the solution of the flow."""
    time, start, left = Symbol("s", positive=True), Symbol("r_0", positive=True), Symbol("r")
    rate = 2 * LAMBDA if chain.planted == "wrong_time" else LAMBDA
    chain.define("In continuous time let a residual decay as", left, start * exp(-rate * time))
    chain.step("It solves the flow of the penalty.", Partial(left, time), -LAMBDA * left)
    chain.step(
        "Steps of size s/T leave the factor rho = 1 - lambda s/T each; T of them leave in the limit what the flow "
        "leaves in the time s.",
        start * Limit((1 - LAMBDA * time / STEPS) ** STEPS, STEPS, oo),
        left,
        method="limit of a power",
    )
