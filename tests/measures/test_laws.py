"""Laws and their quadrature."""

from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.errors import LawError
from rctheory.measures import GaussianLaw, RCKernel, UniformLaw, Units, trigonometric
from tests.helpers import stream


def _uniform_moment(power: int) -> float:
    return 0.0 if power % 2 else 1 / (power + 1)


def _gaussian_moment(power: int) -> float:
    return 0.0 if power % 2 else float(prod(range(1, power, 2)))


@given(st.integers(1, 8), st.data())
def test_gauss_legendre_integrates_polynomials_exactly(nodes: int, data: st.DataObject) -> None:
    power = data.draw(st.integers(0, 2 * nodes - 1))
    units = UniformLaw().quadrature(nodes)
    got = float((units.masses * units.latents[:, 0] ** power).sum())
    assert abs(got - _uniform_moment(power)) <= 1e-14


@given(st.integers(1, 6), st.data())
def test_gauss_hermite_integrates_polynomials_exactly(nodes: int, data: st.DataObject) -> None:
    power = data.draw(st.integers(0, 2 * nodes - 1))
    units = GaussianLaw().quadrature(nodes)
    terms = units.masses * units.latents[:, 0] ** power
    assert abs(float(terms.sum()) - _gaussian_moment(power)) <= 1e-13 * max(1.0, float(terms.abs().sum()))


def test_rule_is_not_exact_one_degree_higher() -> None:
    units = UniformLaw().quadrature(3)
    got = float((units.masses * units.latents[:, 0] ** 6).sum())
    assert abs(got - _uniform_moment(6)) > 1e-3


@given(st.integers(1, 4), st.integers(1, 3))
def test_tensor_rule_factorises(nodes: int, dimension: int) -> None:
    units = UniformLaw(dimension).quadrature(nodes)
    assert units.latents.shape == (nodes**dimension, dimension)
    second = (units.masses[:, None] * units.latents.square()).sum(dim=0)
    expected = torch.full((dimension,), 1 / 3 if nodes > 1 else 0.0, dtype=torch.float64)
    torch.testing.assert_close(second, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("law", [UniformLaw(2), GaussianLaw(2)])
def test_samples_have_the_moments_of_the_rule(law: UniformLaw | GaussianLaw) -> None:
    n = 40_000
    draws, rule = law.sample(n, stream(0)), law.quadrature(8)
    for power in (1, 2, 3):
        want = (rule.masses[:, None] * rule.latents**power).sum(dim=0)
        spread = (rule.masses[:, None] * rule.latents ** (2 * power)).sum(dim=0).sqrt()
        assert bool(((draws**power).mean(dim=0).sub(want).abs() <= 6 * spread / n**0.5).all())


@pytest.mark.parametrize(
    ("masses", "message"),
    [([0.5, 0.6], "sum to 1.1"), ([1.5, -0.5], "positive masses"), ([float("nan"), 1.0], "positive masses")],
)
def test_masses_that_are_no_probability_are_refused(masses: list[float], message: str) -> None:
    with pytest.raises(LawError, match=message):
        Units(torch.zeros(2, 1, dtype=torch.float64), torch.tensor(masses, dtype=torch.float64))


@pytest.mark.parametrize("call", [lambda: UniformLaw().quadrature(0), lambda: GaussianLaw().sample(0, stream(0))])
def test_no_neurons_are_refused(call: object) -> None:
    with pytest.raises(LawError, match="at least"):
        call()


@pytest.mark.parametrize("residual", [-1.0, float("nan"), float("inf")])
def test_residual_must_be_a_standard_deviation(residual: float) -> None:
    with pytest.raises(LawError, match="residual standard deviation"):
        RCKernel(lambda rows, columns: rows @ columns.mT, residual)


def test_trigonometric_features_are_orthonormal_up_to_scale() -> None:
    units = UniformLaw().quadrature(24)
    values = trigonometric(order=3, frequency=torch.pi)(units.latents)
    gram = (values * units.masses[:, None]).T @ values
    torch.testing.assert_close(gram, torch.diag(torch.tensor([1.0] + [0.5] * 6).double()), rtol=0, atol=1e-10)
