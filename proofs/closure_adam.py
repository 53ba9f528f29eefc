"""Claim `closure.adam`: Adam and AdamW are closed in the histories of the signatures, but not linear in them.

Both moments remember entries of the factorised gradient; the step divides them entry by entry. It is a function of
two signature histories, the same for all weights: nothing else of a weight enters. With a penalty in the loss instead
of decoupled decay the weight itself enters, and that closure fails.
"""

from sympy import Expr, Integer, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.closure_weight_decay import LAMBDA, RHO, define_decay
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
    i,
    j,
    residual,
    s,
    solve_moment,
    t,
    twins,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.adam"
ASSUMPTIONS = (
    *COMMON_ASSUMPTIONS,
    "decay is decoupled (AdamW; Adam is rho = 1): with an L2 penalty in the gradient the increment depends on the "
    "weight",
    "epsilon is scaled like the gradient: fed with the raw gradient kappa g, Adam needs epsilon kappa, and then no "
    "mean-field rate",
)
PLANTS = NOISE_PLANT | {
    "no_correction": "the raw gradient meets an epsilon that is not scaled with it",
    "squared_mean": "the second moment remembers gradients instead of their squares",
    "coupled_decay": "the penalty enters the gradient of the step, the path has it decoupled",
    "frozen_residual": "AdamW is taken to freeze the residual",
}

BETA, BETA_2, EPS = (Symbol(name, positive=True) for name in ("beta_1", "beta_2", "epsilon"))
FIRST, SECOND = array("M"), array("V")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _scale(chain)
    _counterexamples(chain)
    _path(chain)
    define_gradient(chain)
    _moments(chain)
    twins(
        chain,
        factor=RHO,
        sentence="Two pairs of neurons with equal signature histories make equal steps: the step is a function of the "
        "two histories. Only decay touches the difference of their weights.",
    )


derive = argue.derive


def quotient(first: Expr, second: Expr, eps: Expr = EPS) -> Expr:
    """Return the step from corrected moments: entry by entry, a function of the two."""
    return first / (sqrt(second) + eps)


def _moments(chain: Chain) -> None:
    square = GRADIENT[s, i, j] ** (1 if chain.planted == "squared_mean" else 2)
    first = {"entry": FIRST[t, i, j], "rate": BETA, "gain": 1 - BETA, "body": GRADIENT[s, i, j]}
    second = {"entry": SECOND[t, i, j], "rate": BETA_2, "gain": 1 - BETA_2, "body": square}
    solve_moment(chain, "The first moment remembers the gradients of the entry,", first)
    solve_moment(chain, "the second moment their squares.", second)
    chain.step(
        "Corrected for their start, the moments after one step are the gradient",
        FIRST[1, i, j] / (1 - BETA),
        GRADIENT[0, i, j],
    )
    chain.step("and its square.", SECOND[1, i, j] / (1 - BETA_2), GRADIENT[0, i, j] ** 2)
    chain.define(
        "The step S of Adam divides the corrected moments, entry by entry.",
        STEP[t, i, j],
        quotient(FIRST[t + 1, i, j] / (1 - BETA ** (t + 1)), SECOND[t + 1, i, j] / (1 - BETA_2 ** (t + 1))),
    )


def _path(chain: Chain) -> None:
    """Decoupled decay of a weight that takes any steps S, functions of its two neurons."""
    define_path(
        chain,
        ETA * geometric(RHO, STEP[s, i, j]),
        "A weight takes steps S that its two neurons determine: it is what decay left of its start and of these steps.",
        RHO,
    )
    residual(
        chain,
        factor=Integer(1) if chain.planted == "frozen_residual" else RHO,
        sentence="Whatever the steps, the residual decays with rho^T under AdamW, and is frozen under Adam, rho = 1.",
    )
    define_decay(chain)
    decayed = LAMBDA * (STEP[STEPS, i, j] if chain.planted == "coupled_decay" else W[STEPS, i, j, e])
    chain.step(
        "Every step subtracts S and the decoupled decay: this is the path of every weight, at every width.",
        W[STEPS + 1, i, j, e],
        W[STEPS, i, j, e] - ETA * STEP[STEPS, i, j] - ETA * decayed,
    )


def _scale(chain: Chain) -> None:
    """Raw gradient kappa g: moments are homogeneous of degrees one and two, so the quotient is blind to kappa."""
    first, second, kappa = Symbol("M", real=True), Symbol("V", positive=True), Symbol("kappa", positive=True)
    eps = EPS if chain.planted == "no_correction" else kappa * EPS
    raw, plain = array("G"), array("g")
    chain.define("Let the optimiser see the raw gradient, kappa times the width-free one.", raw[s], kappa * plain[s])
    chain.step(
        "Its first moment has the factor kappa,",
        geometric(BETA, raw[s], STEPS),
        kappa * geometric(BETA, plain[s], STEPS),
    )
    chain.step(
        "its second moment kappa squared,",
        geometric(BETA_2, raw[s] ** 2, STEPS),
        kappa**2 * geometric(BETA_2, plain[s] ** 2, STEPS),
    )
    chain.step(
        "and the step does not see it, as long as epsilon is scaled too: entrywise normalisation replaces the "
        "mean-field rate.",
        quotient(kappa * first, kappa**2 * second, eps),
        quotient(first, second),
    )


def _counterexamples(chain: Chain) -> None:
    one = Integer(1)

    def first_step(gradient: Expr) -> Expr:
        return quotient(gradient, gradient**2, one)

    chain.differ(
        "Not linear: with epsilon = 1 the first step for the gradient 2 is not twice the first step for 1.",
        first_step(2 * one),
        2 * first_step(one),
    )
    rows, columns = (one, 2 * one), (one, 2 * one)
    steps = [[first_step(row * column) for column in columns] for row in rows]
    chain.differ(
        "Not of low rank: from one datum, with sensitivities (1, 2) and signals (1, 2), the gradient has rank one and "
        "the step rank two, for its determinant is not zero.",
        steps[0][0] * steps[1][1] - steps[0][1] * steps[1][0],
        Integer(0),
    )
    chain.differ(
        "Not closed with an L2 penalty: equal gradients 1, lambda = 1 and weights 1 and 2 make different first steps, "
        "so the residual enters its own increment.",
        first_step(one + 1),
        first_step(one + 2),
    )
