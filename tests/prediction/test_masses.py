"""A model with masses is the transferred model: every averaged axis of every causal family, against transformers."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.contracts.huggingface import KeepFloat64
from rctheory.errors import ShapeError, UsageError
from rctheory.prediction.masses import MassedModel, mass_uses
from rctheory.transfer.transfer_plan import draw_transfer
from tests.architectures.models import FAMILIES, POSITIONS, VOCABULARY, load, save_state, stored_model
from tests.architectures.relabel import declared
from tests.transfer.test_widen import into_stored

SHRUNK = {
    "gpt2": {"ffn": 6},
    "llama": {"ffn": 6, "group": 1, "residual": 12},
    "llama 3.1 tied": {"ffn": 6, "head": 1, "residual": 12},
    "qwen2": {"ffn": 7, "group": 1},
    "qwen3": {"ffn": 7, "group": 1, "residual": 12},
    "gemma": {"ffn": 6, "residual": 12},
    "gpt_neox": {"ffn": 6},
    "gpt_neox unbiased": {"ffn": 6},
}
CASES = [(name, axis) for name, axes in SHRUNK.items() for axis in axes]
WINDOWS = torch.randint(VOCABULARY, (2, POSITIONS), generator=torch.Generator().manual_seed(1))


def family(name: str) -> tuple[Layout, dict[str, Tensor], dict[str, object]]:
    """Return layout, stored weights and configuration of a tiny model."""
    state, config, _ = stored_model(name)
    return layout_of(json.loads(config)).found_in(state), state, json.loads(config)


def massed(name: str, folder: Path, axes: list[str]) -> MassedModel:
    """Return the tiny model of a family, with masses, in float64."""
    layout, state, config = family(name)
    return MassedModel(load(name, save_state(folder, config, state)), layout, axes)


def loss(model: torch.nn.Module) -> float:
    """Return the loss of a model of transformers, by its own code."""
    with torch.no_grad(), KeepFloat64():
        logits = model(WINDOWS).logits[:, :-1]
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), WINDOWS[:, 1:].flatten()))


@pytest.mark.parametrize(("name", "axis"), CASES)
@pytest.mark.parametrize("design", ["iid", "without-replacement"])
def test_masses_are_multiplicities_of_a_transfer(name: str, axis: str, design: str, tmp_path: Path) -> None:
    layout, state, config = family(name)
    plan = draw_transfer(layout, {axis: SHRUNK[name][axis]}, design=design, seed=3)
    operator = plan.operator(layout)
    smaller = layout_of(operator.configure(config, plan.targets)).found_in(state)
    weights = {n: operator.apply(n, w) for n, w in declared(layout, state).items()}
    target = save_state(tmp_path / "target", operator.configure(config, plan.targets), into_stored(smaller, weights))
    expected = loss(load(name, target))

    model = massed(name, tmp_path / "source", list(plan.axes))
    masses = {a: p.counts.double() * p.size / p.width for a, p in plan.axes.items()}
    with torch.no_grad(), KeepFloat64():
        found = float(model.loss(WINDOWS, masses))
        alone = float(model.loss(WINDOWS, {}))
    assert found == pytest.approx(expected, rel=1e-10)
    assert abs(found - alone) > 1e-4  # the transfer does change something


def test_an_axis_under_a_layer_norm_is_refused() -> None:
    layout, _, _ = family("gpt2")
    with pytest.raises(UsageError, match="axis residual of gpt2 under a LayerNorm"):
        mass_uses(layout, "residual")


@pytest.mark.parametrize("axis", ["vocabulary", "layers.0.nothing"])
def test_axes_without_masses_are_refused(axis: str) -> None:
    layout, _, _ = family("llama")
    with pytest.raises(ShapeError, match=f"axis '?{axis}"):
        mass_uses(layout, axis)


def test_masses_must_be_those_of_the_axis(tmp_path: Path) -> None:
    model = massed("llama", tmp_path, ["layers.0.ffn"])
    with pytest.raises(ShapeError, match=r"masses of shape \(3,\) for axis layers.0.ffn; expected \(10,\)"):
        model.loss(WINDOWS, {"layers.0.ffn": torch.ones(3)})
    with pytest.raises(ShapeError, match=r"axis layers.1.ffn; expected one of layers.0.ffn"):
        model.loss(WINDOWS, {"layers.1.ffn": torch.ones(10)})


def test_every_causal_family_is_here() -> None:
    causal = {name for name, entry in FAMILIES.items() if entry.model.endswith(("CausalLM", "LMHeadModel"))}
    variants = {"gpt2 untied", "mistral", "gpt_neox all rotary"}  # the same declaration with other switches
    assert causal - variants - {"mixtral"} == set(SHRUNK)
