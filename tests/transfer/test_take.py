"""Plans over declared axes: one draw for every tensor that touches an axis, nested axes, refusals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.architectures.axes import Axis, Role
from rctheory.architectures.mlp import mlp
from rctheory.architectures.spec import Architecture, TensorSpec
from rctheory.errors import LawError, ShapeError
from rctheory.measures import DESIGNS
from rctheory.transfer import draw_plan, multiplicities, split_masses, take
from tests.helpers import SEEDS, networks, stream
from verification.random_networks import random_network
from verification.transfers import layout_of

GROUP = Axis("group", Role.GROUP, exchangeable=True, averaged=True)
INNER = Axis("inner", Role.HEAD_DIM, exchangeable=True, averaged=True, parent=GROUP)
READ = Axis("read", Role.INPUT, exchangeable=False)
NESTED = Architecture(
    "nested", (TensorSpec("v", ((GROUP, INNER), (READ,))), TensorSpec("o", ((READ,), (GROUP, INNER))))
)


@given(networks(max_width=6), SEEDS)
def test_one_draw_serves_every_tensor_of_an_axis(widths: list[int], seed: int) -> None:
    """Where rows go, the columns that read them go: the product of adjacent tensors is that of the taken units."""
    network = random_network(widths, stream(seed))
    layout = layout_of(network)
    targets = {f"hidden.{k}": 1 + (seed + k) % 9 for k in range(1, len(widths) - 1)}
    plan = draw_plan(layout, targets, DESIGNS["iid"], seed)
    taken = take(network.tensors(), layout, plan)
    identity = {k: torch.arange(n) for k, n in enumerate(widths)}
    for layer, weight in enumerate(network.weights, 1):
        rows, columns = (plan.get(f"hidden.{k}", identity[k]) for k in (layer, layer - 1))
        expected = torch.empty(len(rows), len(columns), dtype=torch.float64)
        for i, row in enumerate(rows.tolist()):
            for j, column in enumerate(columns.tolist()):
                expected[i, j] = weight[row, column]
        assert torch.equal(taken[f"weights.{layer}"], expected)


def test_nested_axes_move_whole_groups_and_places_inside() -> None:
    layout = NESTED.layout({"group": 3, "inner": 2, "read": 4})
    v = torch.arange(24.0).reshape(6, 4)
    tensors = {"v": v, "o": v.T.contiguous()}
    groups = take(tensors, layout, {"group": torch.tensor([2, 0])})
    assert torch.equal(groups["v"], v[[4, 5, 0, 1]])
    assert torch.equal(groups["o"], v.T[:, [4, 5, 0, 1]])
    inner = take(tensors, layout, {"group/inner": torch.tensor([1, 1, 0])})
    assert torch.equal(inner["v"], v[[1, 1, 0, 3, 3, 2, 5, 5, 4]])
    both = take(tensors, layout, {"group": torch.tensor([1]), "group/inner": torch.tensor([1])})
    assert torch.equal(both["v"], v[[3]])


def test_axes_have_their_own_streams() -> None:
    layout = mlp(4).layout({"input": 1, "hidden.1": 50, "hidden.2": 50, "hidden.3": 50, "output": 1})
    plan = draw_plan(layout, dict.fromkeys(["hidden.1", "hidden.2", "hidden.3"], 20), DESIGNS["iid"], 0)
    draws = [tuple(indices.tolist()) for indices in plan.values()]
    assert len(set(draws)) == 3
    again = draw_plan(layout, {"hidden.2": 20}, DESIGNS["iid"], 0)
    assert torch.equal(again["hidden.2"], plan["hidden.2"])


def test_refusals() -> None:
    layout = mlp(2).layout({"input": 2, "hidden.1": 3, "output": 1})
    tensors = {"weights.1": torch.ones(3, 2), "weights.2": torch.ones(1, 3)}
    with pytest.raises(ShapeError, match=r"axis 'hidden\.7'"):
        take(tensors, layout, {"hidden.7": torch.tensor([0])})
    for indices in ([3], [-1], []):
        with pytest.raises(ShapeError, match=r"plan of axis hidden\.1"):
            take(tensors, layout, {"hidden.1": torch.tensor(indices, dtype=torch.int64)})
    with pytest.raises(ShapeError, match=r"tensor weights\.2 of shape \(1, 4\)"):
        take({"weights.2": torch.ones(1, 4)}, layout, {"hidden.1": torch.tensor([0])})
    with pytest.raises(ShapeError, match="tensor other"):
        take({"other": torch.ones(1, 4)}, layout, {})
    with pytest.raises(ShapeError, match=r"axis input .* not averaged"):
        draw_plan(layout, {"input": 1}, DESIGNS["iid"], 0)
    with pytest.raises(LawError, match="9 units of 3"):
        draw_plan(layout, {"hidden.1": 9}, DESIGNS["without-replacement"], 0)


@given(st.integers(1, 8), st.integers(1, 4), SEEDS)
def test_copies_share_the_mass_of_their_source(n: int, most: int, seed: int) -> None:
    generator = stream(seed)
    counts = torch.randint(1, most + 1, (n,), generator=generator)
    indices = torch.arange(n).repeat_interleave(counts)[torch.randperm(int(counts.sum()), generator=generator)]
    assert torch.equal(multiplicities(indices, n), counts)
    masses = torch.rand(n, generator=generator, dtype=torch.float64)
    back = torch.zeros(n, dtype=torch.float64).index_add_(0, indices, split_masses(masses, indices))
    torch.testing.assert_close(back, masses, rtol=1e-14, atol=0)


def test_lost_mass_is_refused() -> None:
    with pytest.raises(ShapeError, match="1 of 3 units without a copy"):
        split_masses(torch.ones(3) / 3, torch.tensor([0, 2, 2]))
