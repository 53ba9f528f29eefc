"""Claim `closure.clipping`: with clipping by the global norm the dynamics are closed, given one common scalar.

The norm is a sum over all weights of all layers. In the metric of the masses it is a function of the signatures'
correlations between data, free of the width; every weight is scaled by one and the same function of it.
"""

from sympy import Integer, Min

from proofs.chain import Chain, argument
from proofs.notation import Dependence, array, total
from proofs.optimisers import (
    COLUMNS,
    COMMON_ASSUMPTIONS,
    DATA,
    DELTA,
    ETA,
    GRADIENT,
    MASS,
    MASS_BELOW,
    NOISE_PLANT,
    ROWS,
    SIGNAL,
    START,
    STEPS,
    Q,
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
    t,
    twins,
    x,
    y,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.clipping"
ASSUMPTIONS = (
    *COMMON_ASSUMPTIONS,
    "the scale is any function of the global norm, min(1, C / norm) for clipping",
    "the norm is taken in the metric of the masses; the raw norm of autograd weighs a layer with uniform masses by "
    "kappa = p p^-, so that a threshold on it must shrink with the width",
)
PLANTS = NOISE_PLANT | {
    "weights_in_norm": "the norm is taken of gradient plus weight",
    "own_scale": "every weight is scaled by its own gradient, as entrywise clipping does",
    "lost_masses": "the norm sums the rows without their masses, the correlations have them",
    "raw_norm": "the raw norm is taken to weigh a layer by kappa squared",
    "unscaled": "the path forgets the scale",
}

PART, OTHERS, SCALE, RAW = array("P"), array("P'"), array("c"), array("G")


class Scale(Dependence):
    """The common scale, a function of the squared global norm."""

    letter, tex = "C", r"\mathcal{C}"


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _not_linear(chain)
    define_gradient(chain)
    _norm(chain)
    _solve(chain)
    sentence = "Two pairs of neurons with equal signatures are scaled alike: they keep the difference of their weights."
    twins(chain, sentence=sentence)
    residual(chain, sentence="The residual is frozen.")
    reads(chain, SCALE[s])
    rank(chain, SCALE[s])
    _raw_norm(chain)


derive = argue.derive


def _not_linear(chain: Chain) -> None:
    one, two = Integer(1), Integer(2)
    chain.differ(
        "Not linear by itself: clipped at norm 1, the gradient 2 makes the step of the gradient 1, not twice that.",
        two * Min(1, 1 / two),
        2 * one * Min(1, 1 / one),
    )


def _norm(chain: Chain) -> None:
    rows, columns = array("Delta"), array("Lambda")
    weight = Integer(1) if chain.planted == "lost_masses" else MASS[i]
    entry = GRADIENT[t, i, j] + (START[i, j, e] if chain.planted == "weights_in_norm" else 0)
    chain.define(
        "One layer's part of the squared norm, in the metric of the masses.",
        PART[t],
        total(weight * MASS_BELOW[j] * entry**2, (i, ROWS), (j, COLUMNS)),
    )
    chain.define(
        "Correlate the sensitivities to two data over the rows,",
        rows[t, x, y],
        total(MASS[i] * DELTA[t, i, x] * DELTA[t, i, y], (i, ROWS)),
    )
    chain.define(
        "and the signals over the columns.",
        columns[t, x, y],
        total(MASS_BELOW[j] * SIGNAL[t, j, x] * SIGNAL[t, j, y], (j, COLUMNS)),
    )
    chain.step(
        "The norm is closed in these Gram matrices of signatures: no weight enters, and no width.",
        PART[t],
        total(Q[x] * Q[y] * rows[t, x, y] * columns[t, x, y], (x, DATA), (y, DATA)),
    )


def _solve(chain: Chain) -> None:
    chain.define(
        "All layers together, P' being the part of the others, give one scale for the whole step.",
        SCALE[t],
        Scale(OTHERS[t] + PART[t]),
    )
    factor = Integer(1) if chain.planted == "unscaled" else SCALE[s]
    define_path(
        chain,
        ETA * history(factor, GRADIENT[s, i, j], t),
        "A weight is its start less the outer products of the steps so far, each with its scale.",
    )
    scale = Scale(GRADIENT[STEPS, i, j] ** 2) if chain.planted == "own_scale" else SCALE[STEPS]
    chain.step(
        "Every step subtracts the scaled gradient: given the scales this is gradient descent with a rate that "
        "changes in time, at every finite width.",
        W[STEPS + 1, i, j, e],
        W[STEPS, i, j, e] - ETA * scale * GRADIENT[STEPS, i, j],
    )


def _raw_norm(chain: Chain) -> None:
    chain.define("With uniform masses on the rows", MASS[i], 1 / ROWS)
    chain.define("and the columns", MASS_BELOW[j], 1 / COLUMNS)
    chain.define("the raw gradient of this layer", RAW[t, i, j], MASS[i] * MASS_BELOW[j] * GRADIENT[t, i, j])
    power = 2 if chain.planted == "raw_norm" else 1
    chain.step(
        "has the squared raw norm kappa times this part, kappa = 1/(n n^-): layers have different powers of the width, "
        "and a fixed threshold on the raw norm clips no wide network.",
        total(RAW[t, i, j] ** 2, (i, ROWS), (j, COLUMNS)),
        (1 / (ROWS * COLUMNS)) ** power * PART[t],
    )
