"""Claim `time.euler`: gradient descent follows gradient flow with an error of first order in the step.

The vector field is abstract, in any dimension: the velocity of all weights, or of the infinite-width limit.
"""

from sympy import Expr, Integer, Rational

from proofs.chain import Chain
from proofs.flows import FIELD, STEP, Coefficient, Differential, FieldAt, accumulate, attained, define_derivatives
from proofs.notation import array
from rctheory.suite.derivation import Derivation, Scope

CLAIM = "time.euler"
ASSUMPTIONS = (
    "an autonomous vector field with two bounded derivatives on a neighbourhood of the trajectory, any dimension; time "
    "is a coordinate where the field depends on it",
    "L is a Lipschitz constant of the field, C h^2 a bound of the local error",
    "Taylor's formula with its remainder",
)
PLANTS = {
    "second_order": "the method is claimed to match the second derivative of the solution",
    "half_step": "the field is taken at half a step",
    "local_is_global": "the local error is taken to be of the order of the global one",
    "no_constant": "the error on y' = y is claimed to vanish to first order",
}


def derive(planted: str | None = None) -> Derivation:
    """Return the checked derivation.

    Raises:
        DerivationError: a step does not hold, as for every planted error in `PLANTS`.
    """
    return argue(planted).derivation()


def argue(planted: str | None = None) -> Chain:
    """Return the argument with its definitions, every step checked; `planted` names an error to plant."""
    chain = Chain(CLAIM, Scope.DERIVED, ASSUMPTIONS, planted, PLANTS)
    solution = define_derivatives(chain, 2)
    increment = array("d")
    start: Expr = STEP * FIELD / 2 if planted == "half_step" else Integer(0)
    chain.define("A step of gradient descent adds", increment[1], STEP * FieldAt(start, 1))
    chain.step("It has the first derivative of the solution,", Coefficient(increment[1], 1), solution[1])
    missed = Integer(0) if planted == "second_order" else -Differential(FIELD) / 2
    chain.step(
        "and misses the second: the local error is of second order.",
        Coefficient(increment[1], 2) - solution[2] / 2,
        missed,
    )
    accumulate(chain, planted=planted == "local_is_global")
    attained(chain, 1 + STEP, Integer(0) if planted == "no_constant" else Rational(1, 2))
    return chain
