"""Claim `closure.langevin`: Langevin noise leaves the mean kernel closed and adds fresh residual, 2 tau t of variance.

Every weight gets independent Gaussian noise in every step. It adds up in the residual, whose variance grows by
2 tau eta a step, that is 2 tau in a unit of time; what a row reads averages it away like 1/n.
"""

from sympy import Expr, Integer, Symbol, sqrt

from proofs.chain import Chain, argument
from proofs.moments import Cells
from proofs.notation import Expectation, array, total
from proofs.optimisers import (
    COLUMNS,
    COMMON_ASSUMPTIONS,
    ETA,
    GRADIENT,
    KERNEL,
    MASS_BELOW,
    NOISE,
    SIGNAL,
    STEPS,
    define_gradient,
    history,
    i,
    i2,
    j,
    j2,
    s,
    t,
    x,
)
from rctheory.suite.derivation import Scope

CLAIM = "closure.langevin"
ASSUMPTIONS = (
    COMMON_ASSUMPTIONS[0],
    "the noise is independent over weights and steps, centred, of variance one, times (2 tau eta)^(1/2)",
    "means are taken given the signatures: exact for the noise of the current step; for older noise it supposes the "
    "limit, where signatures are functions of the latents and no single weight moves them",
)
PLANTS = {
    "shared_noise": "one noise for a whole row: the residual would be a latent",
    "noise_rate": "the noise is scaled by 2 tau eta instead of its root",
    "lost_start": "the variance forgets the initial residual",
    "steps_for_time": "time is taken for the number of steps",
}

WEIGHT, FIRST_KERNEL, XI, ROW_NOISE = array("W"), array("m^0"), array("xi"), array("zeta'")
TAU, TIME, VARIANCE = (Symbol(name, positive=True) for name in ("tau", "t_T", "v"))
LAW = Cells({XI: (Integer(0), VARIANCE), NOISE: (Integer(0), Integer(1)), ROW_NOISE: (Integer(0), Integer(1))})


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS, (LAW,))
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    define_gradient(chain)
    _solve(chain)
    _mean(chain)
    _variance(chain)
    _reads(chain)


derive = argue.derive


def _noise(chain: Chain, time: Expr) -> Expr:
    """Return the noise of one step in one weight."""
    noise = ROW_NOISE[time, i] if chain.planted == "shared_noise" else NOISE[time, i, j]
    return (2 * TAU * ETA if chain.planted == "noise_rate" else sqrt(2 * TAU * ETA)) * noise


def _solve(chain: Chain) -> None:
    moved = ETA * history(Integer(1), GRADIENT[s, i, j], t)
    chain.define(
        "A weight is its mean kernel and its residual at the start, less the outer products, plus the noise so far.",
        WEIGHT[t, i, j],
        FIRST_KERNEL[i, j] + XI[i, j] - moved + history(Integer(1), _noise(chain, s), t),
    )
    chain.step("It starts where it should,", WEIGHT[0, i, j], FIRST_KERNEL[i, j] + XI[i, j])
    chain.step(
        "and every step subtracts the gradient and adds fresh noise: this is the path of every weight.",
        WEIGHT[STEPS + 1, i, j],
        WEIGHT[STEPS, i, j] - ETA * GRADIENT[STEPS, i, j] + _noise(chain, STEPS),
    )


def _mean(chain: Chain) -> None:
    chain.define(
        "The mean kernel is the mean of the weight, given the signatures.",
        KERNEL[t, i, j],
        Expectation(WEIGHT[t, i, j]),
    )
    chain.step(
        "It moves by the signatures alone, as under gradient descent: linear in the factorised gradient.",
        KERNEL[STEPS + 1, i, j],
        KERNEL[STEPS, i, j] - ETA * GRADIENT[STEPS, i, j],
    )


def _residual(time: Expr = STEPS, row: Expr = i, column: Expr = j) -> Expr:
    return WEIGHT[time, row, column] - KERNEL[time, row, column]


def _variance(chain: Chain) -> None:
    start = Integer(0) if chain.planted == "lost_start" else VARIANCE
    chain.step(
        "The residual gains independent noise in every step: its variance grows linearly,",
        Expectation(_residual() ** 2),
        start + 2 * TAU * ETA * STEPS,
    )
    chain.define("that is, in the time", TIME, STEPS if chain.planted == "steps_for_time" else ETA * STEPS)
    chain.step("by 2 tau times the time.", Expectation(_residual() ** 2), VARIANCE + 2 * TAU * TIME)
    for row, column, sentence in (
        (i, j2, "Residuals of one row stay uncorrelated,"),
        (i2, j, "those of one column, too: the noise is idiosyncratic and adds nothing to the latents."),
    ):
        chain.step(sentence, Expectation(_residual() * _residual(row=row, column=column)), Integer(0))


def _reads(chain: Chain) -> None:
    read = total(MASS_BELOW[j] * _residual() * SIGNAL[STEPS, j, x], (j, COLUMNS))
    spread = VARIANCE + 2 * TAU * ETA * STEPS
    chain.step("A row reads the residual through many columns: without bias,", Expectation(read), Integer(0))
    chain.step(
        "and with a variance that carries the masses squared.",
        Expectation(read**2),
        spread * total(MASS_BELOW[j] ** 2 * SIGNAL[STEPS, j, x] ** 2, (j, COLUMNS)),
    )
    chain.define("With masses 1/n^-", MASS_BELOW[j], 1 / COLUMNS)
    chain.step(
        "it is of order 1/n^-: in the limit a row reads the mean kernel alone, which is therefore closed.",
        Expectation(read**2),
        spread / COLUMNS * (total(SIGNAL[STEPS, j, x] ** 2, (j, COLUMNS)) / COLUMNS),
    )
