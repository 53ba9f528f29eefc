"""Claim `fluctuation.influence`: the influence function is the derivative of the normalised functional in a mass.

J_j is the derivative of an observable in the mass of unit j; a mass is no probability, so only J less its mean has a
meaning. It is shown to be three things at once: the derivative after normalisation, the derivative along a mixture with
a point mass, and what is left of J under every other way to extend the observable to all masses. The observable is the
output of a network with two hidden layers, and then that output after a step of training.
"""

from sympy import Expr, IndexedBase, Integer, KroneckerDelta, Symbol

from proofs.chain import Chain, argument
from proofs.notation import Activation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "fluctuation.influence"
ASSUMPTIONS = (
    "two hidden layers of symbolic width, any masses and weights, an abstract differentiable activation",
    "observables: the output, and the output after one step of gradient descent of the read-out with any step size",
    "masses with total 1 where an influence function is evaluated",
)
PLANTS = {
    "uncentred": "the derivative in a mass is taken for the influence function",
    "unweighted_mean": "the mean of J is taken without the masses",
    "missing_slope": "the first layer is heard without the slope of the activation",
    "lost_mass": "a unit joins the mixture and the others keep their masses",
    "frozen_training": "the effect of a mass on training is forgotten",
}

i, j, k, l2 = indices("i j k l")
FIRST, SECOND = width("n_1"), width("n_2")
P, R, W, SIGNAL, READOUT, OTHER_READOUT = array("p"), array("r"), array("W"), array("a"), array("c"), array("b")
PRE, J1, J2, IF1, IF2 = array("h"), array("J^1"), array("J^2"), array("IF^1"), array("IF^2")
EPS, STEP = Symbol("epsilon", positive=True), Symbol("eta", positive=True)
OUTPUT = Symbol("f")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _observable(chain)
    _define_influence(chain)
    _normalised(chain)
    _mixture(chain)
    _extensions(chain)
    _trained(chain)


derive = argue.derive


def pre(masses: IndexedBase | None = None, row: Expr = i) -> Expr:
    """Return what a unit of the second layer reads, with other masses where given."""
    return total((masses or P)[j] * W[row, j] * SIGNAL[j], (j, FIRST))


def output(first: IndexedBase | None = None, second: IndexedBase | None = None) -> Expr:
    """Return the output as a functional of the masses of both layers."""
    return total((second or R)[i] * READOUT[i] * Activation(pre(first)), (i, SECOND))


def _observable(chain: Chain) -> None:
    chain.define("A unit of the second layer reads the first layer,", PRE[i], pre())
    chain.define("and the output the second.", OUTPUT, total(R[i] * READOUT[i] * Activation(PRE[i]), (i, SECOND)))
    slope = 0 if chain.planted == "missing_slope" else 1
    heard = total(R[i] * READOUT[i] * Activation(PRE[i], slope) * W[i, k], (i, SECOND))
    chain.define("What the mass of a first-layer unit is worth", J1[k], SIGNAL[k] * heard)
    chain.step("is the derivative of the output in it, through everything above.", Partial(OUTPUT, P[k]), J1[k])
    chain.define("What the mass of a second-layer unit is worth", J2[k], READOUT[k] * Activation(PRE[k]))
    chain.step("is the derivative in it.", Partial(OUTPUT, R[k]), J2[k])


def _define_influence(chain: Chain) -> None:
    for influence, worth, masses, size in ((IF1, J1, P, FIRST), (IF2, J2, R, SECOND)):
        weight = Integer(1) if chain.planted == "unweighted_mean" else masses[l2]
        mean = 0 if chain.planted == "uncentred" else total(weight * worth[l2], (l2, size))
        chain.define("The influence function is J less its mean.", influence[k], worth[k] - mean)


