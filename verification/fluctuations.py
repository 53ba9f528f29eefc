"""The finite-width error split into its predicted first-order part and the remainder, seed by seed."""

from dataclasses import dataclass
from functools import cache

import torch
from scipy import stats
from torch import Tensor

from rctheory.dynamics import Network
from rctheory.dynamics.influence import Influence, influence
from rctheory.statistics.gates import Estimate
from verification.problems import Regression, regression

NODES = 48  # the limit is exact to 1e-6 there (claim limit.quadrature): four orders below the smallest error


@dataclass(frozen=True)
class Split:
    """Errors of an ensemble at one width, (seeds, outputs).

    Args:
        error: f_n - f.
        linear: sum_l mean_i IF_l(z^l_i), whose mean is 0 and whose variance is the predicted one, exactly, at every n.
    """

    error: Tensor
    linear: Tensor

    @property
    def remainder(self) -> Tensor:
        """Return the error with the first-order part taken out: the control variate."""
        return self.error - self.linear


def observe(problem: Regression, network: Network) -> Tensor:
    """Return the outputs of the trained network on the data of the problem."""
    return problem.outputs(problem.train(network))


@cache
def expansion(hidden: int) -> tuple[Regression, Influence]:
    """Return the standard problem without residual, and the influence functions of its trained outputs."""
    problem = regression(residual=0.0, hidden=hidden)
    return problem, influence(problem.ansatz.limit(NODES), lambda network: observe(problem, network))


def split(problem: Regression, first: Influence, n: int, seeds: int, root: int) -> Split:
    """Train `seeds` networks of width n and split their errors; `first` may be a planted expansion."""
    widths = (n,) * len(problem.ansatz.laws)
    # float32 rounds at 1e-7; the smallest remainder that is measured is 1e-3.
    networks = problem.ansatz.ensembles(widths, seeds, root=root, dtype=torch.float32)
    outputs = torch.cat([observe(problem, network).flatten(1) for network in networks])
    linear = torch.zeros_like(outputs)
    for layer, latents in enumerate(problem.ansatz.latents(widths, range(seeds), root=root)):
        nodes, _ = problem.ansatz.laws[layer].rule(NODES)
        linear += first.at(layer, nodes, latents[..., 0]).mean(dim=-1).T
    return Split(outputs - first.value, linear)


def mean_estimate(values: Tensor, scale: float = 1.0, shift: float = 0.0) -> Estimate:
    """Return shift + scale * mean over seeds of values (seeds,), with its 95% Student-t interval."""
    count = len(values)
    mean = shift + scale * float(values.mean())
    half = abs(scale) * float(values.std()) / count**0.5 * float(stats.t.ppf(0.975, count - 1))
    return Estimate(mean, (mean - half, mean + half))


def antithetic_blocks(problem: Regression, n: int, seeds: int, root: int) -> Tensor:
    """Return f_2n - (f_n + f'_n) / 2, the halves being blocks of the large network, trained apart: (seeds, outputs).

    The neurons of the halves are those of the whole, so the first order in the laws cancels, with no influence
    function; the mean is b / (2n) - b / n = -b / (2n).
    """
    hidden = len(problem.ansatz.laws)
    differences = []
    for whole in problem.ansatz.ensembles((2 * n,) * hidden, seeds, root=root, dtype=torch.float32):
        halves = [observe(problem, _block(whole, part)) for part in (slice(0, n), slice(n, 2 * n))]
        differences.append((observe(problem, whole) - (halves[0] + halves[1]) / 2).flatten(1))
    return torch.cat(differences)


def _block(network: Network, part: slice) -> Network:
    """Return the network of some of the neurons of every hidden layer, with equal masses."""
    first, *middle, last = network.weights
    inner = [torch.full_like(p[part], 1 / len(p[part])) for p in network.masses[1:-1]]
    weights = (first[:, part], *(w[:, part, part] for w in middle), last[:, :, part])
    return Network(weights, (network.masses[0], *inner, network.masses[-1]), network.activation)
