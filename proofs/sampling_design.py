"""Claim `sampling.design`: one point per stratum changes the exponent of the sampling error, until a residual sets it.

The latent is uniform on [0, 1]. Stratum k of n is ((k-1)/n, k/n], and the k-th point is uniform in it, independently.
The error of a mean is a sum over strata of independent centred parts, each as small as its stratum.
"""

from sympy import IndexedBase, Integer, Integral, Limit, Rational, Symbol, log, oo

from proofs.chain import Chain, argument, registered_rate
from proofs.moments import Cells
from proofs.notation import Expectation, Partial, array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "sampling.design"
ASSUMPTIONS = (
    "a latent of dimension 1, uniform on [0, 1]; one independent uniform point in each of n equal strata",
    "upper bound: any function with Lipschitz constant L; lower bound: exact values for z and z^2",
    "residual: independent centred entries of variance s^2 on an n x n array",
)
PLANTS = {
    "iid_points": "the points are drawn from the whole interval",
    "mean_of_strata": "the variance of a point in a stratum is that of a point in [0, 1]",
    "ignored_residual": "the residual is left out of the limit",
    "root_of_bound": "the Lipschitz bound is taken without its square",
    "dropped_weight": "the slope of z^2 is taken to be the same in all strata",
}

i, j, k = indices("i j k")
WIDTH, COUNT = width("n"), Symbol("t", integer=True, nonnegative=True)
POINT, OTHER, RESIDUAL, VALUE, UNIT = array("V"), array("V'"), array("xi"), array("phi"), array("U")
LIPSCHITZ, SPREAD, x = Symbol("L", positive=True), Symbol("s", positive=True), Symbol("x", real=True)
HALF = Rational(1, 2)
MOMENTS = (Integer(0), Rational(1, 12), Integer(0), Rational(1, 80))


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    law = Cells(
        {
            POINT: MOMENTS,
            OTHER: MOMENTS,
            RESIDUAL: (Integer(0), SPREAD**2),
            VALUE: (Symbol("nu_1", real=True), Symbol("nu_2", positive=True)),
            UNIT: (Integer(0), Integer(1)),
        }
    )
    chain.laws = (law,)
    _points(chain)
    _lipschitz(chain)
    _linear(chain)
    _square(chain)
    _residual(chain)
    _exponents(chain)


derive = argue.derive


def _points(chain: Chain) -> None:
    for order, moment in enumerate(MOMENTS, 1):
        chain.step(f"Moment {order} of a uniform V on [-1/2, 1/2].", Integral(x**order, (x, -HALF, HALF)), moment)
    middles, point = array("S"), array("z")
    size = Integer(1) if chain.planted == "iid_points" else WIDTH
    chain.define(
        "The k-th point: the middle of its stratum, and V_k over n.", point[k], (k - HALF) / WIDTH + POINT[k] / size
    )
    chain.define("The middles of the first t strata add up to", middles[COUNT], COUNT**2 / (2 * WIDTH))
    chain.step("(nothing at first,", middles[0], 0)
    chain.step("then always the next one more);", middles[COUNT + 1] - middles[COUNT], (COUNT + HALF) / WIDTH)
    chain.step(
        "so the error of the stratified mean of z has mean zero.", middles[WIDTH] / WIDTH, Integral(x, (x, 0, 1))
    )


def _lipschitz(chain: Chain) -> None:
    """Twice a variance is the mean square distance of two independent copies."""
    spread, weight, bound = array("v"), array("g"), Symbol("B")
    gap, near, room = array("D"), array("d"), IndexedBase("R", nonnegative=True)
    chain.step(
        "Let phi_1, phi_2 be the values of a function at two independent points of one stratum: half the mean square "
        "of their difference is the variance in the stratum.",
        Expectation((VALUE[1] - VALUE[2]) ** 2) / 2,
        Expectation(VALUE[1] ** 2) - Expectation(VALUE[1]) ** 2,
    )
    chain.define(
        "Lipschitz: it is L^2 times the squared distance of the points, or less.",
        gap[k],
        LIPSCHITZ**2 * near[k] ** 2 - room[k],
    )
    square = LIPSCHITZ if chain.planted == "root_of_bound" else LIPSCHITZ**2
    chain.order(
        "So it is at most this, and so are the means of both over the two points;", gap[k], LIPSCHITZ**2 * near[k] ** 2
    )
    point, size = array("z"), 1 if chain.planted == "mean_of_strata" else WIDTH
    chain.step(
        "and two points of one stratum are this near in mean square.",
        Expectation((point[k] - (k - HALF) / WIDTH - OTHER[k] / WIDTH) ** 2),
        Rational(1, 6) / size**2,
    )
    chain.define(
        "Let the strata add independent centred parts with any variances v_k = g_k^2.", spread[k], weight[k] ** 2
    )
    error = total(weight[k] * UNIT[k], (k, WIDTH)) / WIDTH
    chain.step("Their variances add,", Expectation(error**2), total(spread[k], (k, WIDTH)) / WIDTH**2)
    chain.define("and with the bound in every stratum", bound, total(square / (12 * WIDTH**2), (k, WIDTH)) / WIDTH**2)
    chain.step("the mean has a variance of order n^-3 at most.", bound, LIPSCHITZ**2 / (12 * WIDTH**3))


