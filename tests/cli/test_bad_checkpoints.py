"""Bad checkpoints through `rctheory inspect`: one line on stderr, nothing on stdout, exit code 2."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.folders import CONFIG, save_folder, save_gguf, save_torch, tiny_weights
from tests.checkpoints.test_errors import BREAKAGES
from tests.checkpoints.test_torch_store import Creating


@pytest.fixture
def refused(shell):
    """Return a function that inspects a source and returns the line that refuses it."""

    def run(source: Path) -> str:
        code, out, err = shell("inspect", source)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        return err

    return run


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_folder(tmp_path, refused, breakage):
    folder = save_folder(tmp_path / "model", tiny_weights(), shards=3)
    damage, _ = BREAKAGES[breakage]
    damage(folder)
    assert refused(folder)


def test_an_unknown_architecture_says_how_to_declare_it(tmp_path, refused):
    folder = save_folder(tmp_path, tiny_weights())
    (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "mamba"}))
    line = refused(folder)
    assert "model_type = 'mamba'; expected one of bert, " in line
    assert "declare it: rctheory new-architecture NAME --from-hf FOLDER" in line


def test_a_shard_whose_offsets_overlap(tmp_path, refused):
    path = save_folder(tmp_path, tiny_weights()) / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    twins = [name for name in header if name.endswith("layernorm.weight")]
    header[twins[1]]["data_offsets"] = header[twins[0]]["data_offsets"]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    assert "lies over" in refused(tmp_path)


def test_a_tensor_in_two_shards(tmp_path, refused):
    folder = save_folder(tmp_path, tiny_weights(), shards=2)
    second = folder / "model-00002-of-00002.safetensors"
    save_file(load_file(second) | {"model.embed_tokens.weight": torch.ones(96, 32)}, second)
    assert "tensor model.embed_tokens.weight is stored in model-00001-of-00002" in refused(folder)


def test_a_pickle_that_would_run_code(tmp_path, refused):
    folder = save_torch(tmp_path / "model", tiny_weights())
    torch.save(tiny_weights() | {"extra": Creating(tmp_path / "created")}, folder / "pytorch_model.bin")
    assert "pytorch_model.bin is refused by PyTorch's reader of weights" in refused(folder)
    assert not (tmp_path / "created").exists()


def test_a_stored_head_that_contradicts_its_tie(tmp_path, refused):
    folder = save_folder(tmp_path, tiny_weights())
    (folder / "config.json").write_text(json.dumps(CONFIG | {"tie_word_embeddings": True}))
    assert "untie them in config.json, or remove the copy" in refused(folder)


def test_a_truncated_gguf_file(tmp_path, refused):
    path = save_gguf(tmp_path / "model.gguf", tiny_weights())
    path.write_bytes(path.read_bytes()[:-1])
    assert "bytes behind the file" in refused(path)


def test_a_pytorch_file_with_nan(tmp_path, refused):
    weights = tiny_weights()
    weights["model.norm.weight"][3] = torch.nan
    assert "tensor model.norm.weight has 1 NaN or infinite entries" in refused(save_torch(tmp_path, weights))
