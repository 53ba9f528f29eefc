"""The row-column ansatz of a whole network, its finite samples and its infinite-width limit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rctheory.dynamics.activations import Activation
from rctheory.dynamics.network import Network
from rctheory.errors import LawError, ShapeError
from rctheory.measures.kernels import RCKernel
from rctheory.measures.laws import NeuronLaw, Units
from rctheory.numerics import chunks, generator

Sampler = Callable[[NeuronLaw, int, torch.Generator], Tensor]
"""How latents are drawn: (law, n, generator) -> (n, k)."""
Rule = Callable[[NeuronLaw, int, torch.Generator], Units]
"""How a law is discretised for the limit: (law, nodes, generator) -> neurons with masses."""


def independent(law: NeuronLaw, n: int, stream: torch.Generator) -> Tensor:
    """Draw n iid latents."""
    return law.sample(n, stream)


def gauss_nodes(law: NeuronLaw, nodes: int, _stream: torch.Generator) -> Units:
    """Return the tensor Gauss rule, `nodes` per latent dimension: spectral accuracy, nodes^k nodes in dimension k."""
    return law.quadrature(nodes)


def sobol_nodes(law: NeuronLaw, nodes: int, stream: torch.Generator) -> Units:
    """Return `nodes` (a power of two) scrambled Sobol points of equal mass: for latents of dimension 3 to about 8."""
    return Units.sampled(law.scrambled_sobol(nodes, stream))


@dataclass(frozen=True)
class Ansatz:
    """W^l_ij = F_l(z^l_i, z^{l-1}_j, xi^l_ij): one latent per neuron, shared by the two matrices that it joins.

    Args:
        inputs: n_0, fixed.
        outputs: n_L, fixed.
        laws: law of the latents of each hidden layer, l = 1..L-1.
        kernels: kernel of each weight matrix, l = 1..L.
        activation: activation of the hidden layers.

    Raises:
        ShapeError: the numbers of laws and kernels do not fit.
    """

    inputs: int
    outputs: int
    laws: tuple[NeuronLaw, ...]
    kernels: tuple[RCKernel, ...]
    activation: Activation

    def __post_init__(self) -> None:
        """Check that L kernels stand between L + 1 axes."""
        if len(self.laws) < 1 or len(self.kernels) != len(self.laws) + 1:
            found = f"{len(self.laws)} laws of hidden layers and {len(self.kernels)} kernels"
            raise ShapeError(found, "one kernel more than laws, and at least one law", "add or drop a kernel")

    def limit(
        self,
        nodes: int,
        dtype: torch.dtype = torch.float64,
        *,
        rule: Rule = gauss_nodes,
        root: int = 0,
        device: torch.device | str = "cpu",
    ) -> Network:
        """Return the infinite-width network on the nodes of a rule, hidden layer by hidden layer.

        The residual has mean zero and is integrated out: entries are the mean kernel at pairs of nodes.

        Args:
            nodes: passed to the rule: nodes per latent dimension for `gauss_nodes`, all nodes for `sobol_nodes`.
            dtype: dtype of the weights.
            rule: how each law is discretised.
            root: root seed of the streams of a random rule.
            device: where the weights live.

        Raises:
            LawError: a number of nodes that the rule cannot give.
        """
        axes = self.limit_axes(nodes, rule=rule, root=root)
        pairs = zip(self.kernels, axes[1:], axes[:-1], strict=True)
        weights = [kernel.expected(rows, columns).to(device, dtype) for kernel, rows, columns in pairs]
        return Network(tuple(weights), self.masses_of(axes, dtype, device), self.activation)

    def limit_axes(self, nodes: int, *, rule: Rule = gauss_nodes, root: int = 0) -> list[Units]:
        """Return the L + 1 axes on which `limit` puts its network: the fixed ones and the nodes of the hidden layers.

        Raises:
            LawError: as in `limit`.
        """
        streams = [generator(root, "nodes", layer, nodes) for layer in range(1, len(self.laws) + 1)]
        hidden = [rule(law, nodes, stream) for law, stream in zip(self.laws, streams, strict=True)]
        return [Units.fixed(self.inputs), *hidden, Units.fixed(self.outputs)]

    def sample(
        self,
        widths: Sequence[int],
        seeds: Sequence[int],
        *,
        root: int = 0,
        sampler: Sampler = independent,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Network:
        """Return finite networks, one for each seed, batched in the leading dimension.

        Each seed owns its named streams, so a network does not depend on which others share its batch.

        Args:
            widths: n_1..n_{L-1}.
            seeds: indices of the networks.
            root: root seed of all streams.
            sampler: how latents are drawn from a law.
            dtype: dtype of the weights.
            device: where the weights live; random numbers are always drawn on the CPU, the same for every device.

        Raises:
            LawError: a number of widths other than of hidden layers, a width below 1, or no seed.
        """
        axes = self.sampled_axes(widths, seeds, root=root, sampler=sampler)
        weights = []
        for layer, kernel in enumerate(self.kernels, 1):
            mean = kernel.expected(axes[layer], axes[layer - 1]).to(device=device, dtype=dtype)
            streams = [generator(root, "residual", layer, *widths, seed) for seed in seeds]
            weights.append(kernel.add_residual(mean.contiguous(), streams))
        return Network(tuple(weights), self.masses_of(axes, dtype, device), self.activation)

    def sampled_axes(
        self, widths: Sequence[int], seeds: Sequence[int], *, root: int = 0, sampler: Sampler = independent
    ) -> list[Units]:
        """Return the L + 1 axes of the networks that `sample` draws: the fixed ones and the neurons of hidden layers.

        Raises:
            LawError: as in `sample`.
        """
        drawn = [Units.sampled(latents) for latents in self.latents(widths, seeds, root=root, sampler=sampler)]
        return [Units.fixed(self.inputs), *drawn, Units.fixed(self.outputs)]

    @staticmethod
    def masses_of(axes: Sequence[Units], dtype: torch.dtype, device: torch.device | str) -> tuple[Tensor, ...]:
        """Return the masses of axes, as a network holds them."""
        return tuple(axis.masses.to(device, dtype) for axis in axes)

    def latents(
        self, widths: Sequence[int], seeds: Sequence[int], *, root: int = 0, sampler: Sampler = independent
    ) -> list[Tensor]:
        """Return the latents of the networks that `sample` draws: (seeds, n_l, k) for each hidden layer.

        Raises:
            LawError: as in `sample`.
        """
        if len(widths) != len(self.laws) or min(widths, default=0) < 1 or not seeds:
            found = f"widths {tuple(widths)} and {len(seeds)} seeds"
            raise LawError(found, f"{len(self.laws)} widths of at least 1 and at least one seed", "change the widths")
        return [
            torch.stack([sampler(law, n, generator(root, "latent", layer, n, seed)) for seed in seeds])
            for layer, (law, n) in enumerate(zip(self.laws, widths, strict=True), 1)
        ]

    def ensembles(
        self,
        widths: Sequence[int],
        seeds: int,
        *,
        root: int = 0,
        sampler: Sampler = independent,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        budget: int = 1 << 28,
    ) -> Iterator[Network]:
        """Yield `sample` over seeds 0..seeds-1 in batches whose weights take at most `budget` bytes."""
        sizes = [self.inputs, *widths, self.outputs]
        each = sum(a * b for a, b in pairwise(sizes)) * torch.finfo(dtype).bits // 8
        for part in chunks(seeds, each, budget):
            yield self.sample(widths, part, root=root, sampler=sampler, dtype=dtype, device=device)