def _normalised(chain: Chain) -> None:
    """Divide the masses by their total; the derivative at any total, then at total 1."""
    for letter, influence, masses, size in (("P", IF1, P, FIRST), ("R", IF2, R, SECOND)):
        share, whole = array(f"{letter}^1"), Symbol(f"M_{letter}", positive=True)
        bound = j if masses == P else i
        chain.define(
            "Divide the masses of a layer by their total.", share[bound], masses[bound] / total(masses[l2], (l2, size))
        )
        value = output(first=share) if masses == P else output(second=share)
        worth = _worth_at(share, letter, k), total(share[l2] * _worth_at(share, letter, l2), (l2, size))
        chain.step(
            "Then the derivative in a mass is the influence function at the normalised masses, over the total: a "
            " common factor on all masses has no effect.",
            Partial(value, masses[k]),
            (worth[0] - (0 if chain.planted == "uncentred" else worth[1])) / total(masses[l2], (l2, size)),
        )
        chain.define("At total 1,", whole, total(masses[l2], (l2, size)))
        chain.step(
            "the masses average the influence function to nothing, in proportion to what the total misses.",
            total(masses[k] * influence[k], (k, size)),
            (1 - whole) * total(masses[l2] * (J1 if masses == P else J2)[l2], (l2, size)),
        )


def _worth_at(share: IndexedBase, letter: str, unit: Expr) -> Expr:
    """Return J at the normalised masses of one layer."""
    if letter == "R":
        return READOUT[unit] * Activation(PRE[unit])
    passed = R[i] * READOUT[i] * Activation(pre(share), 1) * W[i, unit]
    return SIGNAL[unit] * total(passed, (i, SECOND))


def _mixture(chain: Chain) -> None:
    mixed, unit = array("P^2"), k
    kept = Integer(1) if chain.planted == "lost_mass" else 1 - EPS
    chain.define("Mix a little of unit k into the first layer.", mixed[j], kept * P[j] + EPS * KroneckerDelta(j, unit))
    worth = _worth_at(mixed, "P", l2)
    chain.step(
        "Along the mixture the output moves by J at k less the mean of J: at epsilon = 0 this is the influence "
        "function, the derivative of the functional towards a point mass.",
        Partial(output(first=mixed), EPS),
        _worth_at(mixed, "P", unit) - total(P[l2] * worth, (l2, FIRST)),
    )


def _extensions(chain: Chain) -> None:
    other, extension, influence = Symbol("f'"), array("b"), array("IF'")
    added, whole = total(extension[j] * P[j], (j, FIRST)), total(P[j], (j, FIRST))
    chain.define(
        "Extend the output to other masses in another way, equal to it where the total is 1,",
        other,
        OUTPUT + (whole - 1) * added,
    )
    mean = 0 if chain.planted == "uncentred" else total(P[l2] * Partial(other, P[l2]), (l2, FIRST))
    chain.define("and take its influence function.", influence[k], Partial(other, P[k]) - mean)
    chain.step(
        "Its difference to the first one is proportional to what the total misses: at total 1 the influence function "
        "does not depend on the extension, although J does.",
        influence[k] - IF1[k],
        (whole - 1) * (extension[k] - 2 * added),
    )


def _trained(chain: Chain) -> None:
    """One step of descent of the read-out: a mass also changes what training does to the others."""
    after, trained = Symbol("f_1"), array("c_1")
    target = Symbol("y", real=True)
    chain.define(
        "Train the read-out by one step on one target.",
        trained[i],
        READOUT[i] - STEP * (OUTPUT - target) * Activation(PRE[i]),
    )
    chain.define("The output after it", after, total(R[i] * trained[i] * Activation(PRE[i]), (i, SECOND)))
    square = total(R[i] * Activation(PRE[i]) ** 2, (i, SECOND))
    indirect = 0 if chain.planted == "frozen_training" else STEP * J2[k] * square
    chain.step(
        "has as derivative in a mass the direct worth of the trained unit, and an indirect one: the unit takes part in "
        "the error from which all the others learn. Automatic differentiation through training collects both.",
        Partial(after, R[k]),
        trained[k] * Activation(PRE[k]) - indirect,
    )
