"""Claim `sampling.design`: variances of stratified means by exact integration of polynomials."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

coefficients = st.lists(st.integers(-5, 5), min_size=2, max_size=4)


def integral(values: list[Fraction], low: Fraction, high: Fraction) -> Fraction:
    """Return the integral of a polynomial."""
    return sum((c * (high ** (k + 1) - low ** (k + 1)) / (k + 1) for k, c in enumerate(values)), start=Fraction(0))


def variance(values: list[Fraction], n: int) -> Fraction:
    """Return the variance of the mean over one uniform point in each of n strata, in exact arithmetic."""
    square = [Fraction(0)] * (2 * len(values) - 1)
    for (i, a), (j, b) in itertools.product(enumerate(values), repeat=2):
        square[i + j] += a * b
    strata = [(Fraction(k, n), Fraction(k + 1, n)) for k in range(n)]
    return sum((n * integral(square, *s) - (n * integral(values, *s)) ** 2 for s in strata), start=Fraction(0)) / n**2


@given(n=st.integers(1, 12))
def test_variances_by_exact_integration(n: int) -> None:
    """The functions z and z^2, at every n, as fractions."""
    zero, one = Fraction(0), Fraction(1)
    assert variance([zero, one], n) == Fraction(1, 12 * n**3)
    assert variance([zero, zero, one], n) == Fraction(1, 9 * n**3) - Fraction(1, 45 * n**5)


@given(numbers=coefficients, n=st.integers(1, 8))
def test_lipschitz_bound_and_constant(numbers: list[int], n: int) -> None:
    """Any polynomial: below the bound, and n^3 times the variance tends to the mean of the squared slope over 12."""
    values = [Fraction(number) for number in numbers]
    lipschitz = sum(k * abs(c) for k, c in enumerate(values))
    assert variance(values, n) <= lipschitz**2 * Fraction(1, 12 * n**3)
    slope = Polynomial(numbers).deriv()
    constant = (slope**2).integ()(1.0) / 12
    assert float(64**3 * variance(values, 64)) == pytest.approx(constant, rel=2e-2, abs=1e-2)


@given(n=st.sampled_from((2, 3, 5)), spread=st.fractions(0, 2))
def test_array_with_two_stratified_axes(n: int, spread: Fraction) -> None:
    """The mean of z z' + residual, from the first two moments of stratified means."""
    axis = variance([Fraction(0), Fraction(1)], n)
    second = axis + Fraction(1, 4)  # of a stratified mean of z, whose mean is 1/2
    exact = second * second - Fraction(1, 16) + spread / n**2
    assert exact == axis / 2 + axis**2 + spread / n**2
