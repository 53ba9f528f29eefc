"""Claim `mlp.zero-shot`: a network shrunk to m of n units errs like (1/m - 1/n)^(1/2).

Keeping m of n units replaces the masses 1/n by multiplicities over m. The output is a function of the masses; its
first order is derived by differentiating the two-hidden-layer network, and its mean square by counting draws.
"""

from sympy import Expr, IndexedBase, KroneckerDelta, Rational, Symbol, log

from proofs.chain import Chain, argument, registered_rate
from proofs.moments import Draws
from proofs.network import define_forward, network
from proofs.notation import Activation, Expectation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "mlp.zero-shot"
ASSUMPTIONS = (
    "two hidden layers of symbolic width; a trained network is any values of the weights",
    "first order in the change of the masses (delta method); the remainder is of second order and not derived",
    "one draw per axis, J for the first and J' for the second, without replacement; the two are independent",
    "the first-order variance does not vanish",
)
PLANTS = {
    "untied_axes": "the rows of a layer are drawn independently of the columns of the next",
    "correlated_axes": "both axes use the same draw",
    "dropped_correction": "the finite-population correction 1/n is left out",
    "wrong_effective_width": "the effective width is taken to be m",
    "missing_slope": "the influence of a first-layer unit forgets the slope of the activation",
}

i, j, k, b, r, x = indices("i j k b r x")
BIG, SMALL, FACTOR = width("n"), width("m"), width("g")
DRAW_1, DRAW_2, GROWN_1, GROWN_2 = array("J"), array("J'"), array("I"), array("I'")
INFLUENCE_1, INFLUENCE_2, READ, SIGNAL = array("g^1"), array("g^2"), array("w"), array("a")
SPREAD_1, SPREAD_2 = Symbol("S_1^2"), Symbol("S_2^2")


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    shrinking = tuple(Draws(draw, BIG, replacement=False) for draw in (DRAW_1, DRAW_2))
    growing = tuple(Draws(draw, BIG, replacement=True) for draw in (GROWN_1, GROWN_2))
    chain.laws = shrinking + growing
    _influences(chain)
    _tie(chain)
    _shrink(chain)
    _grow(chain)
    _exponent(chain)


derive = argue.derive


def mean(values: Expr, bound: Symbol) -> Expr:
    """Return the mean over the n units of the large network."""
    return total(values, (bound, BIG)) / BIG


def mass(draw: IndexedBase, unit: Symbol) -> Expr:
    """Return the mass of a unit after sampling: its multiplicity over m."""
    return total(KroneckerDelta(draw[r], unit), (r, SMALL)) / SMALL


def change(first: IndexedBase, second: IndexedBase) -> Expr:
    """Return the first-order change of the output when the masses become those of two draws."""
    below = total(INFLUENCE_1[j] * (mass(first, j) - 1 / BIG), (j, BIG))
    return below + total(INFLUENCE_2[i] * (mass(second, i) - 1 / BIG), (i, BIG))


def _influences(chain: Chain) -> None:
    """Differentiate the network in its masses: what a unit is worth."""
    net = network(depth=3)
    define_forward(chain, net)
    first, second = net.hidden
    chain.step(
        "What the mass of a unit of the second layer is worth: the weight that reads it times its signal.",
        Partial(net.output[k, x], second.mass[j]),
        net.readout[k, j] * Activation(second.latent[j, x]),
    )
    slope = 0 if chain.planted == "missing_slope" else 1
    passed = net.readout[k, i] * Activation(second.latent[i, x], slope) * second.weight[i, j]
    chain.step(
        "What the mass of a unit of the first layer is worth: its signal times what the second layer passes on.",
        Partial(net.output[k, x], first.mass[j]),
        Activation(first.latent[j, x]) * total(second.mass[i] * passed, (i, second.width)),
    )


def _tie(chain: Chain) -> None:
    reader = DRAW_2 if chain.planted == "untied_axes" else DRAW_1
    chain.step(
        "A layer is read through one draw by both tensors that touch its axis: what is read stays unbiased.",
        Expectation(total(READ[reader[r]] * SIGNAL[DRAW_1[r]], (r, SMALL)) / SMALL),
        mean(READ[j] * SIGNAL[j], j),
    )
    chain.step(
        "Drawn independently, rows and columns lose their correlation, whatever m: the transfer is destroyed.",
        Expectation(total(READ[DRAW_2[r]] * SIGNAL[DRAW_1[r]], (r, SMALL)) / SMALL),
        mean(READ[j], j) * mean(SIGNAL[j], j),
    )


def _spread(values: IndexedBase, unit: Symbol) -> Expr:
    return total((values[unit] - mean(values[j], j)) ** 2, (unit, BIG)) / (BIG - 1)


def _shrink(chain: Chain) -> None:
    error = Symbol("e")
    second = DRAW_1 if chain.planted == "correlated_axes" else DRAW_2
    chain.define("Population variance of the influences on the first axis", SPREAD_1, _spread(INFLUENCE_1, i))
    chain.define("and on the second.", SPREAD_2, _spread(INFLUENCE_2, i))
    chain.define(
        "Shrink both axes: to first order the output changes by the influences times the changes of the masses.",
        error,
        change(DRAW_1, second),
        why="first-order expansion (assumption)",
    )
    chain.step("The change has mean zero,", Expectation(error), 0)
    kept = 1 / SMALL if chain.planted == "dropped_correction" else 1 / SMALL - 1 / BIG
    chain.step(
        "and the axes, drawn independently, add their variances.",
        Expectation(error**2),
        (SPREAD_1 + SPREAD_2) * kept,
    )


def _grow(chain: Chain) -> None:
    grown = Symbol("n^*")
    chain.define("Growing by g copies of every unit", grown, FACTOR * BIG)
    chain.step(
        "keeps the mass of every unit, and with it the function, exactly.",
        total(INFLUENCE_1[j] * (total(1 / grown, (b, FACTOR)) - 1 / BIG), (j, BIG)),
        0,
    )
    chain.step(
        "Growing by draws with replacement costs a variance that falls with the new width.",
        Expectation(change(GROWN_1, GROWN_2) ** 2),
        (SPREAD_1 + SPREAD_2) * (BIG - 1) / (BIG * SMALL),
    )


def _exponent(chain: Chain) -> None:
    error, effective, constant = Symbol("e_m"), Symbol("nu"), Symbol("C", positive=True)
    chain.define(
        "With C the sum of the variances, the root mean square is",
        error,
        (constant * (1 / SMALL - 1 / BIG)) ** Rational(1, 2),
    )
    width_of = SMALL if chain.planted == "wrong_effective_width" else 1 / (1 / SMALL - 1 / BIG)
    chain.define("Effective width of the transfer.", effective, width_of)
    chain.step(
        "The slope of log error against log effective width is the rate of the registry, at every m and n.",
        Partial(log(error), SMALL) / Partial(log(effective), SMALL),
        registered_rate(CLAIM),
    )
