"""Claim `closure.sign`: sign descent, of the gradient or of its momentum, is closed in the histories of signatures.

Every weight moves by eta, up or down, as the sign of a memory of the factorised gradient says. The sign does not see
positive factors: no mean-field rate is needed. It is neither linear nor of low rank.
"""

from sympy import Integer, Matrix, Symbol, sign

from proofs.chain import Chain, argument
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

CLAIM = "closure.sign"
ASSUMPTIONS = (
    *COMMON_ASSUMPTIONS,
    "sign(0) = 0; the closure is exact at every finite width, but the sign jumps at 0: a limit of growing width needs "
    "laws of signatures that give the zeros of the memory no mass",
)
PLANTS = NOISE_PLANT | {
    "ascent": "the weight follows the sign uphill",
    "signed_scale": "a negative factor of the gradient is taken to be invisible too",
    "stale_memory": "the step reads the memory of the step before",
}

BETA, BUFFER = Symbol("beta", positive=True), array("u")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _counterexamples(chain)
    define_gradient(chain)
    _scale(chain)
    moment = {"entry": BUFFER[t, i, j], "rate": BETA, "gain": Integer(1), "body": GRADIENT[s, i, j]}
    solve_moment(chain, "A buffer remembers gradients, as momentum does (beta -> 0: only the last one).", moment)
    chain.step("At the first step it is the gradient.", BUFFER[1, i, j], GRADIENT[0, i, j])
    _solve(chain)
    twins(
        chain,
        sentence="Two pairs of neurons with equal signature histories have equal signs at every step, and keep the "
        "difference of their weights.",
    )
    residual(chain, sentence="The residual is frozen.")


derive = argue.derive


def _scale(chain: Chain) -> None:
    factor = -1 if chain.planted == "signed_scale" else 1
    kappa = factor * Symbol("kappa", positive=True)
    chain.step(
        "The sign of the raw gradient, kappa > 0 times the width-free one, is the sign of the latter: no learning "
        "rate has to know the width.",
        sign(kappa * GRADIENT[t, i, j], evaluate=False),
        sign(GRADIENT[t, i, j]),
    )


def _solve(chain: Chain) -> None:
    seen = t if chain.planted == "stale_memory" else t + 1
    chain.define("The step is the sign of the memory, entry by entry.", STEP[t, i, j], sign(BUFFER[seen, i, j]))
    define_path(
        chain,
        ETA * history(Integer(1), STEP[s, i, j], t),
        "A weight is its start less eta times the signs so far, ups less downs.",
    )
    direction = -1 if chain.planted == "ascent" else 1
    memory = BETA * BUFFER[STEPS, i, j] + GRADIENT[STEPS, i, j]
    chain.step(
        "Every step follows the sign of the memory as its recursion gives it: this is the path of every weight, at "
        "every finite width.",
        W[STEPS + 1, i, j, e],
        W[STEPS, i, j, e] - ETA * direction * sign(memory),
    )


def _counterexamples(chain: Chain) -> None:
    one = Integer(1)
    chain.differ("Not linear: 1 and 1 add up to 2, their signs do not add up.", sign(one + one), sign(one) + sign(one))
    rows, columns = Matrix([[1, 0], [1, -1], [0, -1]]), Matrix([[3, 1], [1, 2], [1, -1]])
    gradient = rows * columns.T
    chain.step(
        "Not of low rank: three neurons on each side, two data; the gradient has rank two, its determinant is zero,",
        gradient.det(),
        Integer(0),
    )
    chain.differ("and the determinant of its signs is not.", gradient.applyfunc(sign).det(), Integer(0))
