"""Exact widening of every declared architecture: the wider model says what the source says."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.pieces import scatter
from rctheory.errors import ShapeError
from rctheory.transfer.widen import widen
from tests.architectures.models import FAMILIES, load, logits, randomise, stored_model
from tests.architectures.relabel import declared
from tests.architectures.test_own_models import MODELS

DOUBLED = {"residual": 24, "ffn": 17}
GROWN = {
    "gpt2": DOUBLED,
    "gpt2 untied": DOUBLED | {"ffn": 50},
    "bert": DOUBLED,
    "bert untied": DOUBLED,
    "llama": {"residual": 24, "group": 3, "ffn": 17},
    "llama 3.1 tied": {"residual": 20, "group": 5, "ffn": 11},
    "mistral": {"residual": 19, "head": 3, "ffn": 17},
    "qwen2": {"residual": 48, "group": 3, "head": 4, "ffn": 11},
    "qwen3": {"residual": 17, "group": 3},
    "gemma": {"residual": 23, "ffn": 12, "head": 3},
    "mixtral": {"residual": 18, "group": 3, "ffn": 13},
    "gpt_neox": {"residual": 48, "ffn": 13},
    "gpt_neox all rotary": {"residual": 48},
    "gpt_neox unbiased": {"residual": 72, "ffn": 11},
}
OWN = {
    "mlp": {"hidden.1": 11, "hidden.2": 9},
    "residual_mlp": {"residual": 9, "ffn": 8},
    "convnet": {"channel.1": 6, "channel.2": 11},
}


def random_plan(layout: Layout, sizes: dict[str, int], *, equal: bool) -> dict[str, Tensor]:
    """Take every unit of every axis that grows, in a random order; as often as each other, where they must be."""
    random = torch.Generator().manual_seed(0)
    plan = {}
    for name, instance in layout.axes.items():
        m = sizes[instance.axis.name]
        if m == instance.size:
            continue
        extra = torch.randint(instance.size, (m - instance.size,), generator=random)
        taken = torch.cat([torch.arange(instance.size), extra])
        if equal and m % instance.size == 0:
            taken = torch.arange(m) % instance.size
        plan[name] = taken[torch.randperm(m, generator=random)]
    return plan


def into_stored(layout: Layout, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write declared tensors into stored ones."""
    shapes = layout.stored_shapes(Naming.TRANSFORMERS)
    stored = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
    for name, tensor in weights.items():
        scatter(tensor, layout.place(name, Naming.TRANSFORMERS), stored)
    return stored


@pytest.mark.parametrize("name", FAMILIES)
def test_the_wider_model_loads_and_says_the_same(name: str, tmp_path: Path) -> None:
    state, config, before = stored_model(name)
    layout = layout_of(json.loads(config)).found_in(state)
    sizes = layout.widths.resize(layout.sizes, GROWN[name])
    plan = random_plan(layout, sizes, equal=any(norm.kind == "layer" for norm in layout.norms))
    assert len(plan) >= 3
    wider = layout_of(layout.widths.write(json.loads(config), sizes)).found_in(state)
    weights = widen(declared(layout, state), layout, plan)
    assert {n: tuple(t.shape) for n, t in weights.items()} == {n: t.shape for n, t in wider.tensors.items()}
    buffers = {key: state[key] for key in layout.buffers if key in state}
    save_file(into_stored(wider, weights) | buffers, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(wider.widths.write(json.loads(config), sizes)))
    after = logits(load(name, tmp_path))
    assert (before - after).abs().max() <= 1e-10 * before.abs().max()


@pytest.mark.parametrize("name", OWN)
def test_the_wider_network_says_the_same(name: str) -> None:
    build, shape, config, _ = MODELS[name]
    model = randomise(build(True))
    state = model.state_dict()
    layout = layout_of({"model_type": name, **config}).found_in(state)
    sizes = layout.widths.resize(layout.sizes, OWN[name])
    weights = widen(declared(layout, state), layout, random_plan(layout, sizes, equal=False))
    wider = layout_of(layout.widths.write({"model_type": name, **config}, sizes)).found_in(state)
    x = torch.randn(7, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    before = model(x)
    if name == "convnet":  # a module knows its number of channels
        model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Conv2d(6, 11, 3))
        model = nn.Sequential(*model, nn.BatchNorm2d(11), nn.Tanh(), nn.Flatten(), nn.Linear(44, 3)).double().eval()
    after = functional_call(model, into_stored(wider, weights), (x,))
    assert (before - after).abs().max() <= 1e-10 * before.abs().max()


def first_family(name: str) -> tuple[Layout, dict[str, Tensor]]:
    """Return the layout and the declared tensors of a family."""
    state, config, _ = stored_model(name)
    layout = layout_of(json.loads(config)).found_in(state)
    return layout, declared(layout, state)


@pytest.mark.parametrize(
    ("name", "plan", "words"),
    [
        ("llama", {"layers.0.ffn": [0, 1, 2]}, r"axis layers\.0\.ffn: \d+ of \d+ units without a copy"),
        ("gpt2", {"residual": [*range(12), 0, 0]}, "residual with 1 to 3 copies; expected as many copies of each"),
        ("mixtral", {"layers.0.expert": [0, 1, 2, 0]}, "which is expert and not averaged"),
        ("llama", {"layers.9.ffn": [0]}, r"axis 'layers\.9\.ffn'"),
    ],
)
def test_what_cannot_be_widened_exactly_is_refused(name: str, plan: dict[str, list[int]], words: str) -> None:
    layout, weights = first_family(name)
    with pytest.raises(ShapeError, match=words):
        widen(weights, layout, {axis: torch.tensor(indices) for axis, indices in plan.items()})


def test_unequal_copies_are_scaled_to_one_mean_square() -> None:
    """One unit has three copies, the others one: the embedding carries sqrt(D'/(D m)), the gains its inverse."""
    layout, weights = first_family("llama")
    order = [*range(16), 5, 5]
    wide = widen(weights, layout, {"residual": torch.tensor(order)})
    embedding, gain = "model.embed_tokens.weight", "model.norm.weight"
    scale = torch.tensor([(18 / 16 / order.count(i)) ** 0.5 for i in order], dtype=torch.float64)
    assert torch.allclose(wide[embedding], weights[embedding][:, order] * scale, rtol=1e-14)
    assert torch.allclose(wide[gain], weights[gain][order] / scale, rtol=1e-14)
    squares = [weights[embedding].square().mean(1), wide[embedding].square().mean(1)]
    assert torch.allclose(*squares, rtol=1e-14)
