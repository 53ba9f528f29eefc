"""The declared symmetry of Llama is the symmetry of its forward pass: neither less nor more."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.architectures.relabel import relabel
from tests.architectures.toy_llama import SIZES, forward, random_weights, toy_layout

LAYERS = 2
LAYOUT = toy_layout(LAYERS)
EXCHANGEABLE = [i.name for i in LAYOUT.axes.values() if i.axis.exchangeable]
ORDERED = [i.name for i in LAYOUT.axes.values() if not i.axis.exchangeable]


@pytest.mark.parametrize("axis", EXCHANGEABLE)
@given(seed=st.integers(0, 2**32))
def test_permuting_a_declared_exchangeable_axis_changes_nothing(axis: str, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weights = random_weights(LAYOUT, seed)
    tokens = torch.randint(SIZES["vocabulary"], (5,), generator=random)
    before = forward(weights, tokens, LAYERS, SIZES)
    after = forward(relabel(LAYOUT, weights, axis, random), tokens, LAYERS, SIZES)
    assert (before - after).abs().max() <= 1e-9 * before.abs().max()


@pytest.mark.parametrize("axis", ORDERED)
def test_permuting_a_declared_ordered_axis_changes_the_output(axis: str) -> None:
    random = torch.Generator().manual_seed(1)
    weights = random_weights(LAYOUT, 0)
    tokens = torch.tensor([0, 3, 5, 1, 6])
    before = forward(weights, tokens, LAYERS, SIZES)
    after = forward(relabel(LAYOUT, weights, axis, random), tokens, LAYERS, SIZES)
    assert (before - after).abs().max() > 1e-3 * before.abs().max()


def test_query_heads_are_not_exchangeable_across_groups() -> None:
    """Swapping a query head with one of another group (rows of q, columns of o) changes the output."""
    weights = random_weights(LAYOUT, 0)
    tokens = torch.tensor([0, 3, 5, 1, 6])
    order = torch.arange(36).reshape(6, 6)[[3, 1, 2, 0, 4, 5]].flatten()
    swapped = dict(weights)
    for name, dimension in (("q_proj", 0), ("o_proj", 1)):
        key = f"model.layers.0.self_attn.{name}.weight"
        swapped[key] = weights[key].index_select(dimension, order)
    before, after = (forward(w, tokens, LAYERS, SIZES) for w in (weights, swapped))
    assert (before - after).abs().max() > 1e-3 * before.abs().max()