def _linear(chain: Chain) -> None:
    point = array("z")
    error = total(point[k] - (k - HALF) / WIDTH, (k, WIDTH)) / WIDTH
    chain.step("For phi(z) = z the bound is attained, at every n.", Expectation(error**2), 1 / (12 * WIDTH**3))


def _square(chain: Chain) -> None:
    closed = array("T")
    slope = Integer(1) if chain.planted == "dropped_weight" else 2 * k - 1
    error = total(slope * POINT[k] + POINT[k] ** 2 - Rational(1, 12), (k, WIDTH)) / WIDTH**3
    point = array("z")
    mean = ((k - HALF) ** 2 + Rational(1, 12)) / WIDTH**2
    chain.step(
        "For phi(z) = z^2 the error of a stratum is",
        point[k] ** 2 - mean,
        ((2 * k - 1) * POINT[k] + POINT[k] ** 2 - Rational(1, 12)) / WIDTH**2,
    )
    chain.step(
        "and the variance of the mean a sum over the strata.",
        Expectation(error**2),
        total((4 * k**2 - 4 * k + 1) / Integer(12) + Rational(1, 180), (k, WIDTH)) / WIDTH**6,
    )
    chain.define("The sum over the first t strata is", closed[COUNT], COUNT**3 / Integer(9) - COUNT / Integer(45))
    chain.step("(nothing at first,", closed[0], 0)
    chain.step(
        "then always the next term more).",
        closed[COUNT + 1] - closed[COUNT],
        (2 * COUNT + 1) ** 2 / Integer(12) + Rational(1, 180),
    )
    chain.step(
        "So n^3 times the variance tends to the mean of phi'^2 over 12: steep strata count more.",
        Limit(WIDTH**3 * closed[WIDTH] / WIDTH**6, WIDTH, oo),
        Integral((2 * x) ** 2 / 12, (x, 0, 1)),
    )


def _residual(chain: Chain) -> None:
    """An n x n array with kernel z z' on two stratified axes."""
    rows, columns = HALF + total(POINT[i], (i, WIDTH)) / WIDTH**2, HALF + total(OTHER[j], (j, WIDTH)) / WIDTH**2
    residual = total(RESIDUAL[i, j], (i, WIDTH), (j, WIDTH)) / WIDTH**2
    axis = 1 / (12 * WIDTH**3)
    kept = 0 if chain.planted == "ignored_residual" else SPREAD**2 / WIDTH**2
    chain.step(
        "Two stratified axes, the kernel z z' and a residual: the exact mean square error of the mean of the array.",
        Expectation((rows * columns + residual - Rational(1, 4)) ** 2),
        axis / 2 + axis**2 + kept,
    )


def _exponents(chain: Chain) -> None:
    smooth, rough = (registered_rate(CLAIM, gate) for gate in ("stratified", "residual"))
    axis = 1 / (12 * WIDTH**3)
    for spread, rate, what in ((Integer(0), smooth, "Without a residual"), (SPREAD**2, rough, "With one")):
        square = axis / 2 + axis**2 + spread / WIDTH**2
        chain.step(
            f"{what} the slope of the root mean square tends to",
            Limit(WIDTH * Partial(log(square), WIDTH) / 2, WIDTH, oo),
            rate,
        )
    chain.step(
        "Independent points would give the variance 1/12 over n, and the slope",
        WIDTH * Partial(log(1 / (12 * WIDTH)), WIDTH) / 2,
        -HALF,
    )
