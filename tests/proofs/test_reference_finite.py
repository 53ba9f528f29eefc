"""Claim `reference.finite`: errors against nested and independent references, over every outcome."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.proofs.spaces import Space, TwoValued

laws = st.builds(TwoValued, st.floats(0.3, 2.0), st.floats(0.2, 0.8))


@given(law=laws, n=st.sampled_from((1, 2, 3)), more=st.sampled_from((0, 1, 3)))
def test_nested_and_independent_references_by_enumeration(law: TwoValued, n: int, more: int) -> None:
    space, big = Space.product({"z": ((2 * n + more,), law)}), n + more
    z = space.variables["z"]
    small, nested, apart = z[:, :n].mean(dim=1), z[:, :big].mean(dim=1), z[:, n:].mean(dim=1)
    found = [float(space.mean((small - other) ** 2)) for other in (nested, apart)]
    claimed = [law.variance * (1 / n - 1 / big), law.variance * (1 / n + 1 / big)]
    assert found == pytest.approx(claimed, rel=1e-10, abs=1e-14)


@given(law=laws, n=st.sampled_from((1, 2, 3)))
def test_units_drawn_from_the_reference(law: TwoValued, n: int) -> None:
    """Averaged over references and over every sample without replacement."""
    space = Space.product({"z": ((4,), law)})
    z = space.variables["z"]
    squares = [(z[:, list(units)].mean(dim=1) - z.mean(dim=1)) ** 2 for units in itertools.combinations(range(4), n)]
    mean = float(space.mean(torch.stack(squares).mean(dim=0)))
    assert mean == pytest.approx(law.variance * (1 / n - 1 / 4), rel=1e-10, abs=1e-14)
