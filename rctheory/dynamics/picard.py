"""Picard's iteration on path space: the flow as the fixed point of W -> W(0) + integral of the velocity along W."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rctheory.dynamics.activations import SQUARED, Loss
from rctheory.dynamics.network import Network
from rctheory.dynamics.training import velocity
from rctheory.errors import UsageError
from rctheory.numerics import require_finite


@dataclass(frozen=True)
class Path:
    """A path of weights on [0, T], by its values at Chebyshev points.

    Args:
        times: t_0 = 0 < ... < t_M = T, (M + 1,).
        network: the weights along the path; the leading dimension of each is time.
    """

    times: Tensor
    network: Network

    def end(self) -> Network:
        """Return the network at time T."""
        return replace(self.network, weights=tuple(w[-1] for w in self.network.weights))

    def distance(self, other: "Path") -> float:
        """Return sup_t max_l (sum_ij p^l_i p^{l-1}_j (W^l_ij - V^l_ij)^2)^(1/2), the sup over the points in time.

        The norm weighs entries by the masses of their neurons, so it does not depend on how a law is discretised.
        """
        parts = []
        pairs = zip(self.network.weights, other.network.weights, strict=True)
        for layer, (w, v) in enumerate(pairs):
            rows, columns = self.network.masses[layer + 1], self.network.masses[layer]
            parts.append(torch.einsum("tij,i,j->t", (w - v).square(), rows, columns).sqrt().max())
        return float(torch.stack(parts).max())


def picard(
    network: Network,
    x: Tensor,
    y: Tensor,
    *,
    horizon: float,
    points: int = 32,
    relaxation: float = 1.0,
    loss: Loss = SQUARED,
) -> Iterator[Path]:
    """Yield Picard's iterates W_0 = W(0), W_{k+1}(t) = W(0) + int_0^t velocity(W_k(s)) ds, without end.

    Where the velocity is Lipschitz with constant K their differences are at most of order (K T)^k / k!, so they fall
    faster than any geometric rate: the fixed point exists and is the only one. Claim `wellposed.picard`. A path is the
    polynomial through its values at points + 1 Chebyshev points, and is integrated as such: spectrally accurate.

    Args:
        network: start, on quadrature nodes for the limit, in float64; one network, without leading dimensions.
        x: inputs (B, n_0).
        y: targets (B, k).
        horizon: the time T, positive.
        points: the degree in time, at least 1.
        relaxation: the part w of the way that an iterate goes, in (0, 1]. Below 1 the fixed point is the same, but
            differences fall only like (1 - w)^k.
        loss: loss per datum; the risk is its mean over the data.

    Raises:
        UsageError: a horizon that is not positive and finite, no points, a relaxation outside (0, 1], or a batch.
        NumericsError: an iterate is not finite.
    """
    if not 0 < horizon < float("inf") or points < 1 or not 0 < relaxation <= 1:
        found = f"horizon {horizon}, {points} points and relaxation {relaxation}"
        raise UsageError(found, "horizon > 0, points >= 1 and relaxation in (0, 1]", "change them")
    if any(w.ndim != 2 for w in network.weights):
        raise UsageError(f"weights of {network.weights[0].ndim} dimensions", "one network, 2", "take one of the batch")
    times, integral = integration(points)
    times, integral = (part.to(network.weights[0]) * horizon for part in (times, integral))
    start = network.weights
    still = tuple(w.expand(points + 1, *w.shape) for w in start)
    path = Path(times, replace(network, weights=still))
    while True:
        yield path
        velocities = velocity(path.network.signatures(x, y, loss))
        moved = tuple(w + torch.tensordot(integral, v, dims=1) for w, v in zip(start, velocities, strict=True))
        if relaxation < 1:
            moved = tuple(torch.lerp(w, v, relaxation) for w, v in zip(path.network.weights, moved, strict=True))
        for layer, weight in enumerate(moved, 1):
            require_finite(f"W^{layer} of a Picard iterate on [0, {horizon}]", weight)
        path = Path(times, replace(network, weights=moved))


def integration(points: int) -> tuple[Tensor, Tensor]:
    """Return Chebyshev points s_0 = 0 < ... < s_M = 1 and the matrix A with int_0^{s_i} g = sum_j A_ij g(s_j).

    Exact for polynomials g of degree at most M = `points`.
    """
    nodes = -np.cos(np.pi * np.arange(points + 1) / points)
    basis = np.eye(points + 1)
    chebyshev = np.polynomial.chebyshev
    primitives = np.stack([chebyshev.chebval(nodes, chebyshev.chebint(row, lbnd=-1)) for row in basis], axis=1)
    values = chebyshev.chebvander(nodes, points)
    integral = primitives @ np.linalg.inv(values)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(integral / 2)
