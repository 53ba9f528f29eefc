"""Training by closure: W(t) = W(0) + outer products of signatures, with no matrix between two growing axes.

Where the mean kernel is separable and the residual zero, W^l(0) = U V^T has the rank of the kernel, and each step of
gradient descent adds the rank of the data. A million units take a few gigabytes, where the matrix would take terabytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from rctheory.dynamics.activations import SQUARED, Loss
from rctheory.dynamics.ansatz import Ansatz, Rule, Sampler, gauss_nodes, independent
from rctheory.dynamics.network import Network
from rctheory.errors import LawError, UsageError
from rctheory.measures.kernels import RCKernel, SeparableKernel
from rctheory.measures.laws import Units
from rctheory.numerics import require_finite

_PRODUCTS = (Tensor.matmul, Tensor.__matmul__, torch.matmul)


@dataclass(frozen=True)
class Factors:
    """The matrix W_ij = sum_r u_ri v_rj, which is never formed.

    It stands where a network holds a weight: `Network` reads a weight by its shape, by `transpose` of the last two
    dimensions and by products with it on the right, and torch hands such a product to `__torch_function__`.

    Args:
        rows: u, (..., R, n).
        columns: v, (..., R, n').
    """

    rows: Tensor
    columns: Tensor

    @property
    def shape(self) -> torch.Size:
        """Return (..., n, n')."""
        return torch.Size([*self.rows.shape[:-2], self.rows.shape[-1], self.columns.shape[-1]])

    def transpose(self, _first: int, _second: int) -> "Factors":
        """Return the transpose of the matrices, whatever the two (last) dimensions are called."""
        return Factors(self.columns, self.rows)

    def dense(self) -> Tensor:
        """Return the matrix itself, (..., n, n'): for small widths."""
        return self.rows.transpose(-1, -2) @ self.columns

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], _types: Any, args: tuple[Any, ...] = (), _kwargs: Any = None
    ) -> Tensor:
        """Return block @ W = (block @ u^T) @ v, the one operation that a network asks of a weight."""
        if function not in _PRODUCTS or not isinstance(args[1], cls):
            raise TypeError(f"factors serve products block @ W only, not {function}")
        block, matrix = args
        inner: Tensor = block @ matrix.rows.transpose(-1, -2)
        product: Tensor = inner @ matrix.columns
        return product


