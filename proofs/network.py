"""The weighted-axis network that the proofs share: layers, backward sensitivities and the risk, as definitions."""

from dataclasses import dataclass

from sympy import Expr, IndexedBase, Lambda, Symbol

from proofs.chain import Chain
from proofs.notation import Activation, Loss, LossSlope, array, index, indices, total, width

i, j, k, x, r = indices("i j k x r")  # row and column of a weight, neuron above, datum, input coordinate
DATA, INPUTS, OUTPUTS = width("N"), width("d"), width("K")
INPUT, DATA_MASS, RISK = array("X"), array("q"), Symbol("R")


@dataclass(frozen=True)
class Layer:
    """The arrays of layer l: weights, pre-activations, sensitivities, masses of its neurons, and its width."""

    weight: IndexedBase
    latent: IndexedBase
    delta: IndexedBase
    mass: IndexedBase
    width: Expr

    @classmethod
    def numbered(cls, number: int) -> "Layer":
        """Return the hidden layer with this number."""
        weight, latent, delta, mass = (array(f"{letter}^{number}") for letter in ("W", "h", "delta", "p"))
        return cls(weight, latent, delta, mass, width(f"n_{number}"))


@dataclass(frozen=True)
class Network:
    """A network of some depth: its hidden layers, and the outputs."""

    hidden: tuple[Layer, ...]
    readout: IndexedBase
    output: IndexedBase
    slope: IndexedBase


def network(depth: int) -> Network:
    """Return the arrays of the network with `depth` weight matrices."""
    layers = tuple(Layer.numbered(number) for number in range(1, depth))
    return Network(layers, array(f"W^{depth}"), array("f"), array(f"delta^{depth}"))


def input_sum(layer: Layer, row: Symbol = i) -> Expr:
    """Return the fixed axis, summed: the pre-activation of the first layer."""
    return total(layer.weight[row, r] * INPUT[x, r], (r, INPUTS))


def mass_sum(weight: IndexedBase, below: Layer, row: Symbol = i) -> Expr:
    """Return the growing axis, weighted with its masses: what a neuron reads from the layer below."""
    return total(below.mass[j] * weight[row, j] * Activation(below.latent[j, x]), (j, below.width))


def define_forward(chain: Chain, net: Network) -> None:
    """Define pre-activations and outputs."""
    first = net.hidden[0]
    chain.define(
        "A fixed axis is summed: the first layer reads the d input coordinates.", first.latent[i, x], input_sum(first)
    )
    for below, layer in zip(net.hidden, net.hidden[1:], strict=False):
        sentence = "A growing axis is integrated against its masses: p = 1/n is the finite network."
        chain.define(sentence, layer.latent[i, x], mass_sum(layer.weight, below))
    chain.define(
        "The read-out integrates the last hidden layer.", net.output[k, x], mass_sum(net.readout, net.hidden[-1], k)
    )


def outputs_at(net: Network, datum: Symbol) -> tuple[Lambda, Symbol, Symbol]:
    """Return the arguments of the loss of a datum: all outputs, their number, the datum."""
    slot = index("k'")
    return Lambda(slot, net.output[slot, datum]), OUTPUTS, datum


def define_risk(chain: Chain, net: Network) -> None:
    """Define the risk: the mean over the data of a loss of all outputs."""
    risk = total(DATA_MASS[x] * Loss(*outputs_at(net, x)), (x, DATA))
    chain.define(
        "The risk is the mean over the data, with weights q, of any differentiable loss of all outputs.", RISK, risk
    )


def define_backward(chain: Chain, net: Network) -> None:
    """Define the sensitivities from the loss down to the first layer."""
    chain.define("Sensitivity of an output: the slope of the loss.", net.slope[k, x], LossSlope(k, *outputs_at(net, x)))
    top = net.hidden[-1]
    read = total(net.readout[k, i] * net.slope[k, x], (k, OUTPUTS))
    sentence = "The last hidden layer hears the fixed axis of outputs: a sum."
    chain.define(sentence, top.delta[i, x], Activation(top.latent[i, x], 1) * read)
    for layer, above in reversed(list(zip(net.hidden, net.hidden[1:], strict=False))):
        sentence = "Below, a growing axis is heard: masses again."
        chain.define(sentence, layer.delta[i, x], Activation(layer.latent[i, x], 1) * heard(above))


def heard(above: Layer) -> Expr:
    """Return what neuron i hears from the layer above: the mass-weighted sum of its sensitivities."""
    return total(above.mass[k] * above.weight[k, i] * above.delta[k, x], (k, above.width))
