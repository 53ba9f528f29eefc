"""Even samplers: one latent in each stratum, each with the law it is drawn from."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rctheory.errors import LawError
from rctheory.measures import GaussianLaw, NeuronLaw, UniformLaw, stratified
from tests.helpers import CUTOFF, SEEDS, stream

LAWS = [UniformLaw(1), UniformLaw(3), GaussianLaw(2)]


def _shares(law: NeuronLaw, latents: torch.Tensor) -> torch.Tensor:
    return (latents + 1) / 2 if isinstance(law, UniformLaw) else torch.special.ndtr(latents)


@given(st.sampled_from(LAWS), st.integers(1, 200), SEEDS)
def test_one_latent_in_every_stratum_of_every_coordinate(law: NeuronLaw, n: int, seed: int) -> None:
    latents = stratified(law, n, stream(seed))
    assert latents.shape == (n, law.dimension)
    assert latents.dtype == torch.float64
    counts = (_shares(law, latents) * n).long().clamp_(max=n - 1)
    for k in range(law.dimension):
        assert sorted(counts[:, k].tolist()) == list(range(n))


@pytest.mark.parametrize("law", LAWS)
def test_a_latent_at_a_random_place_has_the_law(law: NeuronLaw) -> None:
    draws = torch.stack([stratified(law, 5, stream(seed))[0] for seed in range(2000)])
    for k in range(law.dimension):
        assert stats.kstest(_shares(law, draws[:, k]).numpy(), "uniform").pvalue > CUTOFF


@pytest.mark.parametrize("size", [64])
def test_strata_of_the_line_take_out_almost_all_variance(size: int) -> None:
    means = torch.stack([stratified(UniformLaw(), size, stream(seed)).mean() for seed in range(500)])
    # Var of the mean of the latent: n strata of width 2 / n, each (2 / n)^2 / 12, over n^2.
    exact = (2 / size) ** 2 / 12 / size
    assert abs(float(means.square().mean()) / exact - 1) <= 0.3


def test_no_strata_are_refused() -> None:
    with pytest.raises(LawError, match="0 strata"):
        stratified(UniformLaw(), 0, stream(0))
