"""Claim `width.bias`: the mean of a finite network misses its limit by a constant over n.

The second order of the output in the empirical laws has a mean, because a unit is not independent of itself: half the
excess of the diagonal of the second derivative in the masses. The residual has its own term, half the second derivative
in the weights times its variance. Both are derived for any activation, and the sum is checked against the exact mean of
a network with quadratic activation.
"""

from sympy import Add, Expr, Integer, Limit, Rational, Symbol, log, oo

from proofs.chain import Chain, argument, registered_rate
from proofs.laws import Conditioned, OtherNeuron
from proofs.notation import Activation, Expectation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "width.bias"
ASSUMPTIONS = (
    "independent latents, identically distributed in each layer; a centred residual of independent entries of variance "
    "s^2",
    "second order in the laws and in the residual for any smooth activation, where the rest is supposed to be of lower "
    "order; for the quadratic activation there is no rest: its mean is exact at every n",
    "the constant does not vanish",
)
PLANTS = {
    "no_half": "the factor 1/2 of the second order is forgotten",
    "no_double_integral": "the mean of the second derivative is not taken off its diagonal",
    "dropped_residual": "the residual's own term is left out",
    "wrong_width": "the residual is averaged over the layer that it enters",
    "first_derivative": "the residual is weighted with the slope of the activation instead of its curvature",
}

i, j, k, r = indices("i j k r")
WIDTH, FIRST, SECOND = width("n"), width("n_1"), width("n_2")
PAIR, ROWS, COLUMNS, CROSS, BELOW, ABOVE = (array(name) for name in ("D", "D^1", "D^2", "E", "E^1", "E^2"))
KERNEL, SIGNAL, READOUT, RESIDUAL, W, P, R = (array(name) for name in ("m", "a", "c", "xi", "W", "p", "r"))
PRE, OUTPUT, NOISE = array("h"), Symbol("f"), Symbol("s", positive=True) ** 2


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    law = Conditioned(frozenset({PAIR, CROSS, KERNEL, SIGNAL, READOUT}), {RESIDUAL: NOISE}, _INTEGRALS)
    chain.laws = (law,)
    _second_order(chain)
    _derivatives(chain)
    _quadratic(chain)
    _exponent(chain)


derive = argue.derive


def _first_slot(unit: Expr, other: OtherNeuron) -> Expr:
    return PAIR[unit, other()]


def _second_slot(unit: Expr, other: OtherNeuron) -> Expr:
    return PAIR[other(), unit]


def _over_readers(unit: Expr, other: OtherNeuron) -> Expr:
    return CROSS[other(), unit]


def _over_units(unit: Expr, other: OtherNeuron) -> Expr:
    return CROSS[unit, other()]


_INTEGRALS = {ROWS: _first_slot, COLUMNS: _second_slot, BELOW: _over_readers, ABOVE: _over_units}


def _mean(body: Expr, *axes: tuple[Symbol, Expr]) -> Expr:
    for bound, size in axes:
        body = total(body, (bound, size)) / size
    return body


def diagonal_excess(entry: Expr, meeting: Expr) -> Expr:
    """Return the mean of the diagonal of a second derivative less its double mean."""
    return Expectation(meeting) - Expectation(entry)


def _second_order(chain: Chain) -> None:
    """The mean of the second-order part in the fluctuations of the empirical laws."""
    half = 1 if chain.planted == "no_half" else Rational(1, 2)
    double = Integer(0) if chain.planted == "no_double_integral" else Expectation(PAIR[j, k])
    one_slot = _mean(ROWS[j], (j, FIRST)) + _mean(COLUMNS[j], (j, FIRST))
    chain.step(
        "Integrate a second derivative D in the masses of a layer twice against empirical law less law: the double "
        "mean over the units, less its means over one slot, plus its mean over both. Units are independent but for "
        "themselves: half the excess of the diagonal is left, over the width.",
        Expectation(_mean(PAIR[j, k], (j, FIRST), (k, FIRST)) - one_slot + Expectation(PAIR[j, k])) / 2,
        half * (Expectation(PAIR[j, j]) - double) / FIRST,
    )
    mixed = _mean(CROSS[i, j], (i, SECOND), (j, FIRST)) - _mean(BELOW[j], (j, FIRST)) - _mean(ABOVE[i], (i, SECOND))
    chain.step(
        "The mixed second derivative of two layers, integrated against both fluctuations, has mean zero: the layers "
        "are independent.",
        Expectation(mixed + Expectation(CROSS[i, j])),
        0,
    )


