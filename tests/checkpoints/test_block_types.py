"""Every type of GGUF entries against the package `gguf`, bit for bit."""

import sys

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.checkpoints import block_types
from rctheory.checkpoints.block_types import DECODED, block_type
from rctheory.errors import CheckpointError, MissingExtraError
from tests.helpers import SEEDS

Kind = gguf.GGMLQuantizationType
OF_OUR_OWN = sorted(set(DECODED) - {Kind.F64})


def random_blocks(kind: Kind, count: int, seed: int) -> np.ndarray:
    """Draw bytes: every pattern is a block, also of infinite scales and of NaN."""
    return np.random.default_rng(seed).integers(0, 256, (count, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("number", OF_OUR_OWN)
@given(count=st.integers(1, 40), seed=SEEDS)
def test_blocks_are_decoded_as_gguf_does(number: int, count: int, seed: int) -> None:
    kind = Kind(number)
    blocks = random_blocks(kind, count, seed)
    expected = gguf.dequantize(blocks, kind)
    decoded = block_type(number).require_decoder("w")(torch.from_numpy(blocks)).numpy()
    assert decoded.dtype == np.float32
    assert decoded.shape == expected.shape
    assert np.array_equal(np.isnan(decoded), np.isnan(expected))
    known = ~np.isnan(expected)
    assert np.array_equal(decoded[known].view(np.uint32), expected[known].view(np.uint32))  # signs of zeros, too


def test_float64_is_rounded_once() -> None:
    values = torch.randn(7, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(block_type(28).require_decoder("w")(values.view(torch.uint8)), values.float())


@pytest.mark.parametrize("number", sorted(DECODED))
def test_sizes_are_those_of_gguf(number: int) -> None:
    kind = block_type(number)
    assert kind.name == Kind(number).name
    assert (kind.entries, kind.n_bytes) == gguf.GGML_QUANT_SIZES[Kind(number)]


@pytest.mark.parametrize("kind", [Kind.Q5_0, Kind.Q4_K, Kind.Q6_K, Kind.IQ4_NL])
def test_other_types_are_left_to_gguf(kind: Kind) -> None:
    blocks = random_blocks(kind, 3, 0)
    blocks[:, :2] = blocks[:, 2:4] = blocks[:, -2:] = 0  # scales that are no NaN
    decoded = block_type(kind.value).require_decoder("w")(torch.from_numpy(blocks))
    assert np.array_equal(decoded.numpy(), gguf.dequantize(blocks, kind), equal_nan=True)


@pytest.mark.parametrize("kind", [Kind.I8, Kind.I32, Kind.I64, Kind.Q8_1])
def test_what_stands_for_no_weights_has_no_decoder(kind: Kind) -> None:
    with pytest.raises(CheckpointError, match=f"tensor w has dtype {kind.name}"):
        block_type(kind.value).require_decoder("w")


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(CheckpointError, match="type number 4095"):
        block_type(4095)


def test_other_types_name_the_extra_that_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    block_types._foreign.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert block_type(3).name == "Q4_1"
    with pytest.raises(MissingExtraError, match=r"pip install 'rctheory\[gguf\]'"):
        block_type(Kind.Q6_K.value)
