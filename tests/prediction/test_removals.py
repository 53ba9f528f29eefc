"""Units whose absence no derivative describes: found, removed, and taken into the predicted law."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rctheory.contracts.huggingface import KeepFloat64
from rctheory.errors import NumericsError
from rctheory.measures import DESIGNS
from rctheory.prediction.influence import Influence, measure_influence
from rctheory.prediction.masses import MassedModel
from rctheory.prediction.prediction import predict, predict_axis
from rctheory.prediction.removals import candidates, with_removals, write_shares
from rctheory.transfer.layers import LayeredModel
from tests.architectures.models import load, save_state
from tests.prediction.test_masses import WINDOWS, family
from verification.sampling_variance import enumerate_design

FFN, GROUPS = "layers.1.ffn", "layers.0.group"
WITHOUT = DESIGNS["without-replacement"]
LOUD = 3  # a unit of the FFN of layer 1 that writes most of the stream


def models(folder: Path, axes: list[str], loud: float = 1.0) -> tuple[Any, MassedModel, LayeredModel]:
    """Return a tiny Llama in float64 whose unit LOUD writes `loud` times what it did."""
    layout, state, config = family("llama")
    key = "model.layers.1.mlp.down_proj.weight"
    state = state | {key: state[key].clone()}
    state[key][:, LOUD] *= loud
    loaded = load("llama", save_state(folder, config, state))
    return loaded, MassedModel(loaded, layout, axes), LayeredModel(loaded, layout)


def test_shares_are_those_of_streams_without_the_unit(tmp_path: Path) -> None:
    """What a unit writes is the stream with it less the stream without it, by the model's own forward pass."""
    loaded, _, layered = models(tmp_path, [])
    with torch.no_grad(), KeepFloat64():
        found = write_shares(layered, WINDOWS, [FFN, GROUPS, "residual"])
        assert set(found) == {FFN, GROUPS}  # what many matrices read has no share
        for axis, layer, path, group in ((FFN, 1, "mlp.down_proj", 1), (GROUPS, 0, "self_attn.o_proj", 8)):
            matrix = loaded.get_submodule(f"model.layers.{layer}.{path}")
            whole = written(loaded, layer, matrix)
            for unit, share in enumerate(found[axis].tolist()):
                weight = matrix.weight.clone()
                matrix.weight[:, unit * group : (unit + 1) * group] = 0
                part = whole[0] - written(loaded, layer, matrix)[0]
                matrix.weight.copy_(weight)
                assert share == pytest.approx(float((part.norm(dim=-1) / whole[1].norm(dim=-1)).max()), rel=1e-9)