def _derivatives(chain: Chain) -> None:
    """The two second derivatives of the output, for any activation, by differentiation."""
    chain.define("A unit of the second layer reads the first,", PRE[i], total(P[j] * W[i, j] * SIGNAL[j], (j, FIRST)))
    chain.define("and the output the second.", OUTPUT, total(R[i] * READOUT[i] * Activation(PRE[i]), (i, SECOND)))
    bent = READOUT[i] * Activation(PRE[i], 2)
    chain.step(
        "Second derivative in two masses of the first layer.",
        Partial(Partial(OUTPUT, P[k]), P[r]),
        total(R[i] * bent * W[i, k] * SIGNAL[k] * W[i, r] * SIGNAL[r], (i, SECOND)),
    )
    chain.step(
        "The output is linear in the masses of the second layer: no bias from there.",
        Partial(Partial(OUTPUT, R[k]), R[r]),
        0,
    )
    order = 1 if chain.planted == "first_derivative" else 2
    chain.step(
        "Second derivative in one weight, which a residual of variance s^2 multiplies by s^2 / 2.",
        Partial(Partial(OUTPUT, W[k, r]), W[k, r]),
        R[k] * READOUT[k] * Activation(PRE[k], order) * (P[r] * SIGNAL[r]) ** 2,
    )
    chain.define("Masses 1/n,", P[j], 1 / FIRST)
    chain.define("in both layers.", R[i], 1 / SECOND)
    size = SECOND if chain.planted == "wrong_width" else FIRST
    chain.step(
        "Summed over all weights: the residual's own term is a mean over each layer, over the width of the lower one.",
        NOISE / 2 * total(Partial(Partial(OUTPUT, W[k, r]), W[k, r]), (k, SECOND), (r, FIRST)),
        NOISE / (2 * size) * _mean(bent, (i, SECOND)) * _mean(SIGNAL[r] ** 2, (r, FIRST)),
    )


def _quadratic(chain: Chain) -> None:
    """The activation u^2, whose second derivative is 2: the mean of the network is exact."""
    finite, limit, masses, residual = Symbol("f_n"), Symbol("f_oo"), Symbol("B"), Symbol("B_xi")
    read = _mean((KERNEL[i, j] + RESIDUAL[i, j]) * SIGNAL[j], (j, FIRST))
    chain.define("Now the activation u^2, with a residual.", finite, _mean(READOUT[i] * read**2, (i, SECOND)))
    meet = READOUT[i] * KERNEL[i, j] ** 2 * SIGNAL[j] ** 2
    apart = READOUT[i] * KERNEL[i, j] * SIGNAL[j] * KERNEL[i, k] * SIGNAL[k]
    chain.define("Its limit.", limit, Expectation(apart))
    half = 1 if chain.planted == "no_half" else Rational(1, 2)
    chain.define("The constant of the masses, with sigma'' = 2;", masses, half * diagonal_excess(2 * apart, 2 * meet))
    own = (
        0
        if chain.planted == "dropped_residual"
        else NOISE / 2 * 2 * Expectation(READOUT[i]) * Expectation(SIGNAL[j] ** 2)
    )
    chain.define("that of the residual.", residual, own)
    chain.step(
        "The exact mean at every pair of widths: the two constants over the width of the lower layer, nothing else.",
        Expectation(finite) - limit,
        (masses + residual) / FIRST,
    )


def _exponent(chain: Chain) -> None:
    constant, rest = Symbol("b", positive=True), Symbol("b'", positive=True)
    chain.step(
        "With a constant that does not vanish and a rest of order 1/n^2 the slope of log bias against log n tends to "
        "the rate of the registry.",
        Limit(WIDTH * Partial(log(Add(constant / WIDTH, rest / WIDTH**2)), WIDTH), WIDTH, oo),
        registered_rate(CLAIM),
    )
