"""Claim `closure.continuity-equation`: the law of (weight, row, column) solves a closed weak continuity equation.

The row-column measure of a layer puts the mass p_i p_j / E on (w_ije, z_i, z_j). What neurons read and hear is an
integral of its mean kernel, so the velocity of a weight is a function of the measures; a test function is then
transported by that velocity. The mean kernel moves with it, and the law of the residual stays.
"""

from sympy import Expr, Integer, Symbol

from proofs.chain import Chain, argument
from proofs.notation import Activation, Dependence, DependenceSlope, Partial, array, index, total, width
from proofs.optimisers import (
    COLUMNS,
    DATA,
    DELTA,
    KERNEL,
    MASS,
    MASS_BELOW,
    ROWS,
    SIGNAL,
    VALUES,
    Q,
    W,
    e,
    i,
    j,
    x,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.continuity-equation"
ASSUMPTIONS = (
    "gradient flow with mean-field rates; the time s runs from an arbitrary moment, where the weights have the stated "
    "velocity, and derivatives are taken there: first order in s is exact",
    "test functions are differentiable in the weight",
    "masses of rows and columns are symbols and E values of the residual have equal masses: sums are the integrals of "
    "a discrete measure, empirical or quadrature; existence and uniqueness of a limit are not claimed",
)
PLANTS = {
    "residual_in_velocity": "the velocity of a weight depends on its residual",
    "wrong_sign": "mass is transported against the velocity",
    "lost_mass": "the right-hand side forgets the masses of the columns",
    "captured_index": "the velocity is taken out of the sum over its own neurons",
    "decay_forgotten": "the drift of weight decay is left out of the equation",
}

Z, Z_BELOW, VELOCITY, FORCE = array("z"), array("z^-"), array("b"), array("F")
TIME, LAMBDA, k = Symbol("s", real=True), Symbol("lambda", positive=True), index("k")


class Test(Dependence):
    """A test function of weight, row latent and column latent, smooth in the weight."""

    letter, tex = "phi", r"\varphi"

    def fdiff(self, argindex: int = 1) -> Expr:
        """Return the derivative in the weight."""
        return TestSlope(*super().fdiff(argindex).args)


class TestSlope(DependenceSlope):
    """The derivative of the test function in the weight."""

    letter, tex = "d_w phi", r"\partial_w \varphi"


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _velocity(chain)
    _weak_form(chain)
    _mean_and_residual(chain)
    _drift(chain)


derive = argue.derive


def moving(drift: Expr) -> Expr:
    """Return the weight a moment s later."""
    return W[i, j, e] + TIME * drift


def integral(body: Expr, *, columns: bool = True) -> Expr:
    """Return the integral against the row-column measure."""
    mass = MASS[i] * (MASS_BELOW[j] if columns else Integer(1)) / VALUES
    return total(mass * body, (i, ROWS), (j, COLUMNS), (e, VALUES))


def test(weight: Expr) -> Expr:
    """Return the test function at the latents of the pair."""
    return Test(weight, Z[i], Z_BELOW[j])


def _velocity(chain: Chain) -> None:
    above, heard, kernel_above = array("epsilon"), array("W^+"), array("m^+")
    chain.define(
        "The mean kernel is the mean of a weight over the values of its residual.",
        KERNEL[i, j],
        total(W[i, j, e], (e, VALUES)) / VALUES,
    )
    chain.step(
        "A row reads an integral against the measure: only the mean kernel enters.",
        total(MASS_BELOW[j] / VALUES * W[i, j, e] * SIGNAL[j, x], (j, COLUMNS), (e, VALUES)),
        total(MASS_BELOW[j] * KERNEL[i, j] * SIGNAL[j, x], (j, COLUMNS)),
    )
    size, mass = width("n^+"), array("p^+")
    chain.define("Likewise above:", kernel_above[k, i], total(heard[k, i, e], (e, VALUES)) / VALUES)
    chain.step(
        "a neuron hears the measure of the layer above through its mean kernel. So signatures, and with them the "
        "velocity, are functions of the measures.",
        total(mass[k] / VALUES * heard[k, i, e] * above[k, x], (k, size), (e, VALUES)),
        total(mass[k] * kernel_above[k, i] * above[k, x], (k, size)),
    )
    moved = W[i, j, e] - KERNEL[i, j] if chain.planted == "residual_in_velocity" else Integer(0)
    chain.define(
        "A weight moves against the mean outer product of the signatures of its neurons, whatever its residual.",
        VELOCITY[i, j, e],
        -total(Q[x] * DELTA[i, x] * SIGNAL[j, x], (x, DATA)) + moved,
        why="claim gradient.factorizes",
    )


def _weak_form(chain: Chain) -> None:
    velocity = VELOCITY[i, j, e]
    sign = -1 if chain.planted == "wrong_sign" else 1
    slope = test(moving(velocity)).fdiff(1)
    right = integral(sign * slope * velocity, columns=chain.planted != "lost_mass")
    if chain.planted == "captured_index":
        right = velocity * integral(slope)
    chain.step(
        "The weak continuity equation: the integral of a test function changes by the integral of its derivative in "
        "the weight times the velocity.",
        Partial(integral(test(moving(velocity))), TIME),
        right,
    )


class Shape(Activation):
    """A differentiable function of the residual."""

    letter, tex = "phi", r"\psi"


def _mean_and_residual(chain: Chain) -> None:
    velocity, mean = VELOCITY[i, j, e], total(moving(VELOCITY[i, j, e]), (e, VALUES)) / VALUES
    chain.define("Write b for the velocity as a function of the two neurons.", FORCE[i, j], VELOCITY[i, j, 1])
    chain.step(
        "With the weight itself as test function: the mean kernel moves with b.", Partial(mean, TIME), FORCE[i, j]
    )
    chain.define("A moment later the mean kernel is", KERNEL[i, j], mean)
    chain.step(
        "The residual, the weight less its mean kernel, does not move;",
        Partial(moving(velocity) - KERNEL[i, j], TIME),
        Integer(0),
    )
    chain.step(
        "so every function of it keeps its mean: the law of the residual at every pair of neurons is frozen.",
        Partial(total(Shape(moving(velocity) - KERNEL[i, j]), (e, VALUES)) / VALUES, TIME),
        Integer(0),
    )


def _drift(chain: Chain) -> None:
    drift = FORCE[i, j] - LAMBDA * W[i, j, e]
    kept = FORCE[i, j] if chain.planted == "decay_forgotten" else drift
    chain.step(
        "A drift that depends on the weight, such as weight decay, enters the same equation.",
        Partial(integral(test(moving(drift))), TIME),
        integral(test(moving(drift)).fdiff(1) * kept),
    )
