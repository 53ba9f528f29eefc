"""Laws of neurons: how latents are drawn, and the nodes that integrate against the law."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special
from scipy.stats import qmc
from torch import Tensor

from rctheory.errors import LawError
from rctheory.numerics import tolerance


@dataclass(frozen=True)
class Units:
    """The neurons of one axis: a discrete probability over latents.

    The same class holds n sampled neurons (masses 1/n), quadrature nodes (masses are the weights of the rule) and the
    coordinates of a fixed axis (masses 1, `averaged=False`: a fixed axis is summed).

    Args:
        latents: (..., n, k) latent of each neuron; leading dimensions are seeds.
        masses: (n,) mass of each neuron, shared by all seeds.
        averaged: whether the masses are a probability.

    Raises:
        LawError: shapes disagree, a mass is not positive, or the masses of an averaged axis do not sum to one.
    """

    latents: Tensor
    masses: Tensor
    averaged: bool = True

    def __post_init__(self) -> None:
        """Check shapes, signs and the total mass."""
        n = self.masses.numel()
        if self.latents.ndim < 2 or self.masses.shape != self.latents.shape[-2:-1] or not n:
            found = f"latents of shape {tuple(self.latents.shape)} with masses of shape {tuple(self.masses.shape)}"
            raise LawError(found, "(..., n, k) and (n,) with n >= 1", "give one mass to each neuron")
        if not bool((self.masses > 0).all()):
            raise LawError(f"smallest mass {float(self.masses.min())}", "positive masses", "drop neurons without mass")
        total = float(self.masses.sum())
        # The masses may come from a rule computed in a few dozen roundings each: 64 of them leave room for that.
        if self.averaged and not abs(total - 1) <= tolerance(self.masses.dtype, terms=n + 64):
            raise LawError(f"masses that sum to {total!r}", "a probability, sum 1", "divide the masses by their sum")

    @classmethod
    def fixed(cls, size: int, dtype: torch.dtype = torch.float64) -> "Units":
        """Return a fixed axis of `size` coordinates; the latent of a coordinate is its index."""
        index = torch.arange(size, dtype=dtype)[:, None]
        return cls(index, torch.ones(size, dtype=dtype), averaged=False)

    @classmethod
    def sampled(cls, latents: Tensor) -> "Units":
        """Return n neurons of equal mass from their latents (..., n, k)."""
        n = latents.shape[-2]
        return cls(latents, torch.full((n,), 1.0 / n, dtype=latents.dtype))


class NeuronLaw(ABC):
    """A probability mu on latents in R^k.

    Args:
        dimension: k.
    """

    dimension: int

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n iid latents: (n, k), float64."""

    @abstractmethod
    def rule(self, nodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the one-dimensional Gauss rule of the law: nodes and masses."""

    def quantile(self, shares: np.ndarray) -> np.ndarray:
        """Map shares u in (0, 1)^k, (n, k), to latents, coordinate by coordinate: uniform shares get the law mu.

        Raises:
            LawError: the law has no quantile function of its coordinates.
        """
        raise LawError(f"{type(self).__name__} without a quantile function", "one", "use Gauss nodes or iid draws")

    def quadrature(self, nodes: int) -> Units:
        """Return the tensor Gauss rule with `nodes` nodes per latent dimension, as neurons with masses.

        sum_q p_q phi(z_q) = int phi dmu for every polynomial of degree <= 2 nodes - 1 in each coordinate.

        Raises:
            LawError: `nodes` is not positive, or the tensor rule would have more than 2^22 nodes.
        """
        if nodes < 1:
            raise LawError(f"{nodes} quadrature nodes", "at least 1", "ask for more nodes")
        if nodes**self.dimension > _MOST_NODES:
            found = f"{nodes} nodes in each of {self.dimension} latent dimensions"
            raise LawError(found, f"at most {_MOST_NODES} nodes in all", "use fewer nodes or Sobol nodes")
        points, masses = (torch.from_numpy(part) for part in self.rule(nodes))
        grids = torch.meshgrid(*[points] * self.dimension, indexing="ij")
        products = torch.meshgrid(*[masses] * self.dimension, indexing="ij")
        latents = torch.stack([grid.reshape(-1) for grid in grids], dim=-1)
        total = torch.stack(products).prod(dim=0).reshape(-1)
        return Units(latents, total / total.sum())

    def scrambled_sobol(self, n: int, generator: torch.Generator) -> Tensor:
        """Return n scrambled Sobol points, mapped through the quantiles of the law: (n, k), float64.

        Each point has the law mu, so an average over them is unbiased; its error falls faster than n^(-1/2) for smooth
        integrands (n^(-3/2) up to logarithms in low dimension), in any dimension, with no rule of n^k nodes.

        Raises:
            LawError: n is not a power of two: the points would be unbalanced. The law has no quantile function.
        """
        if n < 1 or n & (n - 1):
            raise LawError(f"{n} Sobol points", "a power of two, at least 1", "round it to a power of two")
        seed = int(torch.randint(2**63 - 1, (1,), generator=generator))
        engine = qmc.Sobol(self.dimension, bits=_SOBOL_BITS, seed=np.random.default_rng(seed))
        # Points are dyadic and may be 0: half a cell moves them inside (0, 1), where quantiles are finite.
        shares = engine.random_base2(n.bit_length() - 1) + 0.5 ** (_SOBOL_BITS + 1)
        return torch.from_numpy(self.quantile(shares))


_MOST_NODES = 1 << 22
_SOBOL_BITS = 50
"""Digits of a Sobol point: with half a cell added it is still exact in float64 and below 1."""


def _check(n: int, dimension: int) -> None:
    if n < 1 or dimension < 1:
        found = f"{n} neurons with latents of dimension {dimension}"
        raise LawError(found, "at least one of each", "use a width and a dimension of at least 1")


@dataclass(frozen=True)
class UniformLaw(NeuronLaw):
    """Uniform on [-1, 1]^k; nodes by Gauss-Legendre."""

    dimension: int = 1

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n iid latents: (n, k)."""
        _check(n, self.dimension)
        return 2 * torch.rand(n, self.dimension, generator=generator, dtype=torch.float64) - 1

    def rule(self, nodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return Gauss-Legendre nodes and half their weights."""
        points, weights = np.polynomial.legendre.leggauss(nodes)
        return points, weights / 2

    def quantile(self, shares: np.ndarray) -> np.ndarray:
        """Return 2 u - 1."""
        return 2 * shares - 1


@dataclass(frozen=True)
class GaussianLaw(NeuronLaw):
    """Standard normal on R^k; nodes by Gauss-Hermite."""

    dimension: int = 1

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n iid latents: (n, k)."""
        _check(n, self.dimension)
        return torch.randn(n, self.dimension, generator=generator, dtype=torch.float64)

    def rule(self, nodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilists' Gauss-Hermite nodes and normalised weights."""
        points, weights = np.polynomial.hermite_e.hermegauss(nodes)
        return points, weights / math.sqrt(2 * math.pi)

    def quantile(self, shares: np.ndarray) -> np.ndarray:
        """Return the inverse of the normal distribution function."""
        return np.asarray(special.ndtri(shares))


@dataclass(frozen=True)
class RademacherLaw(NeuronLaw):
    """Independent fair signs, uniform on {-1, 1}^k; its rule is the law itself, exact for any number of nodes asked."""

    dimension: int = 1

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n iid latents: (n, k)."""
        _check(n, self.dimension)
        return 2.0 * torch.randint(2, (n, self.dimension), generator=generator).double() - 1

    def rule(self, nodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the two signs with mass one half each."""
        return np.array([-1.0, 1.0]), np.array([0.5, 0.5])

    def quantile(self, shares: np.ndarray) -> np.ndarray:
        """Return -1 below one half and 1 above."""
        return np.where(shares < 0.5, -1.0, 1.0)
