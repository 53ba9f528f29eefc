"""One network on weighted axes: masses 1/n make it the finite network, quadrature masses make it the limit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from rctheory.dynamics.activations import Activation, Loss
from rctheory.errors import ShapeError


@dataclass(frozen=True)
class Signatures:
    """What a pass over B data leaves on every axis: the gauge-free signatures of its neurons.

    Args:
        activations: a^l, l = 0..L-1, (..., B, n_l); a^0 is the input.
        deltas: d^l, l = 1..L, (..., B, n_l): derivative of the loss of one datum along h^l, per mass.
        outputs: f = h^L, (..., B, k).
    """

    activations: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    outputs: Tensor

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (d^l, a^{l-1}) for l = 1..L."""
        return zip(self.deltas, self.activations, strict=True)


@dataclass(frozen=True)
class Network:
    """A multilayer network in which every axis l = 0..L carries masses p^l.

        h^l_i = sum_j W^l_ij p^{l-1}_j a^{l-1}_j,  a^l = sigma(h^l) for l < L,  f = h^L

    An axis that grows carries a probability (it is averaged), a fixed one carries ones (it is summed). Weights are of
    order one in the width. Leading dimensions of the weights are independent networks (seeds). Data run along the rows
    of activations: with few data, a (B, n) block against W is several times faster than an (n, B) block.

    Args:
        weights: W^1..W^L, W^l of shape (..., n_l, n_{l-1}).
        masses: p^0..p^L, p^l of shape (n_l,).
        activation: sigma on the hidden layers.

    Raises:
        ShapeError: fewer than two layers, or a weight that does not match the masses around it.
    """

    weights: tuple[Tensor, ...]
    masses: tuple[Tensor, ...]
    activation: Activation

    def __post_init__(self) -> None:
        """Check depth and shapes."""
        sizes = [p.numel() for p in self.masses]
        if len(self.weights) < 2 or len(sizes) != len(self.weights) + 1:
            found = f"{len(self.weights)} weights and {len(sizes)} axes"
            raise ShapeError(found, "L >= 2 weights and L + 1 axes", "add the missing layer or axis")
        for layer, weight in enumerate(self.weights, 1):
            want = (sizes[layer], sizes[layer - 1])
            if tuple(weight.shape[-2:]) != want:
                raise ShapeError(f"W^{layer} of shape {tuple(weight.shape)}", f"(..., {want[0]}, {want[1]})", "fix it")

    @property
    def widths(self) -> tuple[int, ...]:
        """Return n_0..n_L."""
        return tuple(p.numel() for p in self.masses)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights under the names of the declared MLP architecture, `weights.1` .. `weights.L`."""
        return {f"weights.{layer}": weight for layer, weight in enumerate(self.weights, 1)}

    def with_tensors(self, tensors: Mapping[str, Tensor], masses: tuple[Tensor, ...]) -> "Network":
        """Return a network of the same activation with other weights (named as in `tensors`) and masses."""
        weights = tuple(tensors[f"weights.{layer}"] for layer in range(1, len(self.weights) + 1))
        return Network(weights, masses, self.activation)

    def activations(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return pre-activations h^1..h^L and activations a^0..a^{L-1} on inputs x (B, n_0)."""
        pre: list[Tensor] = []
        post = [x]
        for layer, weight in enumerate(self.weights):
            h = (post[-1] * self.masses[layer]) @ weight.transpose(-1, -2)
            pre.append(h)
            if layer + 1 < len(self.weights):
                post.append(self.activation.value(h))
        return pre, post

    def outputs(self, x: Tensor) -> Tensor:
        """Return f on inputs x (B, n_0): (..., B, k)."""
        return self.activations(x)[0][-1]

    def signatures(self, x: Tensor, y: Tensor, loss: Loss) -> Signatures:
        """Run forward and back on inputs x (B, n_0) and targets y (B, k).

            d^L = d loss / d f,  d^l_i = sigma'(h^l_i) sum_k W^{l+1}_ki p^{l+1}_k d^{l+1}_k

        Claim `gradient.factorizes`: the derivative of the risk by W^l_ij is p^l_i p^{l-1}_j E_x[d^l_i a^{l-1}_j].
        """
        pre, post = self.activations(x)
        deltas = [loss.gradient(pre[-1], y)]
        for layer in range(len(self.weights) - 1, 0, -1):
            back = (deltas[0] * self.masses[layer + 1]) @ self.weights[layer]
            deltas.insert(0, back * self.activation.slope(pre[layer - 1], post[layer]))
        return Signatures(tuple(post), tuple(deltas), pre[-1])
