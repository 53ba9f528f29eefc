"""The weighted design: unbiased with its stated variance, through designs, operator and plan files."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import LawError, ShapeError, UsageError
from rctheory.measures import Weighted
from rctheory.transfer.importance import weight_importance
from rctheory.transfer.operator import Operator
from rctheory.transfer.transfer_plan import draw_transfer, load_plan, save_plan
from rctheory.transfer.units import AxisPlan
from tests.checkpoints.folders import CONFIG, LAYOUT, save_folder, tiny_weights
from tests.helpers import SEEDS, stream

DOWN, NORM = "model.layers.0.mlp.down_proj.weight", "model.norm.weight"
importances = st.lists(st.floats(0.05, 5), min_size=2, max_size=4)


@given(importances, st.integers(1, 4), SEEDS)
def test_mean_and_variance_by_enumeration(importance: list[float], m: int, seed: int) -> None:
    design, n = Weighted(torch.tensor(importance)), len(importance)
    values = torch.rand(n, generator=stream(seed), dtype=torch.float64)
    mean = second = 0.0
    for sample in itertools.product(range(n), repeat=m):
        chance = float(design.probabilities[list(sample)].prod())
        estimate = float((design.shares(m) * values)[list(sample)].sum()) / n
        mean, second = mean + chance * estimate, second + chance * estimate**2
    assert mean == pytest.approx(float(values.mean()), rel=1e-10)
    assert second - mean**2 == pytest.approx(float(design.variance(values, m)), rel=1e-7, abs=1e-12)


def test_draws_follow_the_probabilities() -> None:
    design = Weighted(torch.tensor([1.0, 2.0, 5.0]))
    counts = torch.bincount(design.draw(3, 40000, stream(3)), minlength=3) / 40000
    assert (counts - design.probabilities).abs().max() < 0.02  # eight standard errors


def test_proportional_probabilities_leave_no_variance() -> None:
    values = torch.tensor([0.1, 2.0, 7.0], dtype=torch.float64)
    assert float(Weighted(values).variance(values, 5)) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("bad", [[1.0, 0.0], [1.0, float("nan")], [1.0, -1.0], [1.0, float("inf")]])
def test_probabilities_must_be_positive(bad: list[float]) -> None:
    with pytest.raises(LawError, match="probabilities of a weighted design"):
        Weighted(torch.tensor(bad))


def test_a_sampled_read_is_unbiased_and_a_tied_gain_carries_the_share() -> None:
    """Over all draws of two of three kept units, weighted by their chance, the read map is the source's."""
    size, m = LAYOUT.axes["layers.0.ffn"].size, 2
    probabilities = torch.zeros(size, dtype=torch.float64) + 1e-9
    probabilities[:3] = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    design = Weighted(probabilities)
    weights = tiny_weights()[DOWN].double()
    weights[:, 3:] = 0
    found = torch.zeros_like(weights)
    for sample in itertools.product(range(3), repeat=m):
        plan = AxisPlan(size, torch.tensor(sample), exact=False, shares=design.shares(m))
        taken = Operator(LAYOUT, {"layers.0.ffn": plan}).apply(DOWN, weights.clone())
        chance = float(design.probabilities[list(sample)].prod())
        for place, unit in enumerate(sample):
            found[:, unit] += chance * taken[:, place]
    assert torch.allclose(found, weights, rtol=1e-7)


def test_importance_is_blind_to_the_scale_between_writing_and_reading(tmp_path: Path) -> None:
    weights = tiny_weights()
    scaled = {name: tensor.clone() for name, tensor in weights.items()}
    factor = 2.0 ** torch.arange(-3, 3).repeat(11)[:64]
    scaled[DOWN] *= factor
    for part in ("gate", "up"):
        scaled[f"model.layers.0.mlp.{part}_proj.weight"] /= factor[:, None]
    found = []
    for name, tensors in (("one", weights), ("two", scaled)):
        with open_checkpoint(save_folder(tmp_path / name, tensors)) as checkpoint:
            found.append(weight_importance(checkpoint)("layers.0.ffn"))
    assert torch.allclose(found[0] / found[0].sum(), found[1] / found[1].sum(), rtol=1e-5)
    expected = weights[DOWN].double().square().mean(0).sqrt()
    for part in ("gate", "up"):
        expected = expected * weights[f"model.layers.0.mlp.{part}_proj.weight"].double().square().mean(1) ** 0.25
    assert torch.allclose(found[0] / found[0].sum(), expected / expected.sum(), rtol=1e-5)


def test_a_dead_unit_keeps_a_chance(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights[DOWN][:, 5] = 0
    with open_checkpoint(save_folder(tmp_path / "model", weights)) as checkpoint:
        found = weight_importance(checkpoint)("layers.0.ffn")
    assert float(found[5]) == pytest.approx(1e-3 * float(found.mean()), rel=0.05)


def test_plans_keep_their_shares(tmp_path: Path) -> None:
    importance = {name: torch.rand(i.size, generator=stream(1)) + 0.1 for name, i in LAYOUT.axes.items()}
    plan = draw_transfer(LAYOUT, {"ffn": 40}, design="weighted", importance=importance.__getitem__)
    (tmp_path / "plan.json").write_text(save_plan(plan))
    again = load_plan(tmp_path / "plan.json")
    for name, axis in plan.axes.items():
        assert torch.equal(axis.indices, again.axes[name].indices)
        assert torch.equal(axis.shares, again.axes[name].shares)
    assert not plan.exact


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="weighted design without importance"):
        draw_transfer(LAYOUT, {"ffn": 40}, design="weighted")
    indices = torch.tensor([0, 1])
    for exact, shares in ((True, [1.0, 1.0]), (False, [1.0]), (False, [1.0, 0.0]), (False, [1.0, float("nan")])):
        with pytest.raises(ShapeError, match="shares for 2 units"):
            AxisPlan(2, indices, exact=exact, shares=torch.tensor(shares))


def test_a_tied_gain_carries_the_share() -> None:
    """With a tied head the last gain weighs what the embedding reads; other gains are copied."""
    tied = layout_of({**CONFIG, "tie_word_embeddings": True})
    shares = torch.rand(32, generator=stream(2), dtype=torch.float64) + 0.5
    plan = AxisPlan(32, torch.arange(16), exact=False, shares=shares)
    operator = Operator(tied, {"residual": plan})
    ones = torch.ones(32, dtype=torch.float64)
    assert torch.allclose(operator.apply(NORM, ones.clone()), shares[:16])
    assert torch.equal(operator.apply("model.layers.0.input_layernorm.weight", ones.clone()), ones[:16])
