"""Scrambled Sobol nodes: balance, law, error, refusals."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import LawError
from rctheory.measures import GaussianLaw, NeuronLaw, UniformLaw
from tests.helpers import CUTOFF, SEEDS, stream


@given(st.integers(0, 8), st.integers(1, 8), SEEDS)
def test_every_coordinate_has_one_point_in_each_cell(power: int, dimension: int, seed: int) -> None:
    """A net: each of n equal parts of the law holds one point, which no set of iid points does."""
    n = 2**power
    for law in (UniformLaw(dimension), GaussianLaw(dimension)):
        points = law.scrambled_sobol(n, stream(seed))
        shares = (points + 1) / 2 if isinstance(law, UniformLaw) else torch.special.ndtr(points)
        cells = (shares * n).floor().long().sort(dim=0).values
        assert points.shape == (n, dimension)
        assert torch.equal(cells, torch.arange(n)[:, None].expand(n, dimension))


@pytest.mark.parametrize("law", [UniformLaw(3), GaussianLaw(3)])
def test_each_point_has_the_law(law: NeuronLaw) -> None:
    points = torch.stack([law.scrambled_sobol(4, stream(seed))[2] for seed in range(600)])
    uniform = (points + 1) / 2 if isinstance(law, UniformLaw) else torch.special.ndtr(points)
    for coordinate in uniform.T:
        assert stats.kstest(coordinate.numpy(), "uniform").pvalue > CUTOFF


def test_error_falls_faster_than_that_of_independent_draws() -> None:
    """E exp(z_1 / 3 + ... + z_6 / 3) = e^(1/3) in six dimensions, where a tensor rule has no chance."""
    law, want = GaussianLaw(6), torch.tensor(1 / 3).double().exp()

    def rms(n: int) -> float:
        draws = [law.scrambled_sobol(n, stream(seed)).sum(dim=1).div(3).exp().mean() - want for seed in range(16)]
        return float(torch.stack(draws).square().mean().sqrt())

    assert rms(4096) < rms(64) / 24  # 8 for independent draws


@pytest.mark.parametrize("n", [0, -4, 3, 96])
def test_numbers_of_points_without_balance_are_refused(n: int) -> None:
    with pytest.raises(LawError, match=f"{n} Sobol points; expected a power of two"):
        UniformLaw().scrambled_sobol(n, stream(0))


def test_tensor_rules_beyond_memory_are_refused() -> None:
    with pytest.raises(LawError, match="8 nodes in each of 8 latent dimensions"):
        GaussianLaw(8).quadrature(8)


def test_a_law_without_quantiles_is_refused() -> None:
    @dataclass(frozen=True)
    class Signs(NeuronLaw):
        dimension: int = 1

        def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
            return torch.randint(2, (n, 1), generator=generator).double() * 2 - 1

        def rule(self, nodes: int) -> tuple[object, object]:
            raise NotImplementedError

    with pytest.raises(LawError, match="Signs without a quantile function"):
        Signs().scrambled_sobol(4, stream(0))
