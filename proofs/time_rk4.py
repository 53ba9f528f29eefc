"""Claim `time.rk4`: the classical Runge-Kutta method follows the flow with an error of fourth order in the step.

The vector field is abstract, in any dimension. Both the solution and the method are expanded in elementary
differentials of the field, which are symmetric multilinear forms and nothing more; they agree up to the fourth power.
"""

from typing import Any

from sympy import Add, Expr, Integer, Mul, Rational, factorial

from proofs.chain import Chain, argument
from proofs.flows import FIELD, STEP, Coefficient, Differential, FieldAt, accumulate, attained, define_derivatives
from proofs.notation import array
from rctheory.suite.derivation import Scope

CLAIM = "time.rk4"
ASSUMPTIONS = (
    "an autonomous vector field with five bounded derivatives on a neighbourhood of the trajectory, any dimension; "
    "time is a coordinate where the field depends on it",
    "L is a Lipschitz constant of the increment of a step, C h^5 a bound of the local error",
    "Taylor's formula with its remainder",
)
PLANTS = {
    "equal_weights": "the four stages are averaged with equal weights",
    "stale_stage": "the third stage reads the first",
    "half_last_stage": "the last stage takes half a step",
    "fifth_order": "the method is claimed to match the fifth derivative of the solution",
    "local_is_global": "the local error is taken to be of the order of the global one",
}
ORDER = 4
HALF, NONE, ONE = Rational(1, 2), Integer(0), Integer(1)
TABLE = ((NONE,) * 4, (HALF, NONE, NONE, NONE), (NONE, HALF, NONE, NONE), (NONE, NONE, ONE, NONE))
WEIGHTS = tuple(Rational(weight, 6) for weight in (1, 2, 2, 1))
Tree = tuple[Any, ...]
"""A rooted tree: the tuple of the subtrees at its root."""


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    solution = define_derivatives(chain, ORDER + 1)
    increment = _define_method(chain)
    for power in range(1, ORDER + 1):
        chain.step(
            f"The step has the derivative of order {power} of the solution.",
            Coefficient(increment, power),
            solution[power] / factorial(power),
        )
    missed = Integer(0) if chain.planted == "fifth_order" else _fifth_order()
    chain.step(
        "It misses the fifth: the local error is of fifth order, a sum over the nine rooted trees with five vertices.",
        Coefficient(increment, ORDER + 1) - solution[ORDER + 1] / factorial(ORDER + 1),
        missed,
    )
    accumulate(chain, planted=chain.planted == "local_is_global")
    factor = sum((STEP**power / factorial(power) for power in range(1, ORDER + 1)), start=Integer(1))
    attained(chain, factor, Rational(1, 120))


derive = argue.derive


def _define_method(chain: Chain) -> Expr:
    stage, increment = array("k"), array("d")
    last = STEP / 2 if chain.planted == "half_last_stage" else STEP
    second = 1 if chain.planted == "stale_stage" else 2
    chain.define("The first stage is the field where the step starts,", stage[1], FIELD)
    chain.define("the second half a step along the first,", stage[2], FieldAt(STEP / 2 * stage[1], ORDER))
    chain.define("the third half a step along the second,", stage[3], FieldAt(STEP / 2 * stage[second], ORDER))
    chain.define("the fourth a step along the third;", stage[4], FieldAt(last * stage[3], ORDER))
    weights = (Rational(1, 4),) * 4 if chain.planted == "equal_weights" else WEIGHTS
    mean = sum((weight * stage[number] for number, weight in enumerate(weights, 1)), start=Integer(0))
    return chain.define("a step adds a mean of the four.", increment[1], STEP * mean)


def _fifth_order() -> Expr:
    """Return the coefficient of h^5 in the local error from Butcher's series: an independent count, tree by tree."""
    terms = []
    for tree in trees(ORDER + 1):
        stages = _stage_weights(tree)
        method = sum((weight * value for weight, value in zip(WEIGHTS, stages, strict=True)), start=Integer(0))
        terms.append((method - 1 / _density(tree)) / _symmetry(tree) * _differential(tree))
    return Add(*terms)


def trees(order: int) -> list[Tree]:
    """Return the rooted trees with a number of vertices, each as the sorted tuple of the subtrees at its root."""
    if order == 1:
        return [()]
    found = set()
    for first in range(1, order):
        rest = trees(order - first)
        found |= {tuple(sorted((sub, *tree))) for sub in trees(first) for tree in rest}
    return sorted(found)


def _stage_weights(tree: Tree) -> list[Expr]:
    inner = [
        [sum((a * b for a, b in zip(row, _stage_weights(sub), strict=True)), start=Integer(0)) for row in TABLE]
        for sub in tree
    ]
    return [Mul(*(values[stage] for values in inner)) for stage in range(len(TABLE))]


def _vertices(tree: Tree) -> int:
    return 1 + sum(_vertices(sub) for sub in tree)


def _density(tree: Tree) -> Rational:
    return Rational(_vertices(tree)) * Mul(*(_density(sub) for sub in tree))


def _symmetry(tree: Tree) -> Expr:
    return Mul(*(factorial(tree.count(sub)) * _symmetry(sub) ** tree.count(sub) for sub in set(tree)))


def _differential(tree: Tree) -> Expr:
    return Differential(*(_differential(sub) for sub in tree))
