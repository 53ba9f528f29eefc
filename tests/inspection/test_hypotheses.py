"""Hypotheses of layouts other than Llama's: positions, heads without groups, vectors, an axis on both dimensions."""

import math

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.architectures.spec import Architecture, Axis, Role, Scope, TensorSpec
from rctheory.inspection.hypotheses import Hypothesis, Kind, hypotheses
from rctheory.statistics.multiplicity import max_t
from rctheory.statistics.permutation import order_tests
from tests.checkpoints.folders import LAYOUT
from tests.helpers import stream

GPT2 = {"model_type": "gpt2", "n_embd": 24, "n_head": 4, "n_layer": 2, "vocab_size": 50, "n_positions": 60}
BERT = {
    "model_type": "bert",
    "hidden_size": 24,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "vocab_size": 50,
    "max_position_embeddings": 60,
    "type_vocab_size": 2,
}
HEAD = Axis("head", Role.HEAD, exchangeable=True, scope=Scope.LAYER)
DIM = Axis("dim", Role.HEAD_DIM, exchangeable=True, scope=Scope.LAYER, parent=HEAD)
STATE = Axis("state", Role.HIDDEN, exchangeable=True, scope=Scope.LAYER)
RECURRENT = Architecture(
    "recurrent",
    (
        TensorSpec("layers.{layer}.mix", ((HEAD, DIM), (HEAD, DIM))),
        TensorSpec("layers.{layer}.temperature", ((HEAD,),)),
        TensorSpec("layers.{layer}.step", ((STATE,), (STATE,))),
    ),
)


def log_norms(layout: Layout, seed: int = 0) -> dict[tuple[str, int], Tensor]:
    """Draw a log norm for every unit of every tensor dimension."""
    random = stream(seed)
    sizes = {(t.name, d): size for t in layout.tensors.values() for d, size in enumerate(t.shape)}
    return {key: torch.randn(size, generator=random, dtype=torch.float64) for key, size in sizes.items()}


def found(layout: Layout, norms: dict[tuple[str, int], Tensor]) -> dict[str, Hypothesis]:
    """Return hypotheses by name."""
    return {h.name: h for h in hypotheses(layout, norms)}


def test_heads_without_groups_positions_and_vectors() -> None:
    for config in (GPT2, BERT):
        layout = layout_of(config)
        tested = found(layout, log_norms(layout))
        assert (tested["position"].kind, tested["position"].declared) == (Kind.ALONE, False)
        assert "vocabulary" not in tested
        (ffn,) = tested["layers.1.ffn"].sets
        assert len(ffn) == 3  # two matrices and a bias
        (heads,) = tested["head"].sets
        assert {array.shape for array in heads.values()} == {(2, 6, 4)}
        assert len(heads) == 7  # rows and biases of q, k, v; what reads the values
        (keys,) = tested["head/key_dim"].sets
        assert {array.shape for array in keys.values()} == {(8, 1, 6)}
        assert {h.family for h in tested.values()} == {"outermost axes", "head", "head/key_dim", "head/value_dim"}


def test_an_order_of_positions_is_seen_and_contradicts_nothing() -> None:
    layout = layout_of(BERT)
    norms = log_norms(layout)
    key = ("bert.embeddings.position_embeddings.weight", 0)
    norms[key] = norms[key] + torch.linspace(3, 0, 60)
    tested = found(layout, norms)
    tests = order_tests({name: h.sets for name, h in tested.items()}, permutations=999, seed=0)
    families = {name: h.family for name, h in tested.items()}
    adjusted = max_t({name: test.replicates for name, test in tests.items()}, families)
    assert [name for name, p in adjusted.items() if p <= 0.01] == ["position"]


def test_an_axis_on_both_dimensions_moves_both_at_once() -> None:
    layout = RECURRENT.layout({"head": 3, "dim": 5, "state": 8}, layers=2)
    tested = found(layout, log_norms(layout))
    assert set(tested) == {
        *(f"layers.{k}.{axis}" for k in range(2) for axis in ("state", "head (flat)")),
        "head",
        "head/dim",
    }
    (state,) = tested["layers.0.state"].sets
    assert set(state) == {"layers.0.step rows", "layers.0.step columns"}
    (flat,) = tested["layers.1.head (flat)"].sets
    assert {label: array.shape for label, array in flat.items()} == {
        "layers.1.mix rows": (1, 1, 15),
        "layers.1.mix columns": (1, 1, 15),
    }
    (dims,) = tested["head/dim"].sets
    assert {array.shape for array in dims.values()} == {(6, 1, 5)}


def test_one_number_for_each_head_moves_with_the_heads() -> None:
    """Leaving it out would leave a place where an order could hide."""
    layout = RECURRENT.layout({"head": 30, "dim": 2, "state": 8}, layers=2)
    norms = log_norms(layout)
    for layer in range(2):
        norms[f"layers.{layer}.temperature", 0] = torch.arange(30, dtype=torch.float64)
    heads = found(layout, norms)["head"]
    assert {label: array.shape for label, array in heads.sets[0].items()} == {
        "layers.{layer}.mix rows": (2, 2, 30),
        "layers.{layer}.mix columns": (2, 2, 30),
        "layers.{layer}.temperature rows": (2, 1, 30),
    }
    assert order_tests({"head": heads.sets}, permutations=199, seed=0)["head"].p_value == 1 / 200


def test_every_unit_of_a_hypothesis_is_a_unit_of_the_layout() -> None:
    """Arrays are rearranged, never dropped: together they hold every number of the dimensions that they touch."""
    for layout in (layout_of(GPT2), layout_of(BERT), LAYOUT):
        norms = log_norms(layout)
        for hypothesis in found(layout, norms).values():
            values = torch.cat([a.reshape(-1) for arrays in hypothesis.sets for a in arrays.values()])
            dimensions = {
                (touch.tensor, touch.dimension)
                for name, instance in layout.axes.items()
                if instance.axis == hypothesis.axis and hypothesis.layer in (None, _layer(layout, name))
                for touch in layout.touches(name)
            }
            assert values.numel() == sum(norms[key].numel() for key in dimensions)
            assert math.isclose(float(values.sum()), float(sum(norms[key].sum() for key in dimensions)), abs_tol=1e-9)


def _layer(layout: Layout, axis: str) -> int | None:
    """Return the layer of an axis instance."""
    return layout.tensors[layout.touches(axis)[0].tensor].layer
