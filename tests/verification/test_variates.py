"""The root mean square with a control variate: unbiased for any, exact for a perfect one."""

import pytest
import torch

from rctheory.errors import NumericsError
from rctheory.statistics.rates import Point
from tests.helpers import stream
from verification.variates import point_with_variate


def test_a_perfect_linear_part_leaves_no_noise() -> None:
    linear = torch.randn(50, 3, generator=stream(0), dtype=torch.float64)
    point = point_with_variate(8, linear, linear, 1.0, scale=9.0)
    assert (point.error, point.se, point.seeds, point.abscissa) == (1.0, 0.0, 50, 9.0)


def test_the_estimate_is_unbiased_for_any_linear_part() -> None:
    """E e^2 = 4, whether the linear part has to do with the error or not; only the noise differs."""
    base, other = torch.randn(2, 400_000, 1, generator=stream(1), dtype=torch.float64)
    error = 1.8 * base + (4 - 1.8**2) ** 0.5 * torch.randn(400_000, 1, generator=stream(2), dtype=torch.float64)
    related = point_with_variate(8, error, 1.8 * base, 1.8**2)
    unrelated = point_with_variate(8, error, 3 * other, 9.0)
    plain = Point.rms(8, error.square().mean(dim=1).tolist())
    for point in (related, unrelated, plain):
        assert abs(point.error - 2) <= 6 * point.se
    assert related.se < plain.se < unrelated.se


def test_too_few_seeds_are_named() -> None:
    with pytest.raises(NumericsError, match=r"mean square error -3\.0 at n = 8; expected a positive number"):
        point_with_variate(8, torch.zeros(2, 1), 2 * torch.ones(2, 1), 1.0)
