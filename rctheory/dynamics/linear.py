"""Deep linear networks close in finite dimension: gradient descent on Gram order parameters, exact at every width.

With features phi_l of the latents of layer l and W^l_ij = phi_l(z_i)^T C^l phi_{l-1}(z'_j) (no features on the fixed
input and output), gradient descent keeps this form, and the law enters only through G_l = E[phi_l phi_l^T]:

    dC^l/dt = - (C^{l+1}^T G_{l+1} C^{l+2}^T ... C^L^T) E_x[(f - y) x^T] (C^1^T G_1 ... C^{l-1}^T)

Source: claims `closure.linear-gram` and `linear.universality`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rctheory.errors import ShapeError
from rctheory.numerics import require_finite


def gram(features: Tensor, masses: Tensor) -> Tensor:
    """Return G = sum_j p_j phi_j phi_j^T of features (..., n, r) under masses (n,): (..., r, r)."""
    return (features * masses[:, None]).transpose(-1, -2) @ features


@dataclass(frozen=True)
class LinearClosure:
    """The order parameters of a deep linear network.

    Args:
        coefficients: C^1..C^L, C^l of shape (..., r_l, r_{l-1}), with r_0 inputs and r_L outputs.
        grams: G_1..G_{L-1}, G_l of shape (..., r_l, r_l): of the limit law, or of a finite sample.

    Raises:
        ShapeError: fewer than two layers, or shapes that do not fit.
    """

    coefficients: tuple[Tensor, ...]
    grams: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """Check that the shapes chain."""
        if len(self.coefficients) < 2 or len(self.grams) != len(self.coefficients) - 1:
            found = f"{len(self.coefficients)} coefficient matrices and {len(self.grams)} Gram matrices"
            raise ShapeError(found, "L >= 2 and L - 1", "add the missing one")
        for layer, g in enumerate(self.grams):
            want = (self.coefficients[layer].shape[-2], self.coefficients[layer + 1].shape[-1])
            if tuple(g.shape[-2:]) != want:
                found = f"Gram matrix {layer + 1} of shape {tuple(g.shape)}"
                raise ShapeError(found, f"(..., {want[0]}, {want[1]})", "fix it")

    def product(self) -> Tensor:
        """Return the linear map C^L G_{L-1} C^{L-1} ... G_1 C^1 of the network, (..., outputs, inputs)."""
        return self._up_to(len(self.coefficients))

    def train(self, x: Tensor, y: Tensor, *, step: float, steps: int) -> "LinearClosure":
        """Run gradient descent of the squared loss on inputs x (B, inputs) and targets y (B, outputs).

        One step costs O(L r^3) per seed, whatever the width.

        Raises:
            NumericsError: the step size diverges.
        """
        current = self
        for _ in range(steps):
            error = x @ current.product().transpose(-1, -2) - y
            correlation = error.transpose(-1, -2) @ x / len(x)
            moved = [c - step * current._velocity(k, correlation) for k, c in enumerate(current.coefficients)]
            current = LinearClosure(tuple(moved), current.grams)
        for layer, c in enumerate(current.coefficients, 1):
            require_finite(f"C^{layer} after {steps} steps of size {step}", c)
        return current

    def weights(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return W^1..W^L on neurons with features phi_1..phi_{L-1}, each (..., n_l, r_l)."""
        rows = [*features, None]
        columns = [None, *features]
        found = []
        for c, left, right in zip(self.coefficients, rows, columns, strict=True):
            weight = c if left is None else left @ c
            found.append(weight if right is None else weight @ right.transpose(-1, -2))
        return found

    def _up_to(self, layer: int) -> Tensor:
        """Return C^layer G ... G_1 C^1: the map from inputs to the coefficients of h^layer."""
        found = self.coefficients[0]
        for c, g in zip(self.coefficients[1:layer], self.grams, strict=False):
            found = c @ (g @ found)
        return found

    def _down_to(self, layer: int) -> Tensor:
        """Return C^L G_{L-1} ... C^{layer+1}: the map from coefficients of a^layer, before G_layer, to the outputs."""
        found = self.coefficients[-1]
        for k in range(len(self.coefficients) - 2, layer - 1, -1):
            found = found @ self.grams[k] @ self.coefficients[k]
        return found

    def _velocity(self, index: int, correlation: Tensor) -> Tensor:
        """Return the coefficients of E_x[d^l a^{l-1}] for l = index + 1."""
        last = len(self.coefficients) - 1
        back = correlation if index == last else self._down_to(index + 1).transpose(-1, -2) @ correlation
        return back if index == 0 else back @ self._up_to(index).transpose(-1, -2)
