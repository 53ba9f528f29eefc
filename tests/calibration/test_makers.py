"""Feed-forward units that are fitted from both sides, on tiny models of transformers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rctheory import numerics
from rctheory.architectures.readers import reader_of
from rctheory.calibration.makers import Makers, fit_makers, makers_of
from rctheory.errors import NumericsError
from rctheory.transfer.layers import LayeredModel, silenced
from tests.calibration.test_compensation import layered

FFN = ["gpt2", "llama", "qwen2", "gemma", "gpt_neox"]
TOKENS = 600


def makers(model: LayeredModel, axis: str = "layers.1.ffn") -> Makers:
    """Return what makes the units of an axis that has it."""
    found = makers_of(model, axis, reader_of(model.layout, axis))
    assert found is not None
    return found


def tokens(model: LayeredModel) -> tuple[Tensor, Tensor]:
    """Return inputs of a feed-forward layer, and weights that differ from token to token."""
    draw = torch.Generator().manual_seed(4)
    wide = model.layout.axes["residual"].size
    x = torch.randn(TOKENS, wide, generator=draw, dtype=torch.float64)
    return x, 0.5 + torch.rand(TOKENS, 1, generator=draw, dtype=torch.float64)


def missed(found: Tensor, wanted: Tensor, weight: Tensor) -> float:
    return float(((found - wanted) * weight).square().sum() / (wanted * weight).square().sum())


@pytest.mark.parametrize("name", FFN)
def test_all_units_are_the_layer_itself(name: str, tmp_path: Path) -> None:
    model = layered(name, tmp_path)
    found = makers(model)
    x, _ = tokens(model)
    every = torch.arange(model.layout.axes["layers.1.ffn"].size)
    small = found.small(every, model.weight(found.reader))
    torch.testing.assert_close(small(x), found.module(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FFN)
def test_kept_units_are_those_of_the_layer(name: str, tmp_path: Path) -> None:
    model = layered(name, tmp_path)
    found = makers(model)
    x, _ = tokens(model)
    kept = torch.tensor([1, 3, 4])
    small = found.small(kept, model.weight(found.reader)[kept])
    with silenced(found.reading(found.module)) as whole, silenced(found.reading(small)) as part:
        found.module(x)
        small(x)
    torch.testing.assert_close(part[0], whole[0][:, kept], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FFN)
def test_units_that_were_moved_come_back(name: str, tmp_path: Path) -> None:
    """The outputs are those of the units themselves: a fit from perturbed ones finds them, and moves nothing else."""
    model = layered(name, tmp_path)
    found = makers(model)
    x, weight = tokens(model)
    kept = torch.tensor([1, 3, 4])
    small = found.small(kept, model.weight(found.reader)[kept])
    with torch.no_grad():
        asked = small(x) - found.bias()
        before = {key: value.clone() for key, value in found.module.named_parameters()}
        draw = torch.Generator().manual_seed(6)
        for inside, _ in found.parameters.values():
            parameter = small.get_parameter(inside)
            noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            parameter += 0.3 * parameter.square().mean().sqrt() * noise
        start = missed(small(x) - found.bias(), asked, weight)
    fit_makers(found, small, x, asked, weight, epochs=60)
    with torch.no_grad():
        end = missed(small(x) - found.bias(), asked, weight)
    assert start > 0.02
    assert end < 0.05 * start
    assert all(torch.equal(before[key], value) for key, value in found.module.named_parameters())
    written = found.fitted(small)
    assert set(written) == set(found.parameters) - {found.reader}
    assert all(len(kept) in tensor.shape for tensor in written.values())


def test_tokens_count_by_their_weight(tmp_path: Path) -> None:
    """Half of the tokens ask for something else and weigh almost nothing."""
    model = layered("llama", tmp_path)
    found = makers(model)
    x, _ = tokens(model)
    kept = torch.tensor([0, 2, 5, 6])
    small = found.small(kept, model.weight(found.reader)[kept])
    with torch.no_grad():
        asked, first = found.module(x) - found.bias(), torch.arange(TOKENS)[:, None] < TOKENS // 2
        weight = torch.where(first, 1.0, 1e-4).double()
        start = missed(small(x) - found.bias(), asked, weight)
    fit_makers(found, small, x, torch.where(first, asked, -asked), weight, epochs=80)
    with torch.no_grad():
        assert missed(small(x) - found.bias(), asked, weight) < 0.9 * start


def test_heads_are_made_by_attention(tmp_path: Path) -> None:
    model = layered("llama", tmp_path)
    axis = "layers.0.group"
    assert makers_of(model, axis, reader_of(model.layout, axis)) is None


def test_order_of_tokens_is_that_of_the_seed(tmp_path: Path) -> None:
    model = layered("llama", tmp_path)
    found = makers(model)
    x, weight = tokens(model)
    ends = []
    for seed in (0, 0, 1):
        small = found.small(torch.tensor([0, 1]), model.weight(found.reader)[:2])
        fit_makers(found, small, x, found.module(x).detach(), weight, epochs=1, seed=seed)
        ends.append(found.read_by(small))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_fit_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = layered("llama", tmp_path)
    found = makers(model)
    x, weight = tokens(model)
    small = found.small(torch.tensor([0, 1]), model.weight(found.reader)[:2])
    asked = found.module(x).detach()
    asked[5, 0] = torch.inf
    with pytest.raises(NumericsError, match="fitted units that are not finite"):
        fit_makers(found, small, x, asked, weight, epochs=1)


@pytest.mark.parametrize("native", [False, True])
def test_only_single_precision_is_multiplied_in_half(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rctheory.numerics.native_bfloat16", lambda _device: native)
    for dtype in (torch.float16, torch.float32, torch.float64):
        x = torch.randn(4, 4, dtype=dtype)
        with numerics.native_products(x):
            assert (x @ x).dtype == (torch.bfloat16 if native and dtype == torch.float32 else dtype)


def test_bfloat16_is_asked_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, expected in (({"avx512_bf16": True}, True), ({"avx2": True, "avx512_bf16": False}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=capabilities: known)
        assert numerics.native_bfloat16(torch.device("cpu")) is expected
    assert not numerics.native_bfloat16(torch.device("meta"))


def test_all_precisions_agree_on_what_the_text_says(tmp_path: Path) -> None:
    """Single precision, in half where the machine has it, ends where double does, up to its rounding."""
    model = layered("llama", tmp_path)
    found = makers(model)
    x, weight = tokens(model)
    kept = torch.tensor([0, 2, 5, 6, 8])
    ends = []
    for dtype in (torch.float64, torch.float32):
        one = found.small(kept, model.weight(found.reader)[kept]).to(dtype)
        asked = found.module(x).detach() - found.bias()
        fit_makers(found, one, x.to(dtype), asked.to(dtype), weight.to(dtype), epochs=20)
        with torch.no_grad():
            ends.append(missed(one.double()(x) - found.bias(), asked, weight))
    assert ends[1] == pytest.approx(ends[0], rel=0.05)
