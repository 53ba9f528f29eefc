"""Unit signatures, against the dense slices of the tensors."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.errors import ShapeError
from rctheory.inspection.moments import Moments
from rctheory.inspection.signatures import Signatures, shared_slices, unit_signatures
from rctheory.statistics.comparison import compare_laws
from tests.checkpoints.folders import CONFIG, LAYOUT, tiny_weights
from tests.helpers import stream

GPT2 = {"model_type": "gpt2", "n_embd": 24, "n_head": 3, "n_layer": 2, "vocab_size": 50, "n_positions": 10}


def signed(layout: Layout, weights: dict[str, Tensor], **options: bool) -> dict[str, Signatures]:
    """Gather moments and build signatures."""
    moments = {name: Moments.of(tuple(values.shape)) for name, values in weights.items()}
    for name, values in weights.items():
        moments[name].add(values, 0)
    return unit_signatures(layout, moments, **options)


def rms(values: Tensor, *dimensions: int) -> np.ndarray:
    """Return the log root mean square over some dimensions."""
    return values.double().square().mean(dim=dimensions).sqrt().log().numpy()


def drawn(config: dict[str, object], seed: int = 0) -> tuple[Layout, dict[str, Tensor]]:
    """Draw the weights of a layout."""
    layout = layout_of(config)
    random = stream(seed)
    return layout, {name: torch.randn(t.shape, generator=random) for name, t in layout.tensors.items()}


def test_signatures_of_outermost_axes() -> None:
    weights = tiny_weights()
    found = signed(LAYOUT, weights)
    ffn = found["layers.1.ffn"]
    assert ffn.slices == ("mlp.gate_proj rows", "mlp.up_proj rows", "mlp.down_proj columns")
    mlp = "model.layers.1.mlp."
    expected = [rms(weights[f"{mlp}{n}.weight"], d) for n, d in (("gate_proj", 1), ("up_proj", 1), ("down_proj", 0))]
    np.testing.assert_allclose(ffn.values.numpy(), np.stack(expected, axis=1), atol=1e-5)
    residual = found["residual"]
    assert residual.values.shape == (32, 2 + 1 + 2 * 9)
    norm = residual.of(["model.norm rows"])[:, 0]
    np.testing.assert_allclose(norm.numpy(), weights["model.norm.weight"].abs().log().numpy(), atol=1e-5)
    assert "vocabulary" not in found
    assert "layers.0.group/key_dim" not in found


def test_slices_of_inner_axes_hold_the_other_axes_of_their_dimension() -> None:
    """Rows of q are (2 groups, 2 heads, 8 coordinates)."""
    weights = tiny_weights()
    found = signed(LAYOUT, weights)
    q = weights["model.layers.0.self_attn.q_proj.weight"].reshape(2, 2, 8, 32)
    o = weights["model.layers.0.self_attn.o_proj.weight"].reshape(32, 2, 2, 8)
    group, head = found["layers.0.group"], found["layers.0.group/head"]
    assert group.values.shape == (2, 4)
    np.testing.assert_allclose(group.of(["self_attn.q_proj rows"])[:, 0].numpy(), rms(q, 1, 2, 3), atol=1e-5)
    assert head.values.shape == (4, 2)
    np.testing.assert_allclose(head.of(["self_attn.q_proj rows"])[:, 0].numpy(), rms(q, 2, 3).ravel(), atol=1e-5)
    np.testing.assert_allclose(head.of(["self_attn.o_proj columns"])[:, 0].numpy(), rms(o, 0, 3).ravel(), atol=1e-5)
    value = found["layers.0.group/value_dim"]
    assert value.values.shape == (16, 2)
    np.testing.assert_allclose(value.of(["self_attn.o_proj columns"])[:, 0].numpy(), rms(o, 0, 2).ravel(), atol=1e-5)


def test_means_tell_signs_apart() -> None:
    layout, weights = drawn(GPT2)
    found = signed(layout, weights, means=True)["layers.1.ffn"]
    bias = "transformer.h.1.mlp.c_fc.bias"
    assert torch.allclose(found.of(["mlp.c_fc.bias rows mean"])[:, 0], weights[bias].double())
    plain = signed(layout, weights)["layers.1.ffn"]
    assert found.slices == (*plain.slices, *(f"{name} mean" for name in plain.slices))
    assert torch.equal(found.of(plain.slices), plain.values)


def test_models_of_different_width_and_depth_have_one_law() -> None:
    """Root mean squares do not grow with the width, norms would: here by log sqrt(8)."""
    narrow, wide = (
        signed(*drawn({**GPT2, "n_embd": width, "n_layer": layers, "n_inner": 400}, seed))["layers.1.ffn"]
        for width, layers, seed in ((48, 2, 0), (384, 3, 1))
    )
    assert shared_slices(narrow, wide) == narrow.slices == wide.slices
    matrices = ["mlp.c_fc columns", "mlp.c_proj rows"]
    found = compare_laws(narrow.of(matrices), wide.of(matrices), permutations=99, seed=0)
    medians = (narrow.of(matrices).median(dim=0).values - wide.of(matrices).median(dim=0).values).abs()
    assert float(medians.max()) < 0.03
    assert all(spread < -0.5 for spread in found.spreads)  # rows of 48 entries scatter more than rows of 384


def test_axes_without_a_common_slice_are_refused() -> None:
    llama, gpt2 = signed(LAYOUT, tiny_weights()), signed(*drawn(GPT2))
    with pytest.raises(ShapeError, match=r"layers\.0\.ffn and layers\.0\.ffn without a common slice"):
        shared_slices(llama["layers.0.ffn"], gpt2["layers.0.ffn"])
    deeper = signed(*drawn({**CONFIG, "num_hidden_layers": 3}))
    assert len(shared_slices(deeper["residual"], llama["residual"])) == 21
