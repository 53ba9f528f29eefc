"""Claim `array.four-cycle`: moments of the statistic, summed over its definition and over every outcome."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.proofs.spaces import Space, TwoValued
from tests.proofs.statistical_worlds import UNIT

laws = st.builds(TwoValued, st.floats(0.3, 2.0), st.floats(0.2, 0.8))


def four_cycle(entries: Tensor) -> Tensor:
    """Return U4 of arrays (outcomes, m, n), quadruple by quadruple."""
    m, n = entries.shape[1:]
    pairs = itertools.product(itertools.permutations(range(m), 2), itertools.permutations(range(n), 2))
    cycles = [entries[:, i, j] * entries[:, k, j] * entries[:, k, h] * entries[:, i, h] for (i, k), (j, h) in pairs]
    return torch.stack(cycles).mean(dim=0)


@given(law=laws, shape=st.sampled_from(((2, 2), (2, 3), (3, 3))))
def test_null_moments_by_enumeration(law: TwoValued, shape: tuple[int, int]) -> None:
    space = Space.product({"xi": (shape, law)})
    statistic, (m, n) = four_cycle(space.variables["xi"]), shape
    assert float(space.mean(statistic)) == pytest.approx(0, abs=1e-12)
    claimed = 4 * law.variance**4 / (m * (m - 1) * n * (n - 1))
    assert float(space.mean(statistic**2)) == pytest.approx(claimed, rel=1e-10)


@given(strengths=st.tuples(st.floats(0.2, 2), st.floats(0.2, 2)), spread=st.floats(0.2, 2))
def test_two_factors_and_effects_shift_the_mean(strengths: tuple[float, float], spread: float) -> None:
    """Two factors with noise: the fourth powers of the strengths; effects: those of their deviations."""
    noise = ((2, 2), TwoValued(0.5, 0.3))
    space = Space.product({"u": ((2, 2), UNIT), "v": ((2, 2), UNIT), "xi": noise})
    u, v, xi = (space.variables[name] for name in ("u", "v", "xi"))
    entries = torch.einsum("q,oqi,oqj->oij", torch.tensor(strengths, dtype=torch.float64), u, v) + xi
    assert float(space.mean(four_cycle(entries))) == pytest.approx(sum(a**4 for a in strengths), rel=1e-10)
    effects = spread * u[:, 0, :, None] + 2 * spread * v[:, 0, None, :] + xi
    assert float(space.mean(four_cycle(effects))) == pytest.approx(17 * spread**4, rel=1e-10)
