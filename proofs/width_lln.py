"""Claim `width.lln`: the network of width n approaches its limit at the rate n^(-1/2).

At initialisation everything is counted exactly, at every n, with the residual: one layer, then two layers with their
read-out. Through training the output is a function of the two empirical laws of neurons; its first-order part (the
delta method) is a sum of means of influence functions, and its exponent is the one in the registry.
"""

from sympy import Expr, Limit, Rational, Symbol, log, oo, sqrt

from proofs.chain import Chain, argument, registered_rate
from proofs.moments import Neurons
from proofs.notation import Expectation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "width.lln"
ASSUMPTIONS = (
    "latents are independent, identically distributed on each axis; the residual is independent and centred",
    "moments up to order four exist, and the constants V_1, V_2 do not both vanish",
    "at initialisation, with a linear read-out of the second layer: exact at every n",
    "through training: first order in the empirical laws (delta method); the output is twice differentiable in the "
    "masses, which is supposed and not derived",
)
PLANTS = {
    "ntk_scale": "the first layer is scaled by n^(-1/2) instead of 1/n",
    "dropped_residual": "the variance forgets the residual",
    "forgotten_coincidence": "a neuron is taken to be independent of itself",
    "shared_latents": "the two axes use the same neurons and are still taken to be independent",
    "forgotten_root": "the variance is taken for the root mean square",
}

i, j, k = indices("i j k")
WIDTH, FIRST, SECOND = width("n"), width("n_1"), width("n_2")
ROW_KERNEL, KERNEL, SIGNAL, READOUT = array("mu"), array("m"), array("a"), array("c")
ROW_RESIDUAL, RESIDUAL = array("zeta"), array("xi")
INFLUENCE_1, INFLUENCE_2, CURVATURE = array("phi"), array("psi"), array("D")
NOISE = Symbol("s", positive=True) ** 2
LAW = Neurons(
    frozenset({ROW_KERNEL, KERNEL, SIGNAL, READOUT, INFLUENCE_1, INFLUENCE_2, CURVATURE}),
    {ROW_RESIDUAL: NOISE, RESIDUAL: NOISE},
)


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS, (LAW,))
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _one_layer(chain)
    _two_layers(chain)
    _through_training(chain)
    _exponent(chain)


derive = argue.derive


def _one_layer(chain: Chain) -> None:
    finite, limit, spread = Symbol("h_n"), Symbol("h"), Symbol("V_h")
    scale = sqrt(FIRST) if chain.planted == "ntk_scale" else FIRST
    chain.define(
        "Fix a neuron of the second layer: mu_j and zeta_j are the mean kernel and the residual between it and "
        "neuron j below. It reads a mean over n_1 neurons.",
        finite,
        total((ROW_KERNEL[j] + ROW_RESIDUAL[j]) * SIGNAL[j], (j, FIRST)) / scale,
    )
    chain.define("In the limit it reads an expectation,", limit, Expectation(ROW_KERNEL[j] * SIGNAL[j]))
    chain.define(
        "with this variance from neuron to neuron.", spread, Expectation(ROW_KERNEL[j] ** 2 * SIGNAL[j] ** 2) - limit**2
    )
    chain.step("The residual averages out: no bias.", Expectation(finite), limit)
    residual = 0 if chain.planted == "dropped_residual" else NOISE * Expectation(SIGNAL[j] ** 2)
    chain.step(
        "Squared error: the variance over the neurons and the residual, both over n_1.",
        Expectation((finite - limit) ** 2),
        (spread + residual) / FIRST,
    )


