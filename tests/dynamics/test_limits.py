"""The limit by doubling: its error estimate, agreement of rules, latents of many dimensions, refusals."""

import pytest
import torch

from rctheory.dynamics import TANH, Ansatz, Network, solve, train
from rctheory.dynamics.ansatz import gauss_nodes, sobol_nodes
from rctheory.errors import LawError, NumericsError, UsageError
from rctheory.measures import GaussianLaw, RCKernel, SeparableKernel, coordinates, leading
from tests.helpers import stream
from verification.problems import regression


def _observed(network: Network) -> torch.Tensor:
    problem = regression()
    return problem.outputs(problem.train(network))


def test_the_estimate_bounds_the_error() -> None:
    solution = solve(regression().ansatz, _observed, tolerance=1e-5)
    reference = _observed(regression().ansatz.limit(192))
    assert solution.nodes == 128
    assert float((solution.value - reference).abs().max()) <= solution.error <= 1e-5


def _bilinear(dimension: int) -> tuple[Ansatz, torch.Tensor, torch.Tensor]:
    """Return two hidden layers with Gaussian latents, each kernel bilinear in all their coordinates, and data."""
    generator, law, latent = stream(0), GaussianLaw(dimension), leading(dimension)

    def core(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator, dtype=torch.float64) / dimension**0.5

    kernels = (
        RCKernel(SeparableKernel(latent, core(dimension, 2), coordinates(2))),
        RCKernel(SeparableKernel(latent, core(dimension, dimension), latent)),
        RCKernel(SeparableKernel(coordinates(1), core(1, dimension), latent)),
    )
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    return Ansatz(2, 1, (law, law), kernels, TANH), x, x[:, :1] * x[:, 1:]


@pytest.mark.parametrize(("dimension", "tolerance"), [(2, 2e-3), (8, 2e-2)])
def test_rules_agree_where_both_serve_and_sobol_serves_in_many_dimensions(dimension: int, tolerance: float) -> None:
    ansatz, x, y = _bilinear(dimension)

    def observed(network: Network) -> torch.Tensor:
        return train(network, x, y, step=0.2, steps=5).outputs(x)

    sobol = solve(ansatz, observed, tolerance=tolerance, nodes=256, rule=sobol_nodes)
    if dimension == 2:
        other = solve(ansatz, observed, tolerance=1e-4, rule=gauss_nodes, nodes=4).value
    else:
        other = observed(ansatz.limit(2048, rule=sobol_nodes, root=1))
    assert float(sobol.value.abs().max()) > 5 * tolerance
    assert float((sobol.value - other).abs().max()) <= tolerance


def test_what_cannot_be_solved_is_refused() -> None:
    ansatz = regression().ansatz
    with pytest.raises(NumericsError, match=r"the limit still moves by .* at 16 nodes"):
        solve(ansatz, _observed, tolerance=1e-8, most=16)
    with pytest.raises(UsageError, match="tolerance 0"):
        solve(ansatz, _observed, tolerance=0)
    with pytest.raises(LawError, match="0 quadrature nodes"):
        solve(ansatz, _observed, tolerance=1e-3, nodes=0)
    with pytest.raises(LawError, match="12 Sobol points"):
        solve(ansatz, _observed, tolerance=1e-3, nodes=12, rule=sobol_nodes)
    with pytest.raises(NumericsError, match="the observable on 8 nodes"):
        solve(ansatz, lambda network: network.outputs(regression().x) * float("nan"), tolerance=1e-3)
