"""What is planted in the controls is what it says, and the correlations of neurons are exact permutation tests."""

import math

import pytest
import torch

from rctheory.statistics.permutation import order_tests
from rctheory.suite.experiment import Context, Tier
from verification.gpt import initial_gpt
from verification.real_weights import layer_map, matrices, open_gpt, p_value_map
from verification.real_weights_coupling import correlate, p_value, permuted
from verification.real_weights_interaction import flip_signs, shuffle_columns
from verification.real_weights_pattern import shuffle, sort

SMOKE = Context(tier=Tier.SMOKE)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shuffled_columns_hold_the_same_entries() -> None:
    W = torch.randn(30, 5, generator=stream())
    shuffled = shuffle_columns(W, stream(1))
    assert torch.equal(shuffled.sort(dim=0).values, W.sort(dim=0).values)
    # Columns are shuffled apart from each other: no row stays together.
    places = (shuffled[:, :, None] == W.T[None]).double().argmax(dim=2)
    assert not torch.equal(places[:, 0], places[:, 1])
    assert not torch.equal(shuffled, W)


def test_shuffled_and_sorted_arrays_hold_the_same_entries() -> None:
    W = torch.randn(30, 5, generator=stream())
    for planted in (shuffle(W, stream(1)), sort(W, stream(1))):
        assert torch.equal(planted.flatten().sort().values, W.flatten().sort().values)
        assert not torch.equal(planted, W)
    norms = sort(W, stream(1)).norm(dim=0), sort(W, stream(1)).norm(dim=1)
    assert all(torch.equal(part, part.sort().values) for part in norms)


def test_flipped_signs_keep_every_size() -> None:
    W = torch.randn(30, 5, generator=stream())
    flipped = flip_signs(W, stream(1))
    assert torch.equal(flipped.abs(), W.abs())
    assert 0.3 < float((flipped == W).double().mean()) < 0.7


def test_correlations_are_those_of_numpy() -> None:
    x, y = torch.randn(2, 3, 40, generator=stream(2))
    expected = torch.stack([torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(correlate(x, y), expected.double(), rtol=1e-5, atol=1e-6)
    statistics = permuted(x, y, 50, 0)
    torch.testing.assert_close(statistics[0], expected.double().abs(), rtol=1e-5, atol=1e-6)


def test_permuted_correlations_have_the_moments_of_all_orders() -> None:
    """Over all orders the correlation of n values has mean square 1/(n - 1)."""
    x, y = torch.randn(2, 2, 12, generator=stream(3))
    squares = permuted(x, y, 20_000, 0)[1:].square()
    torch.testing.assert_close(squares.mean(dim=0), torch.full((2,), 1 / 11, dtype=torch.float64), rtol=0.05, atol=0)


def test_p_values_count_the_observed_order() -> None:
    assert p_value(torch.tensor([3.0, 1.0, 2.0, 2.5], dtype=torch.float64)) == 1 / 4
    assert p_value(torch.tensor([1.0, 1.0, 2.0, 0.5], dtype=torch.float64)) == 3 / 4
    tied = torch.full((1, 10), 0.1)
    tied[0, 0] = 0.2  # one unit that differs: ten orders in all, most of them tied
    assert p_value(permuted(tied, tied, 999, 0)[:, 0]) == pytest.approx(0.1, abs=0.05)


def test_the_matrices_of_a_model_and_their_map() -> None:
    with open_gpt(initial_gpt(SMOKE)) as checkpoint:
        chosen = matrices(checkpoint.layout)
    assert len(chosen) == 2 * 6  # query, key, value, attention output, two of the perceptron
    table = layer_map("title", [t.pattern for t in chosen], [t.layer or 0 for t in chosen], range(12))
    assert table.rows == ("layer 0", "layer 1")
    assert len(table.columns) == 6
    assert sorted(value for row in table.values for value in row) == list(range(12))
    assert table.values[1][0] == [t.name for t in chosen].index("transformer.h.1.attn.query.weight")


def test_the_map_of_p_values_names_layers_and_dimensions() -> None:
    x = torch.randn(1, 1, 20, generator=stream())
    sets = ({"h.0.fc.weight rows": x, "h.0.fc.weight columns": x.flip(2), "norm.weight rows": x},)
    test = order_tests({"axis": sets, "other": ({"h.1.fc.weight rows": x},)}, permutations=99, seed=0)
    table = p_value_map("title", test.values())
    assert table.rows == ("layer 0", "layer 1")
    assert table.columns == ("fc rows", "fc columns")
    assert table.values[0] == (
        test["axis"].p_values["h.0.fc.weight rows"],
        test["axis"].p_values["h.0.fc.weight columns"],
    )
    assert math.isnan(table.values[1][1])
