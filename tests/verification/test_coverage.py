"""What the coverage study takes for the truth, and how it counts."""

import math

import pytest
import torch

from rctheory.statistics.gates import Estimate
from verification.coverage import LAWS, PRODUCT, _farthest, _independent, _uncorrected, share


@pytest.mark.parametrize("name", LAWS)
def test_truths_are_those_of_large_arrays(name: str) -> None:
    law = LAWS[name]
    W = law.draw(1, 3000, 3000, torch.Generator().manual_seed(1))[0].double()
    truths = law.truths()
    assert truths["mean"] == pytest.approx(float(W.mean()), abs=0.1)
    assert truths["row share"] == pytest.approx(float(W.mean(dim=1).var() / W.var()), abs=0.04)


def test_polynomial_laws_have_closed_truths() -> None:
    assert LAWS["additive"].truths() == pytest.approx({"mean": 1.0, "row share": 0.64 / 2.28})
    assert LAWS["multiplicative"].truths() == pytest.approx({"mean": 1.0, "row share": 0.25 / (0.5625 + 0.49)})
    assert PRODUCT["product of centred factors"].truths() == pytest.approx({"mean": 0.0, "row share": 0.0}, abs=1e-12)


def test_shares_carry_exact_intervals_and_nothing_counted_is_no_share() -> None:
    none = share(0, 100)
    assert none.interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 100)))
    assert math.isnan(share(0, 0).value)
    assert math.isnan(_farthest([Estimate(0.95), share(0, 0), Estimate(0.1)]).value)
    assert _farthest([Estimate(0.94), Estimate(0.97), Estimate(0.95)]).value == 0.97


def test_the_wrong_intervals_are_the_textbook_ones() -> None:
    W = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(2))
    found = _independent(W, 0)
    torch.testing.assert_close(found.high - found.low, 2 * 1.959964 * W.double().std(dim=(1, 2)) / 48**0.5)
    drawn = _uncorrected(W, 0)
    assert ((drawn.low < drawn.estimate) & (drawn.estimate < drawn.high)).all()
