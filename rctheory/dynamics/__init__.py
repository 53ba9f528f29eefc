"""Networks on weighted axes, their training and their infinite-width limit."""

from rctheory.dynamics.activations import ACTIVATIONS, CROSS_ENTROPY, LOSSES, SQUARED, TANH, Activation, Loss
from rctheory.dynamics.ansatz import Ansatz
from rctheory.dynamics.limits import Solution, solve
from rctheory.dynamics.network import Network, Signatures
from rctheory.dynamics.training import accuracy, risk, train, velocity

__all__ = [
    "ACTIVATIONS",
    "CROSS_ENTROPY",
    "LOSSES",
    "SQUARED",
    "TANH",
    "Activation",
    "Ansatz",
    "Loss",
    "Network",
    "Signatures",
    "Solution",
    "accuracy",
    "risk",
    "solve",
    "train",
    "velocity",
]
