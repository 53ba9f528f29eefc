"""Optimizers as chains of updates of the mean-field gradient, each a function of signatures and its own history.

The mean-field gradient of W^l_ij is g_ij = E_x[d^l_i a^{l-1}_j], free of the width (claim `gradient.factorizes`). An
update turns it into a direction u, and training moves W <- W - step * u. Updates compose in the order given: decay
before Adam is L2 regularisation, decay after it is AdamW. Source: the claims `closure.*`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.dynamics.network import Network, Signatures
from rctheory.errors import UsageError
from rctheory.numerics import generator

Directions = list[Tensor]
"""One direction per layer, (..., n_l, n_{l-1})."""


@dataclass(frozen=True)
class Moment:
    """The circumstances of one step: its index and size, the network before it and its signatures."""

    index: int
    step: float
    network: Network
    signatures: Signatures


Advance = Callable[[Moment, Directions], Directions]
"""What a started update does in each step; it keeps its history inside."""


class Update(ABC):
    """A map from directions to directions with a memory."""

    @abstractmethod
    def start(self) -> Advance:
        """Return the update with an empty memory."""


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value < high:
        raise UsageError(f"{name} = {value}", f"a number in [{low:g}, {high:g})", "change it")


@dataclass(frozen=True)
class Momentum(Update):
    """Heavy ball: v <- beta v + u. Linear in the gradients: u_t = sum_s beta^(t-s) g_s."""

    beta: float = 0.9

    def __post_init__(self) -> None:
        """Check beta."""
        _within("beta", self.beta, 0, 1)

    def start(self) -> Advance:
        """Return the update with zero velocity."""
        memory: Directions = []

        def advance(_moment: Moment, directions: Directions) -> Directions:
            previous = memory or [torch.zeros_like(u) for u in directions]
            memory[:] = [self.beta * v + u for v, u in zip(previous, directions, strict=True)]
            return list(memory)

        return advance


@dataclass(frozen=True)
class Adam(Update):
    """Adam with bias correction: u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps), m and v means of g and g^2.

    Entrywise in the history of g_ij, hence closed in the two signature histories; not linear. `eps` is compared with
    the mean-field gradient, which is free of the width.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check the decay rates and eps."""
        _within("beta1", self.beta1, 0, 1)
        _within("beta2", self.beta2, 0, 1)
        _within("eps", self.eps, 0, math.inf)

    def start(self) -> Advance:
        """Return the update with empty moments."""
        first, second = Momentum(self.beta1).start(), Momentum(self.beta2).start()

        def advance(moment: Moment, directions: Directions) -> Directions:
            m = first(moment, directions)
            v = second(moment, [u.square() for u in directions])
            # Momentum sums beta^(t-s) g_s; (1 - beta) / (1 - beta^t) turns the sum into a weighted mean.
            c1, c2 = ((1 - b) / (1 - b ** (moment.index + 1)) for b in (self.beta1, self.beta2))
            return [c1 * a / ((c2 * b).sqrt() + self.eps) for a, b in zip(m, v, strict=True)]

        return advance


@dataclass(frozen=True)
class RMSProp(Update):
    """u = g / (sqrt(v) + eps), v <- beta v + (1 - beta) g^2. Entrywise in the history of g_ij; not linear."""

    beta: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check the decay rate and eps."""
        _within("beta", self.beta, 0, 1)
        _within("eps", self.eps, 0, math.inf)

    def start(self) -> Advance:
        """Return the update with an empty mean square."""
        squares = Momentum(self.beta).start()

        def advance(moment: Moment, directions: Directions) -> Directions:
            v = squares(moment, [u.square() for u in directions])
            return [u / (((1 - self.beta) * s).sqrt() + self.eps) for u, s in zip(directions, v, strict=True)]

        return advance


@dataclass(frozen=True)
class Sign(Update):
    """u = sign(g): entrywise, without memory; not linear."""

    def start(self) -> Advance:
        """Return the update."""
        return lambda _moment, directions: [u.sign() for u in directions]


@dataclass(frozen=True)
class Decay(Update):
    """u + rate * W: the residual decays like (1 - step * rate)^t when the weights move by this direction alone."""

    rate: float

    def __post_init__(self) -> None:
        """Check the rate."""
        _within("decay rate", self.rate, 0, math.inf)

    def start(self) -> Advance:
        """Return the update."""
        return lambda moment, directions: [
            u + self.rate * w for u, w in zip(directions, moment.network.weights, strict=True)
        ]


def global_norm(network: Network, directions: Directions) -> Tensor:
    """Return sqrt(sum_l sum_ij p^l_i p^{l-1}_j u_ij^2), (...): the norm in which the gradient is free of the width."""
    total = [
        (network.masses[layer + 1] * ((u.square() * network.masses[layer]).sum(dim=-1))).sum(dim=-1)
        for layer, u in enumerate(directions)
    ]
    return torch.stack(total).sum(dim=0).sqrt()


@dataclass(frozen=True)
class Clip(Update):
    """Scale all directions by min(1, limit / global norm): one common scalar, row-column exchangeable given it."""

    limit: float

    def __post_init__(self) -> None:
        """Check the limit."""
        if not self.limit > 0:
            raise UsageError(f"clipping limit {self.limit}", "a positive number", "change it")

    def start(self) -> Advance:
        """Return the update."""

        def advance(moment: Moment, directions: Directions) -> Directions:
            norm = global_norm(moment.network, directions)
            scale = (self.limit / norm).clamp(max=1)[..., None, None]
            return [scale * u for u in directions]

        return advance


@dataclass(frozen=True)
class Muon(Update):
    """Replace each direction by the partial isometry of its polar form, U V^T of its singular value decomposition.

    Axes carry their masses: with P the diagonal of masses, the isometry is that of P_l^(1/2) u P_{l-1}^(1/2), taken
    back by P^(-1/2) on both sides, so entries are free of the width. Singular values below `rank_tolerance` times the
    largest are noise of rounding and are dropped. Cost O(n^3) per layer and step.
    """

    rank_tolerance: float = 1e-10

    def start(self) -> Advance:
        """Return the update."""

        def advance(moment: Moment, directions: Directions) -> Directions:
            roots = [p.sqrt() for p in moment.network.masses]
            return [self._isometry(u, roots[layer + 1], roots[layer]) for layer, u in enumerate(directions)]

        return advance

    def _isometry(self, direction: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        weighted = rows[:, None] * direction * columns
        left, values, right = torch.linalg.svd(weighted, full_matrices=False)
        kept = (values > self.rank_tolerance * values[..., :1]).to(values)
        isometry: Tensor = (left * kept[..., None, :]) @ right
        return isometry / rows[:, None] / columns


@dataclass(frozen=True)
class Langevin(Update):
    """Add noise of variance 2 temperature * step per step to every weight: fresh residual, variance 2 tau t at time t.

    Args:
        temperature: tau.
        root: root seed; step and layer name the stream. All networks of a batch draw from it in turn.
    """

    temperature: float
    root: int = 0

    def __post_init__(self) -> None:
        """Check the temperature."""
        _within("temperature", self.temperature, 0, math.inf)

    def start(self) -> Advance:
        """Return the update."""

        def advance(moment: Moment, directions: Directions) -> Directions:
            scale = math.sqrt(2 * self.temperature / moment.step)
            noisy = []
            for layer, u in enumerate(directions):
                stream = generator(self.root, "langevin", moment.index, layer)
                noise = torch.randn(u.shape, generator=stream, dtype=u.dtype).to(u.device)
                noisy.append(u + scale * noise)
            return noisy

        return advance
