"""Claim `time.euler`: gradient descent follows gradient flow with an error of first order in the step.

The vector field is abstract, in any dimension: the velocity of all weights, or of the infinite-width limit.
"""

from sympy import Expr, Integer, Rational

from proofs.chain import Chain, argument
from proofs.flows import FIELD, STEP, Coefficient, Differential, FieldAt, accumulate, attained, define_derivatives
from proofs.notation import array
from rctheory.suite.derivation import Scope

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


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    solution = define_derivatives(chain, 2)
    increment = array("d")
    start: Expr = STEP * FIELD / 2 if chain.planted == "half_step" else Integer(0)
    chain.define("A step of gradient descent adds", increment[1], STEP * FieldAt(start, 1))
    chain.step("It has the first derivative of the solution,", Coefficient(increment[1], 1), solution[1])
    missed = Integer(0) if chain.planted == "second_order" else -Differential(FIELD) / 2
    chain.step(
        "and misses the second: the local error is of second order.",
        Coefficient(increment[1], 2) - solution[2] / 2,
        missed,
    )
    accumulate(chain, planted=chain.planted == "local_is_global")
    attained(chain, 1 + STEP, Integer(0) if chain.planted == "no_constant" else Rational(1, 2))


derive = argue.derive