def _two_layers(chain: Chain) -> None:
    finite, limit = Symbol("f_n"), Symbol("f")
    first, second, both = Symbol("V_1"), Symbol("V_2"), Symbol("V_12")
    weight = KERNEL[i, j] + RESIDUAL[i, j]
    hidden = total(weight * SIGNAL[j], (j, FIRST)) / FIRST
    chain.define(
        "Now both axes: the read-out of a whole second layer.", finite, total(READOUT[i] * hidden, (i, SECOND)) / SECOND
    )
    chain.define("Its limit.", limit, Expectation(READOUT[i] * KERNEL[i, j] * SIGNAL[j]))
    one = Expectation(READOUT[i] * READOUT[k] * KERNEL[i, j] * KERNEL[k, j] * SIGNAL[j] ** 2)
    two = Expectation(READOUT[i] ** 2 * KERNEL[i, j] * KERNEL[i, k] * SIGNAL[j] * SIGNAL[k])
    chain.define("Variance that the neurons of the first layer carry.", first, one - limit**2)
    chain.define("Variance that the neurons of the second layer carry.", second, two - limit**2)
    square = Expectation(READOUT[i] ** 2 * KERNEL[i, j] ** 2 * SIGNAL[j] ** 2)
    chain.define("Variance that only pairs carry.", both, square - first - second - limit**2)
    meeting = 0 if chain.planted == "forgotten_coincidence" else first / FIRST
    residual = NOISE * Expectation(READOUT[i] ** 2) * Expectation(SIGNAL[j] ** 2)
    chain.step(
        "Exactly, at every pair of widths: each axis adds its variance over its width, and pairs and residual "
        "only enter over the product of the widths.",
        Expectation((finite - limit) ** 2),
        meeting + second / SECOND + (both + residual) / (FIRST * SECOND),
    )


def _fluctuation(influence: Expr, bound: Symbol, size: Expr) -> Expr:
    """Return the integral of an influence function against empirical law minus law."""
    return total(influence, (bound, size)) / size - Expectation(influence)


def _through_training(chain: Chain) -> None:
    first_order, one, two = Symbol("f^1_n"), Symbol("v_1"), Symbol("v_2")
    sizes = (FIRST, FIRST) if chain.planted == "shared_latents" else (FIRST, SECOND)
    chain.define(
        "After training the output is a function of the two empirical laws. To first order it moves by the integrals "
        "of its influence functions phi and psi.",
        first_order,
        _fluctuation(INFLUENCE_1[j], j, sizes[0]) + _fluctuation(INFLUENCE_2[i], i, sizes[1]),
        why="first-order expansion (assumption)",
    )
    chain.define("Their variances,", one, Expectation(INFLUENCE_1[j] ** 2) - Expectation(INFLUENCE_1[j]) ** 2)
    chain.define("layer by layer.", two, Expectation(INFLUENCE_2[i] ** 2) - Expectation(INFLUENCE_2[i]) ** 2)
    chain.step(
        "One axis: the variance of a mean over n neurons is the variance of one over n.",
        Expectation(_fluctuation(INFLUENCE_1[j], j, FIRST) ** 2),
        one / FIRST,
    )
    chain.step(
        "The axes are independent: their variances add.",
        Expectation(first_order**2),
        one / sizes[0] + two / sizes[1],
    )
    chain.step(
        "The second-order part has a mean of order 1/n, half the excess of the diagonal of the second derivative, "
        "and so does not touch the leading order.",
        Expectation(total(CURVATURE[j, k], (j, FIRST), (k, FIRST)) / (2 * FIRST**2)) - Expectation(CURVATURE[j, k]) / 2,
        (Expectation(CURVATURE[j, j]) - Expectation(CURVATURE[j, k])) / (2 * FIRST),
    )


def _exponent(chain: Chain) -> None:
    error, constant, rest = Symbol("e_n"), Symbol("C", positive=True), Symbol("C'", positive=True)
    power = 1 if chain.planted == "forgotten_root" else Rational(1, 2)
    chain.define(
        "Let both widths be n: the mean square is C/n with C the sum of the variances, up to a part over n^2.",
        error,
        (constant / WIDTH + rest / WIDTH**2) ** power,
    )
    chain.step(
        "The slope of log error against log n tends to the rate of the registry, and has no other limit when C > 0: "
        "the rate is two-sided.",
        Limit(WIDTH * Partial(log(error), WIDTH), WIDTH, oo),
        registered_rate(CLAIM),
    )
