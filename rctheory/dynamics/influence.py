"""Influence functions of the trained limit: what a neuron of latent z contributes to the finite-width error.

The output of the limit is a function of the laws of neurons. Its derivative along the mass that the law of layer l puts
at z is, on quadrature nodes, the derivative by a mass, taken through the whole training run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rctheory.dynamics.network import Network
from rctheory.errors import ShapeError

Observable = Callable[[Network], Tensor]
"""From an untrained network to the numbers that are observed after training, of any shape."""


@dataclass(frozen=True)
class Influence:
    """First-order expansion of an observable in the laws of the hidden layers.

    Args:
        value: the observable on the limit, (M,) flattened.
        functions: for each hidden layer, IF_l(z_q) = J_l(z_q) - sum_q p_q J_l(z_q) at its nodes, (M, Q).
        masses: the masses of the nodes of each hidden layer, (Q,).
    """

    value: Tensor
    functions: tuple[Tensor, ...]
    masses: tuple[Tensor, ...]

    def variance(self, widths: tuple[int, ...]) -> Tensor:
        """Predict the variance of the observable at finite widths: sum_l Var_{z ~ mu_l}[IF_l(z)] / n_l, (M,).

        Claim `width.constant`. The residual adds only O(n^-2).
        """
        parts = zip(self.functions, self.masses, widths, strict=True)
        return torch.stack([(f.square() @ p) / n for f, p, n in parts]).sum(dim=0)

    def at(self, layer: int, nodes: np.ndarray, latents: Tensor) -> Tensor:
        """Interpolate IF_l from its Gauss-Legendre nodes to latents (..., n) of dimension 1: (M, ..., n).

        The interpolating polynomial through Gauss nodes converges as fast as the quadrature does.
        """
        values = self.functions[layer].numpy()
        if values.shape[1] != len(nodes):
            raise ShapeError(
                f"{len(nodes)} nodes for {values.shape[1]} values", "as many of each", "pass its own nodes"
            )
        coefficients = np.polynomial.legendre.legfit(nodes, values.T, len(nodes) - 1)
        return torch.from_numpy(np.polynomial.legendre.legval(latents.numpy(), coefficients))


def influence(limit: Network, observable: Observable) -> Influence:
    """Differentiate an observable of the trained limit by the masses of every hidden layer.

    Args:
        limit: the untrained network on quadrature nodes.
        observable: trains a network and returns what is observed.
    """
    masses = _leaves(limit)
    values = observable(_with_masses(limit, masses)).reshape(-1)
    rows = _jacobian(values, masses)
    functions = []
    for gradient, p in zip(rows, masses, strict=True):
        functions.append(gradient - (gradient @ p.detach())[:, None])
    return Influence(values.detach(), tuple(functions), tuple(p.detach() for p in masses))


def mass_derivatives(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """Differentiate the outputs of a network by the masses of its hidden layers, weights fixed: J^l_i = d f / d p^l_i.

        J^l_i(x, k) = a^l_i(x) b^l_i(x, k),  b^{L-1} = W^L_ki,
        b^l_i(x, k) = sum_j W^{l+1}_ji sigma'(h^{l+1}_j(x)) p^{l+1}_j b^{l+1}_j(x, k)

    To first order, another choice of units changes the outputs by sum_l (sum_c w_c J^l_{i_c} - sum_i p_i J^l_i).
    Cost k times that of a pass.

    Args:
        network: any, in particular trained.
        x: inputs (B, n_0).

    Returns:
        For l = 1..L-1, (..., B, k, n_l), of order one in the width.
    """
    pre, post = network.activations(x)
    back = network.weights[-1][..., None, :, :].expand(*pre[-1].shape, -1)
    derivatives: list[Tensor] = []
    for layer in range(len(network.weights) - 1, 0, -1):
        derivatives.insert(0, back * post[layer][..., None, :])
        slopes = network.masses[layer] * network.activation.slope(pre[layer - 1], post[layer])
        if layer > 1:
            back = (back * slopes[..., None, :]) @ network.weights[layer - 1][..., None, :, :]
    return tuple(derivatives)


def bias_constant(limit: Network, observable: Observable) -> tuple[Tensor, ...]:
    """Return, for each hidden layer, C_l such that E[observable at width n] - limit = sum_l C_l / n_l + O(n^-2).

        C_l = 1/2 [ int D2_l(z, z) dmu_l - int int D2_l(z, z') dmu_l dmu_l ]

    with D2_l the second derivative along the law of layer l (the layers are independent: no mixed term). Without a
    residual. Claim `width.bias`. Each C_l is (M,).
    """
    masses = _leaves(limit)
    values = observable(_with_masses(limit, masses)).reshape(-1)
    constants = []
    for p in masses:
        weights, per_value = p.detach(), []
        for value in values:
            (gradient,) = torch.autograd.grad(value, p, create_graph=True)
            (hessian,) = _jacobian(gradient, [p])
            per_value.append(0.5 * (hessian.diagonal() @ weights - weights @ hessian @ weights))
        constants.append(torch.stack(per_value))
    return tuple(constants)


def _jacobian(values: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Return d values_m / d input_q, (M, Q) for each input, one batched backward pass; the graph is kept."""
    basis = torch.eye(len(values), dtype=values.dtype)
    return torch.autograd.grad(values, inputs, basis, retain_graph=True, is_grads_batched=True)


def _leaves(limit: Network) -> list[Tensor]:
    return [p.detach().clone().requires_grad_() for p in limit.masses[1:-1]]


def _with_masses(limit: Network, inner: list[Tensor]) -> Network:
    return replace(limit, masses=(limit.masses[0], *inner, limit.masses[-1]))