def sample(
    ansatz: Ansatz,
    widths: Sequence[int],
    seeds: Sequence[int],
    *,
    root: int = 0,
    sampler: Sampler = independent,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Network:
    """Return the networks that `Ansatz.sample` draws, each matrix between two growing axes held as `Factors`.

    Raises:
        LawError: widths or seeds as in `Ansatz.sample`; a kernel that is not separable, or a residual.
    """
    axes = ansatz.sampled_axes(widths, seeds, root=root, sampler=sampler)
    return _network(ansatz, axes, dtype, device)


def limit(
    ansatz: Ansatz,
    nodes: int,
    *,
    rule: Rule = gauss_nodes,
    root: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Network:
    """Return the infinite-width network that `Ansatz.limit` puts on nodes, in factors: any number of nodes fits.

    Raises:
        LawError: as in `sample`, or a number of nodes that the rule cannot give.
    """
    return _network(ansatz, ansatz.limit_axes(nodes, rule=rule, root=root), dtype, device)


def train(network: Network, x: Tensor, y: Tensor, *, step: float, steps: int, loss: Loss = SQUARED) -> Network:
    """Run gradient descent as `training.train` does, matrices between growing axes staying in factors.

    Claim `closure.gd`: W(t) = W(0) - step * sum_s E_x[d(s, x) a(s, x)^T], so a step appends B rows to the factors.
    For widths n, kernels of rank r and B data, step t costs O(n B (r + B t)) operations, and the run holds
    2 n (r + B steps) numbers per factored matrix.

    Args:
        network: start, from `sample` or `limit` of this module; it is left unchanged.
        x: inputs (B, n_0).
        y: targets (B, k).
        step: the time step, free of the width.
        steps: how many steps.
        loss: loss per datum; the risk is its mean over the data.

    Raises:
        UsageError: a step that is not positive and finite, or a negative number of steps.
        NumericsError: a weight is no longer finite at the end (the step size diverges).
    """
    if not 0 < step < float("inf") or steps < 0:
        raise UsageError(f"step {step} and {steps} steps", "step > 0 and steps >= 0", "change them")
    data = x.shape[-2]
    stores = [_Store.of(weight, data * steps) for weight in network.weights]
    for _ in range(steps):
        signatures = _on(stores, network).signatures(x, y, loss)
        for store, (d, a) in zip(stores, signatures.pairs(), strict=True):
            store.descend(d, a, step / data)
    for layer, store in enumerate(stores, 1):
        store.require_finite(f"W^{layer} after {steps} steps of size {step}")
    return _on(stores, network)


class _Store:
    """A weight under way: a matrix that is updated in place, or factors with room for those to come."""

    def __init__(self, matrix: Tensor | None, rows: Tensor | None, columns: Tensor | None, rank: int) -> None:
        self._matrix, self._rows, self._columns, self._rank = matrix, rows, columns, rank

    @classmethod
    def of(cls, weight: "Tensor | Factors", room: int) -> "_Store":
        """Copy a weight; factors get `room` more rows."""
        if not isinstance(weight, Factors):
            return cls(weight.clone(), None, None, 0)
        rank = weight.rows.shape[-2]
        buffers = []
        for factor in (weight.rows, weight.columns):
            buffer = factor.new_empty(*factor.shape[:-2], rank + room, factor.shape[-1])
            buffer[..., :rank, :] = factor
            buffers.append(buffer)
        return cls(None, buffers[0], buffers[1], rank)

    def weight(self) -> "Tensor | Factors":
        """Return the weight as it stands, without a copy."""
        if self._rows is None or self._columns is None:
            return cast("Tensor", self._matrix)
        return Factors(self._rows[..., : self._rank, :], self._columns[..., : self._rank, :])

    def descend(self, d: Tensor, a: Tensor, rate: float) -> None:
        """Subtract rate * d^T a."""
        if self._rows is None or self._columns is None:
            cast("Tensor", self._matrix).sub_(d.transpose(-1, -2) @ a, alpha=rate)
            return
        after = self._rank + d.shape[-2]
        torch.mul(d, -rate, out=self._rows[..., self._rank : after, :])
        self._columns[..., self._rank : after, :] = a
        self._rank = after

    def require_finite(self, name: str) -> None:
        """Raise NumericsError where an entry is not finite."""
        weight = self.weight()
        for part in (weight.rows, weight.columns) if isinstance(weight, Factors) else (weight,):
            require_finite(name, part)


def _on(stores: Sequence[_Store], network: Network) -> Network:
    return _held([store.weight() for store in stores], network.masses, network)


def _held(weights: Sequence["Tensor | Factors"], masses: tuple[Tensor, ...], like: "Network | Ansatz") -> Network:
    """Return a network that holds factors; see `Factors` for what it asks of them."""
    return Network(tuple(cast("Tensor", weight) for weight in weights), masses, like.activation)


def _network(ansatz: Ansatz, axes: Sequence[Units], dtype: torch.dtype, device: torch.device | str) -> Network:
    weights: list[Tensor | Factors] = []
    for layer, kernel in enumerate(ansatz.kernels, 1):
        rows, columns = axes[layer], axes[layer - 1]
        if rows.averaged and columns.averaged:
            weights.append(_factors(kernel, rows, columns, layer, dtype, device))
        else:
            weights.append(kernel.expected(rows, columns).to(device, dtype).contiguous())
    return _held(weights, ansatz.masses_of(axes, dtype, device), ansatz)


def _factors(
    kernel: RCKernel, rows: Units, columns: Units, layer: int, dtype: torch.dtype, device: torch.device | str
) -> Factors:
    """Return W = phi(rows) B psi(columns)^T in factors."""
    mean = kernel.mean
    if kernel.residual or not isinstance(mean, SeparableKernel):
        found = f"W^{layer} with residual {kernel.residual} and mean kernel {type(mean).__name__}"
        raise LawError(found, "a separable kernel without residual", "use Ansatz.sample and training.train")
    left = mean.row_features(rows.latents) @ mean.core.to(rows.latents)
    right = mean.column_features(columns.latents)
    return Factors(*(part.transpose(-1, -2).to(device, dtype).contiguous() for part in (left, right)))


def as_dense(network: Network) -> Network:
    """Return the same network with every matrix formed: for small widths."""
    weights = [cast("Tensor | Factors", weight) for weight in network.weights]
    formed = [weight.dense() if isinstance(weight, Factors) else weight for weight in weights]
    return _held(formed, network.masses, network)
