"""Claim `width.constant`: the variance of a finite network is the variance of its influence functions over the widths.

The linear part of a functional of the empirical laws has that variance exactly. What it leaves out is shown to be of
lower order where the functional is a polynomial: a quadratic functional of one layer, and a network with two hidden
layers, a quadratic activation and a residual, whose variance is computed at every pair of widths.
"""

from sympy import Add, Expr, Limit, Symbol, oo

from proofs.chain import Chain, argument
from proofs.laws import Conditioned, OtherNeuron
from proofs.notation import Expectation, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "width.constant"
ASSUMPTIONS = (
    "independent latents, identically distributed in each layer, independent from layer to layer; a centred residual "
    "of independent entries; four moments",
    "the linear part is exact for every functional; that the rest is of lower order is derived for the quadratic "
    "functional and the two-layer network with quadratic activation; otherwise it is supposed (two derivatives in "
    "the masses)",
    "the sum of the variances does not vanish",
)
PLANTS = {
    "half_influence": "the influence function of the quadratic functional sees one of its two slots only",
    "lost_layer": "only the last layer fluctuates",
    "residual_counts": "the residual adds a variance over the width",
    "one_width": "all layers are divided by the width of the first",
}

i, j, k = indices("i j k")
WIDTH, FIRST, SECOND, THIRD = width("n"), width("n_1"), width("n_2"), width("n_3")
ALPHA, BETA = width("alpha"), width("beta")
PAIR, SIDES, KERNEL, READOUT, RESIDUAL = (array(name) for name in ("G", "A", "b", "c", "xi"))
INFLUENCES = tuple(array(name) for name in ("phi", "psi", "chi"))
WORTH_1, WORTH_2 = array("J^1"), array("J^2")
NOISE = Symbol("s", positive=True) ** 2


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    law = Conditioned(
        frozenset({PAIR, KERNEL, READOUT, *INFLUENCES}),
        {RESIDUAL: NOISE},
        {
            SIDES: _one_side if chain.planted == "half_influence" else both_sides,
            WORTH_1: worth_below,
            WORTH_2: worth_above,
        },
        {RESIDUAL: (Symbol("mu_3", real=True), Symbol("mu_4", real=True))},
    )
    chain.laws = (law,)
    _linear_part(chain)
    _quadratic_functional(chain)
    _two_layers(chain)


derive = argue.derive


def both_sides(unit: Expr, other: OtherNeuron) -> Expr:
    """Return G(z, z') + G(z', z): the worth of a unit in a quadratic functional is its mean over z'."""
    return Add(*(PAIR[pair] for u in (other(),) for pair in ((unit, u), (u, unit))))


def _one_side(unit: Expr, other: OtherNeuron) -> Expr:
    return PAIR[unit, other()]


def worth_below(unit: Expr, other: OtherNeuron) -> Expr:
    """Return what averages to the worth of a first-layer unit, over a reader and a second unit: 2 c b b."""
    reader, second = other(), other()
    return 2 * READOUT[reader] * KERNEL[reader, unit] * KERNEL[reader, second]


def worth_above(unit: Expr, other: OtherNeuron) -> Expr:
    """Return what averages to the worth of a second-layer unit, over two units below: c b b."""
    one, two = other(), other()
    return READOUT[unit] * KERNEL[unit, one] * KERNEL[unit, two]


def _mean(body: Expr, bound: Symbol, size: Expr) -> Expr:
    return total(body, (bound, size)) / size


def _linear_part(chain: Chain) -> None:
    part, spreads = Symbol("f^1_n"), (Symbol("v_1"), Symbol("v_2"), Symbol("v_3"))
    sizes = (FIRST, FIRST, FIRST) if chain.planted == "one_width" else (FIRST, SECOND, THIRD)
    means = (
        _mean(f[i] - Expectation(f[i]), i, size) for f, size in zip(INFLUENCES, (FIRST, SECOND, THIRD), strict=True)
    )
    chain.define(
        "The linear part of a functional of three layers: its influence functions, averaged.", part, Add(*means)
    )
    for function, spread, number in zip(INFLUENCES, spreads, (1, 2, 3), strict=True):
        variance = Expectation(function[i] ** 2) - Expectation(function[i]) ** 2
        chain.define(f"Variance of the influence function of layer {number}.", spread, variance)
    chain.step(
        "The layers are independent, and so are the units of a layer: the variances add, each over its own width.",
        Expectation(part**2),
        Add(*(spread / size for spread, size in zip(spreads, sizes, strict=True))),
    )


def _quadratic_functional(chain: Chain) -> None:
    finite, limit, influence = Symbol("f_n"), Symbol("f"), array("IF")
    chain.define(
        "A quadratic functional of one empirical law,", finite, total(PAIR[j, k], (j, WIDTH), (k, WIDTH)) / WIDTH**2
    )
    chain.define("its limit,", limit, Expectation(PAIR[j, k]))
    slots = 1 if chain.planted == "half_influence" else 2
    chain.define(
        "and its influence function, with A(z) the mean of G(z, z') + G(z', z) over z'.",
        influence[j],
        SIDES[j] - slots * limit,
    )
    chain.step("It averages to zero.", Expectation(influence[j]), 0)
    chain.step(
        "From the exact variance at every n: n times it tends to the variance of the influence function.",
        Limit(WIDTH * Expectation((finite - limit) ** 2), WIDTH, oo),
        Expectation(influence[j] ** 2),
    )


def _two_layers(chain: Chain) -> None:
    finite, limit = Symbol("F_n"), Symbol("F")
    sizes = {FIRST: ALPHA * WIDTH, SECOND: BETA * WIDTH}
    hidden = _mean(KERNEL[i, j] + RESIDUAL[i, j], j, sizes[FIRST])
    chain.define(
        "Two hidden layers of widths alpha n and beta n with a quadratic activation: a unit reads b_ij, mean kernel "
        "times signal, and a residual.",
        finite,
        _mean(READOUT[i] * hidden**2, i, sizes[SECOND]),
    )
    chain.define("Its limit.", limit, Expectation(READOUT[i] * KERNEL[i, j] * KERNEL[i, k]))
    first, second = Expectation((WORTH_1[j] - 2 * limit) ** 2), Expectation((WORTH_2[i] - limit) ** 2)
    below = 0 if chain.planted == "lost_layer" else first / ALPHA
    residual = NOISE if chain.planted == "residual_counts" else 0
    chain.step(
        "From the exact mean square error at every n: both layers count, each over its share of the width; the "
        "residual does not, to this order.",
        Limit(WIDTH * Expectation((finite - limit) ** 2), WIDTH, oo),
        below + second / BETA + residual,
    )
