"""Claim `linear.universality`: deep linear networks see the law of their neurons through Gram matrices alone.

Two laws of neurons, of whatever widths, whose features have equal Gram matrices give equal outputs at every step of
training, if they start with equal order parameters. Gaussian, sign and uniform latents, normalised, are such laws for
features linear in the latent; for quadratic features they are not.
"""

from sympy import Add, Expr, Integer, Integral, Rational, Symbol, exp, oo, pi, sqrt

from proofs.chain import Chain, argument
from proofs.notation import array, indices, total, width
from rctheory.suite.derivation import Scope

CLAIM = "linear.universality"
ASSUMPTIONS = (
    "the networks of closure.linear-gram: linear units, weights in the span of the features, equal order parameters at "
    "the start, the same data, loss and optimiser",
    "equal Gram matrices on every axis; for the three named laws: latents with independent normalised coordinates, "
    "features linear in them (and a constant)",
)
PLANTS = {
    "unequal_grams": "the Gram matrix above differs",
    "unnormalised": "the uniform law is on [-1, 1]",
    "lost_mass": "the outputs sum the neurons without their masses",
    "quadratic": "the fourth moment of the uniform law is taken to be the Gaussian one",
}

i, j, k, x, u, v, w, y = indices("i j k x u v w y")
ROWS, ROWS_STAR, DATA, RANK, RANK_BELOW, RANK_ABOVE = (width(name) for name in ("n", "m", "N", "R", "R^-", "R^+"))
ETA, Q = Symbol("eta", positive=True), array("q")
NAMES = ("p", "phi", "B", "B^+", "G", "G^-", "G^+", "c", "c^-", "e", "e^+", "b", "f")
Z = Symbol("z", real=True)


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    _outputs(chain)
    _suppose(chain)
    _compare(chain)
    _laws(chain)


derive = argue.derive


def _starred(name: str) -> str:
    return f"{name}*" if "^" in name else f"{name}^*"


def _outputs(chain: Chain) -> None:
    """The read-out of neurons of either network, through the Gram matrix of its features."""
    for star, size in ((False, ROWS), (True, ROWS_STAR)):
        mass, phi, order, gram, coord, output = (
            array(_starred(name) if star else name) for name in ("p", "phi", "Q", "G", "c", "f")
        )
        weight = Integer(1) if chain.planted == "lost_mass" and star else mass[j]
        chain.define(
            "and of the network on other neurons, with features of their own,"
            if star
            else "Gram matrix of the features",
            gram[u, v],
            total(mass[j] * phi[j, u] * phi[j, v], (j, size)),
        )
        chain.define(
            "and likewise of the other." if star else "The outputs read the signals of the last hidden layer.",
            output[k, x],
            total(weight * order[k, u] * phi[j, u] * phi[j, v] * coord[v, x], (j, size), (u, RANK), (v, RANK)),
            why="closure.linear-gram: weights and signals are in the span of the features",
        )
        chain.step(
            "as do those of the other, at its own width." if star else "The outputs see the neurons as a Gram matrix,",
            output[k, x],
            total(order[k, u] * gram[u, v] * coord[v, x], (u, RANK), (v, RANK)),
        )


def _suppose(chain: Chain) -> None:
    """Equal Gram matrices, and the hypotheses of the inductions."""
    for name, sentence in (
        ("G", "Suppose that the two laws have equal Gram matrices: of the layer,"),
        ("G^-", "of the layer below,"),
        ("G^+", "and of the layer above."),
    ):
        extra = array("E")[u, v] if chain.planted == "unequal_grams" and name == "G^+" else Integer(0)
        chain.define(sentence, array(_starred(name))[u, v], array(name)[u, v] + extra, why="hypothesis")
    for name, sentence in (
        ("B", "Let the order parameters be equal at this step of training: of the layer,"),
        ("B^+", "of the layer above,"),
        ("Q", "and of the read-out."),
    ):
        why = "hypothesis of the induction over training steps"
        chain.define(sentence, array(_starred(name))[u, v], array(name)[u, v], why=why)
    for name, sentence in (
        ("c^-", "Let the coordinates below be equal, as the inputs are,"),
        ("e^+", "and the dual coordinates above, as the slopes of the loss at equal outputs are."),
    ):
        why = "hypothesis of the induction over layers"
        chain.define(sentence, array(_starred(name))[u, x], array(name)[u, x], why=why)


def _compare(chain: Chain) -> None:
    for star in (False, True):
        order, above, below_gram, above_gram, low, high, coord, echo, rate = (
            array(_starred(name) if star else name) for name in ("B", "B^+", "G^-", "G^+", "c^-", "e^+", "c", "e", "b")
        )
        other = " of the other network" if star else ""
        why = "claim closure.linear-gram"
        chain.define(
            f"Coordinates{other},",
            coord[u, x],
            total(order[u, v] * below_gram[v, y] * low[y, x], (v, RANK_BELOW), (y, RANK_BELOW)),
            why=why,
        )
        chain.define(
            f"dual coordinates{other},",
            echo[u, x],
            total(above[w, u] * above_gram[w, y] * high[y, x], (w, RANK_ABOVE), (y, RANK_ABOVE)),
            why=why,
        )
        chain.define(
            f"and rates of the order parameters{other}.",
            rate[u, v],
            -total(Q[x] * echo[u, x] * low[v, x], (x, DATA)),
            why=why,
        )
    for name, sentence in (
        ("c", "Upwards all coordinates are equal;"),
        ("e", "downwards all dual coordinates are;"),
        ("b", "so the order parameters move alike, and stay equal: with them coordinates and"),
    ):
        chain.step(sentence, array(_starred(name))[u, x], array(name)[u, x])
    coord, order, gram = array("c^*"), array("Q^*"), array("G^*")
    chain.step(
        "outputs are equal at every step of training. Nothing of a law is left but its Gram matrices.",
        total(order[k, u] * gram[u, v] * coord[v, x], (u, RANK), (v, RANK)),
        array("f")[k, x],
    )


def gaussian(power: int) -> Expr:
    """Return a moment of the standard Gaussian law, as an integral."""
    return Integral(Z**power * exp(-(Z**2) / 2) / sqrt(2 * pi), (Z, -oo, oo))


def uniform(power: int, end: Expr) -> Expr:
    """Return a moment of the uniform law on [-end, end], as an integral over [-1, 1]."""
    return Integral((end * Z) ** power / 2, (Z, -1, 1))


def signs(power: int) -> Expr:
    """Return a moment of a fair sign."""
    return Add(Rational(1, 2), Rational((-1) ** power, 2), evaluate=False)


def _laws(chain: Chain) -> None:
    end = Integer(1) if chain.planted == "unnormalised" else sqrt(3)
    for power, value in ((1, Integer(0)), (2, Integer(1))):
        for name, moment in (("Gaussian", gaussian(power)), ("uniform, on [-3^(1/2), 3^(1/2)]", uniform(power, end))):
            chain.step(f"Moment of order {power}, {name}:", moment, value)
        ending = "fair sign." if power == 1 else "fair sign: equal Gram matrices for features linear in the latent."
        chain.step(f"Moment of order {power}, {ending}", signs(power), value)
    fourth = Integer(3) if chain.planted == "quadratic" else Rational(9, 5)
    chain.step("For quadratic features the moments of order 4 enter: uniform,", uniform(4, end), fourth)
    chain.step("Gaussian.", gaussian(4), Integer(3))
    chain.differ(
        "They differ: universality is that of equal Gram matrices, not of all normalised laws.", Integer(3), fourth
    )
    chain.differ("The sign differs from both.", signs(4), fourth)
