"""The calibration of permutation tests: p-values belong to the arrays that they are of."""

import torch

from tests.helpers import stream
from verification.calibration_order import SHAPE, TESTS, order_of_units


def planted(place: int) -> torch.Tensor:
    """Draw 23 arrays; one has column scales in order, other rows in its second half, and an order of rows."""
    arrays = torch.randn(23, *SHAPE, generator=stream(0))
    arrays[place] *= torch.linspace(1, 3, SHAPE[1])
    arrays[place] *= torch.linspace(1, 3, SHAPE[0])[:, None]
    return arrays


def test_every_test_finds_the_one_array_with_structure() -> None:
    for place in (0, 9, 10, 22):  # first and last of a group of arrays that share permutations
        for test in TESTS.values():
            p = test.p_values(planted(place), 1)
            assert p.shape == (23,)
            assert int(p.argmin()) == place
            assert float(p[place]) <= 0.015  # three axes: the smallest p-value of one is 1/200


def test_groups_of_arrays_have_permutations_of_their_own() -> None:
    """The same vector in every group: nothing but the permutations tells its p-values apart."""
    vector = torch.randn(40, generator=stream(1), dtype=torch.float64)
    p = order_of_units(vector.expand(40, 40), 0)
    assert len({round(200 * float(value)) for value in p}) == 4
