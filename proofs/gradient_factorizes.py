"""Claim `gradient.factorizes`: the gradient of the risk is a mean of outer products of signatures.

Two proofs. Depth 4 (first, middle and last layers all occur) by differentiating the nested sums themselves, at
symbolic widths, with an abstract activation and an abstract loss of all outputs. Then any depth, by induction from
the loss downwards, one layer at a time.
"""

from sympy import Expr, Integer

from proofs.chain import Chain, argument
from proofs.network import (
    DATA,
    DATA_MASS,
    INPUT,
    OUTPUTS,
    RISK,
    Layer,
    Network,
    define_backward,
    define_forward,
    define_risk,
    heard,
    i,
    j,
    k,
    mass_sum,
    network,
    r,
    x,
)
from proofs.notation import Activation, Partial, array, index, total, width
from rctheory.suite.derivation import Scope

CLAIM = "gradient.factorizes"
ASSUMPTIONS = (
    "activation and loss are differentiable; nothing else is known of them",
    "widths, input size, output size and number of data are symbols",
    "masses p and data weights q are symbols: p = 1/n is the finite network, quadrature weights are the limit",
)
PLANTS = {
    "captured_index": "the entry is differentiated under the very names that the sum binds",
    "dropped_mass": "the mass of the row is left out of the gradient of a middle layer",
    "wrong_sign": "the velocity climbs the risk",
    "transposed_weight": "a sensitivity reads the weights of its row instead of its column",
    "missing_slope": "the induction forgets the slope of the activation",
    "mean_over_outputs": "the fixed axis of outputs is averaged instead of summed",
}


@argument(CLAIM, Scope.DERIVED, ASSUMPTIONS, PLANTS)
def argue(chain: Chain) -> None:
    """Write the argument; every step is checked when it is added, with or without a planted error."""
    net = network(depth=4)
    define_forward(chain, net)
    define_risk(chain, net)
    define_backward(chain, net)
    _plant_in_definitions(chain, net)
    _by_differentiation(chain, net)
    _by_induction(chain)


derive = argue.derive


def _plant_in_definitions(chain: Chain, net: Network) -> None:
    _, middle, top = net.hidden
    if chain.planted == "transposed_weight":
        read = total(top.mass[k] * top.weight[i, k] * top.delta[k, x], (k, top.width))
        chain.define("Planted.", middle.delta[i, x], Activation(middle.latent[i, x], 1) * read)
    if chain.planted == "mean_over_outputs":
        read = total(net.readout[k, i] * net.slope[k, x], (k, OUTPUTS)) / OUTPUTS
        chain.define("Planted.", top.delta[i, x], Activation(top.latent[i, x], 1) * read)


def _data_mean(body: Expr) -> Expr:
    """Return E_x: the sum over the data with weights q."""
    return total(DATA_MASS[x] * body, (x, DATA))


def _by_differentiation(chain: Chain, net: Network) -> None:
    first, middle, top = net.hidden
    chain.step(
        "Differentiate the nested sums. Last layer: one mass, because only its column axis grows.",
        Partial(RISK, net.readout[k, j]),
        top.mass[j] * _data_mean(net.slope[k, x] * Activation(top.latent[j, x])),
    )
    for below, layer in ((middle, top), (first, middle)):
        mass = Integer(1) if chain.planted == "dropped_mass" else layer.mass[i]
        chain.step(
            "Middle layer: the masses of both neurons come out, a mean of outer products of signatures stays.",
            Partial(RISK, layer.weight[i, j]),
            mass * below.mass[j] * _data_mean(layer.delta[i, x] * Activation(below.latent[j, x])),
        )
    chain.step(
        "First layer: the input axis is fixed, so only the row has a mass.",
        Partial(RISK, first.weight[i, r]),
        first.mass[i] * _data_mean(first.delta[i, x] * INPUT[x, r]),
    )
    sign = 1 if chain.planted == "wrong_sign" else -1
    chain.step(
        "The mean-field learning rate divides by the masses: the velocity of a weight is free of every width.",
        -Partial(RISK, middle.weight[i, j]) / (middle.mass[i] * first.mass[j]),
        sign * _data_mean(middle.delta[i, x] * Activation(first.latent[j, x])),
    )
    for layer in net.hidden:
        chain.define("The finite network has masses 1/n.", layer.mass[i], 1 / layer.width)
    chain.step(
        "There the factor of a middle layer is one over both widths.",
        Partial(RISK, middle.weight[i, j]),
        _data_mean(middle.delta[i, x] * Activation(first.latent[j, x])) / (middle.width * first.width),
    )


def _by_induction(chain: Chain) -> None:
    """Any depth: from the sensitivity of one layer to the next one below, and to the weights between."""
    layer = Layer(array("W"), array("h"), array("delta"), array("p"), width("n"))
    above = Layer(array("V"), array("g"), array("epsilon"), array("p^+"), width("n^+"))
    slope, signal, low, y = array("S"), array("a"), array("p^-"), index("y")
    chain.define(
        "Any depth, by induction from the top. Suppose that the risk has this slope in the pre-activations g of the "
        "layer above; for the outputs, with masses 1, it is the definition of their sensitivity.",
        slope[k, x],
        DATA_MASS[x] * above.mass[k] * above.delta[k, x],
        why="hypothesis of the induction",
    )
    chain.define("The layer above reads this layer.", above.latent[k, x], mass_sum(above.weight, layer, k))
    factor = Integer(1) if chain.planted == "missing_slope" else Activation(layer.latent[i, x], 1)
    chain.define("Sensitivity of this layer.", layer.delta[i, x], factor * heard(above))
    chain.step(
        "The chain rule carries the hypothesis one layer down.",
        total(slope[k, y] * Partial(above.latent[k, y], layer.latent[i, x]), (k, above.width), (y, DATA)),
        DATA_MASS[x] * layer.mass[i] * layer.delta[i, x],
    )
    reads = total(low[j] * layer.weight[i, j] * signal[j, x], (j, width("n^-")))
    # the hypothesis is now used one layer lower: the pre-activation gets its meaning, the slope is the one just proved
    below, pre = array("S^-"), array("u")
    chain.define("This layer reads signals a, whatever lies below.", pre[i, x], reads)
    chain.define("Its slope is the one just found.", below[i, x], DATA_MASS[x] * layer.mass[i] * layer.delta[i, x])
    derivative = Partial(pre[k, x], layer.weight[i, j])
    if chain.planted == "captured_index":
        derivative = reads.xreplace({i: k}).diff(layer.weight[i, j])
    chain.step(
        "So the weights of every layer have the gradient of the claim, whatever the depth.",
        total(below[k, x] * derivative, (k, layer.width), (x, DATA)),
        layer.mass[i] * low[j] * _data_mean(layer.delta[i, x] * signal[j, x]),
    )
