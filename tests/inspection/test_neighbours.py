"""Which matrices share neurons, and how they are laid side by side."""

import torch

from rctheory.architectures.mlp import mlp
from rctheory.inspection.correlations import by_neuron
from rctheory.inspection.neighbours import neuron_pairs, reading_order
from tests.checkpoints.folders import LAYOUT


def test_pairs_of_a_llama_follow_from_its_axes() -> None:
    pairs = [(p.axis.name, p.first.tensor.name, p.second.tensor.name) for p in neuron_pairs(LAYOUT)]
    of_layer_1 = {(axis, first.split(".")[-2], second.split(".")[-2]) for axis, first, second in pairs if ".1." in axis}
    assert of_layer_1 == {
        ("layers.1.group/key_dim", "q_proj", "k_proj"),
        ("layers.1.group/value_dim", "v_proj", "o_proj"),
        ("layers.1.ffn", "gate_proj", "up_proj"),
        ("layers.1.ffn", "gate_proj", "down_proj"),
        ("layers.1.ffn", "up_proj", "down_proj"),
    }
    assert len(pairs) == 10


def test_pairs_of_a_perceptron_are_its_consecutive_matrices() -> None:
    layout = mlp(4).layout({"input": 5, "hidden.1": 6, "hidden.2": 7, "hidden.3": 8, "output": 3})
    pairs = [
        (p.first.tensor.name, p.first.dimension, p.second.tensor.name, p.second.dimension) for p in neuron_pairs(layout)
    ]
    assert pairs == [
        ("weights.1", 0, "weights.2", 1),
        ("weights.2", 0, "weights.3", 1),
        ("weights.3", 0, "weights.4", 1),
    ]


def test_tensors_are_read_layer_by_layer() -> None:
    layers = [tensor.layer for tensor in reading_order(LAYOUT)]
    assert layers[0] is None  # the embedding
    assert layers[1:19] == [0] * 9 + [1] * 9
    assert sorted(tensor.name for tensor in reading_order(LAYOUT)) == sorted(LAYOUT.tensors)


def test_query_heads_are_copies_of_the_key_that_they_meet() -> None:
    """Row (group, head, coordinate) of the queries meets row (group, coordinate) of the keys."""
    pair = next(p for p in neuron_pairs(LAYOUT) if p.axis.name == "layers.0.group/key_dim")
    q = torch.arange(32 * 32.0).reshape(32, 32)
    k = torch.arange(16 * 32.0).reshape(16, 32)
    y, z = by_neuron(pair.first, pair.second, q), by_neuron(pair.second, pair.first, k)
    assert y.shape == (2, 16, 32)  # two heads in each group
    assert z.shape == (1, 16, 32)
    group, head, coordinate = 1, 0, 5
    assert torch.equal(y[head, group * 8 + coordinate], q[(group * 2 + head) * 8 + coordinate])
    assert torch.equal(z[0, group * 8 + coordinate], k[group * 8 + coordinate])


def test_a_reader_is_transposed() -> None:
    pair = next(p for p in neuron_pairs(LAYOUT) if p.axis.name == "layers.0.group/value_dim")
    v, o = torch.arange(16 * 32.0).reshape(16, 32), torch.arange(32 * 32.0).reshape(32, 32)
    y, z = by_neuron(pair.first, pair.second, v), by_neuron(pair.second, pair.first, o)
    assert y.shape == (1, 16, 32)
    assert torch.equal(z[1, 0 * 8 + 3], o[:, (0 * 2 + 1) * 8 + 3])