def written(loaded: Any, layer: int, matrix: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Return what a matrix writes and the stream that leaves its layer."""
    seen: list[Any] = []
    handles = [m.register_forward_hook(lambda *a: seen.append(a[2])) for m in (matrix, loaded.model.layers[layer])]
    loaded(WINDOWS, use_cache=False)
    for handle in handles:
        handle.remove()
    return seen[0], seen[1][0] if isinstance(seen[1], tuple) else seen[1]


def test_a_unit_that_fills_the_stream_is_found_and_removed(tmp_path: Path) -> None:
    loaded, model, layered = models(tmp_path, [FFN], loud=300.0)
    with KeepFloat64():
        units = candidates(write_shares(layered, WINDOWS, [FFN]), share=0.5)
        assert units == [(FFN, LOUD)]
        found = with_removals(measure_influence(model, WINDOWS, draws=3), model, WINDOWS, units)
        with torch.no_grad():
            loaded.model.layers[1].mlp.down_proj.weight[:, LOUD] = 0
            gone = float(model.loss(WINDOWS, {}))
    change = found.removals[FFN][LOUD]
    assert change == pytest.approx(gone - found.loss, rel=1e-9)
    slope, scores = found.gradients[FFN].mean(dim=0)[LOUD], found.scores[FFN].flatten(0, 1)[:, LOUD]
    expanded = float(found.tokens * scores.square().mean() / 2 - slope)
    assert abs(expanded) < 0.2 * abs(change)  # no derivative says so


def test_the_largest_shares_come_first_and_no_more_than_asked() -> None:
    shares = {"a": torch.tensor([0.1, 0.9, 0.3]), "b": torch.tensor([0.5, float("nan")])}
    assert candidates(shares, 0.25) == [("a", 1), ("b", 0), ("a", 2)]
    assert candidates(shares, 0.25, each=1) == [("a", 1), ("b", 0)]
    assert candidates(shares, 0.25, most=1) == [("a", 1)]
    assert candidates(shares, 1.0) == []


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    loaded, model, _ = models(tmp_path, [FFN])
    with KeepFloat64():
        before = measure_influence(model, WINDOWS, draws=0)
        with torch.no_grad():
            loaded.model.norm.weight[0] = float("nan")
        with pytest.raises(NumericsError, match=r"loss without unit 3 of layers\.1\.ffn"):
            with_removals(before, model, WINDOWS, [(FFN, LOUD)])


@pytest.mark.parametrize("name", sorted(DESIGNS))
def test_a_jump_has_the_moments_of_all_samples(name: str) -> None:
    """A loss that changes at the absence of one unit alone: mean and variance over every sample of the design."""
    n, m, unit, change = 5, 3, 2, 0.7
    nothing = torch.zeros(1, n, dtype=torch.float64)
    influence = Influence(torch.ones(1), 4, {"a": nothing}, {"a": torch.zeros(1, 2, n)}, {"a": {unit: change}})
    law = enumerate_design(name, n, m)
    weights = torch.tensor(list(law.values()), dtype=torch.float64)
    changes = torch.tensor([0.0 if unit in sample else change for sample in law], dtype=torch.float64)
    mean = float(weights @ changes)
    found = predict_axis(influence, "a", m, DESIGNS[name])
    assert found.shift == pytest.approx(mean, rel=1e-12)
    assert found.sd**2 == pytest.approx(float(weights @ (changes - mean).square()), rel=1e-9)


def test_a_jump_beside_slopes_and_curvatures_is_exact_without_replacement() -> None:
    """Every function of two masses is linear: -g'd + d'Hd / 2 with diagonal H, and a loss of its own for one unit."""
    random, n, m, tokens, unit, change = torch.Generator().manual_seed(3), 7, 5, 4, 4, 2.5
    g, h = (torch.rand(n, generator=random, dtype=torch.float64) for _ in range(2))
    scores = torch.diag((n * h / tokens).sqrt())[None]
    removals = {"a": {unit: change}}
    found = predict_axis(Influence(torch.ones(1), tokens, {"a": -g[None]}, {"a": scores}, removals), "a", m, WITHOUT)
    kept = torch.tensor(list(combinations(range(n), m)))
    d = torch.zeros(len(kept), n, dtype=torch.float64).scatter_(1, kept, n / m) - 1
    terms = -d * g + d.square() * h / 2
    terms[:, unit] = torch.where(d[:, unit] < 0, change, terms[:, unit])
    changes = terms.sum(dim=1)
    assert found.tilted == pytest.approx(float(changes.std(correction=0)), rel=1e-12)
    assert found.shift == pytest.approx(float(changes.mean()), rel=1e-12)
    assert any("one unit carries" in warning for warning in found.warnings)


def test_nothing_is_added_where_no_unit_can_be_absent() -> None:
    g = torch.rand(1, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores = torch.rand(1, 3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plain, jumping = (Influence(torch.ones(1), 4, {"a": g}, {"a": scores}, r) for r in ({}, {"a": {1: 9.0}}))
    found = [predict(one, {"a": 8}, DESIGNS["balanced"]) for one in (plain, jumping)]
    assert (found[0].shift, found[0].sd) == (found[1].shift, found[1].sd)
