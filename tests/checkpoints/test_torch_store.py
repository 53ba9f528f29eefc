"""PyTorch state dicts: read as data. Nothing in a file runs, and what is no state dict is refused in one line."""

import os
import pickle
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rctheory.checkpoints import torch_store
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.checkpoints.torch_store import TorchStore, load_state_dict
from rctheory.errors import CheckpointError
from tests.checkpoints.folders import LAYOUT, save_folder, save_torch, tiny_weights


class Creating:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_gives_back_its_weights(tmp_path: Path, shards: int) -> None:
    weights = tiny_weights()
    with open_checkpoint(save_torch(tmp_path, weights, shards=shards)) as checkpoint:
        assert list(checkpoint.tensors) == list(LAYOUT.tensors)
        for name, tensor in weights.items():
            assert checkpoint.tensors[name].n_bytes == 4 * tensor.numel()
            assert torch.equal(checkpoint.tensor(name), tensor)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_point_types_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in tiny_weights().items()}
    with open_checkpoint(save_torch(tmp_path, weights)) as checkpoint:
        for name, tensor in weights.items():
            assert torch.equal(checkpoint.tensor(name), tensor.float())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model_state_dict", "model", "module"])
def test_a_file_is_read_with_the_config_beside_it(tmp_path: Path, suffix: str, wrapper: str) -> None:
    weights = tiny_weights()
    save_torch(tmp_path, weights)
    path = tmp_path / f"last{suffix}"
    torch.save({wrapper: weights, "epoch": 3, "optimizer": {"state": {}}} if wrapper else weights, path)
    with open_checkpoint(path) as checkpoint:
        assert all(torch.equal(checkpoint.tensor(name), tensor) for name, tensor in weights.items())


def test_views_parameters_and_shared_storages_are_tensors(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = OrderedDict(all=base, part=base[1:3], turned=base.T, trained=nn.Parameter(base.clone()))
    torch.save(tensors, tmp_path / "views.pt")
    store = TorchStore([tmp_path / "views.pt"])
    for name, tensor in tensors.items():
        (block,) = store.blocks(name, [(0, len(tensor))])
        assert torch.equal(block, tensor.detach())
        assert block.is_contiguous()
        assert not block.requires_grad
    (block,) = store.blocks("turned", [(1, 3)], (2, 4))
    assert torch.equal(block, base.T[1:3, 2:4])


@pytest.mark.parametrize("where", ["at the top", "beside tensors", "in a wrapper"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, where: str) -> None:
    target = tmp_path / "created"
    pickle.loads(pickle.dumps(Creating(target)))  # the plant is alive
    target.rmdir()
    weights = tiny_weights()
    save_torch(tmp_path, weights)
    evil = {
        "at the top": Creating(target),
        "beside tensors": weights | {"extra": Creating(target)},
        "in a wrapper": {"state_dict": weights, "args": Creating(target)},
    }[where]
    torch.save(evil, tmp_path / "pytorch_model.bin")
    for source in (tmp_path, tmp_path / "pytorch_model.bin"):
        with pytest.raises(CheckpointError, match=r"reader of weights \(it asks for \w+.mkdir\)") as error:
            open_checkpoint(source)
        assert "\n" not in str(error.value)
        assert "save its state dict as safetensors" in str(error.value)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(evil))
    with pytest.raises(CheckpointError, match=r"bare.pt is a bare pickle"):
        open_checkpoint(tmp_path / "bare.pt")
    assert not target.exists()


def test_safetensors_come_before_a_pickle(tmp_path: Path) -> None:
    folder = save_folder(tmp_path, tiny_weights())
    torch.save(Creating(tmp_path / "created"), folder / "pytorch_model.bin")
    open_checkpoint(folder)
    assert not (tmp_path / "created").exists()


def _compressed(path: Path, value: Any) -> None:
    torch.save(value, path.with_suffix(".tmp"))
    with zipfile.ZipFile(path.with_suffix(".tmp")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


def _truncated(path: Path, value: Any) -> None:
    torch.save(value, path)
    path.write_bytes(path.read_bytes()[:-1000])


def _legacy(path: Path, value: Any) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def _garbage_pickle(path: Path, value: Any) -> None:
    torch.save(value, path.with_suffix(".tmp"))
    with zipfile.ZipFile(path.with_suffix(".tmp")) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            is_pickle = entry.filename.endswith("data.pkl")
            new.writestr(entry.filename, b"\x80\x02garbage." if is_pickle else old.read(entry))


ONE = {"w": torch.ones(500, 2)}
WRITERS: dict[str, tuple[Callable[[Path, Any], None], str]] = {
    "compressed": (_compressed, r"cannot be read \(its entries are compressed\)"),
    "truncated": (_truncated, "cannot be read"),
    "older than the zip format": (_legacy, "is a bare pickle, as PyTorch wrote it before version 1.6"),
    "garbage": (_garbage_pickle, "refused by PyTorch's reader of weights"),
    "text": (lambda path, _: path.write_text("weights"), r"cannot be read \(File is not a zip file\)"),
    "empty": (lambda path, _: path.write_bytes(b""), "cannot be read"),
    "another zip": (lambda path, _: zipfile.ZipFile(path, "w").close(), "refused by PyTorch's reader of weights"),
}


@pytest.mark.parametrize("case", WRITERS)
def test_a_file_that_cannot_be_mapped_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    write, words = WRITERS[case]
    write(tmp_path / "model.pt", ONE)
    with pytest.raises(CheckpointError, match=words) as error:
        load_state_dict(tmp_path / "model.pt")
    assert "\n" not in str(error.value)


VALUES: dict[str, tuple[Any, str]] = {
    "a tensor": (torch.ones(3), "holds a Tensor"),
    "nothing": ({}, "holds nothing"),
    "no tensors": ({"epoch": 3}, "holds 'epoch'; expected a dictionary of tensors, or one such in state_dict"),
    "a number among them": (ONE | {"epoch": 3}, "holds 'w', 'epoch'"),
    "numbered": ({0: torch.ones(3)}, "holds 0"),
    "ambiguous": ({"state_dict": ONE, "model": ONE}, "holds several state dicts: state_dict, model"),
    "sparse": ({"w": torch.eye(3).to_sparse()}, "tensor w of model.pt is sparse or repeated"),
    "repeated": ({"w": torch.ones(1).expand(10**6, 10**6)}, "sparse or repeated"),
    "arrays": ({"w": np.ones(3)}, "refused by PyTorch's reader of weights"),
    "a whole model": (nn.Linear(2, 2), r"it asks for torch.nn.modules.linear.Linear"),
}


@pytest.mark.parametrize("case", VALUES)
def test_what_is_no_state_dict_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    value, words = VALUES[case]
    torch.save(value, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=words) as error:
        load_state_dict(tmp_path / "model.pt")
    assert "\n" not in str(error.value)


def test_integers_are_no_weights(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights["model.norm.weight"] = weights["model.norm.weight"].to(torch.int32)
    with pytest.raises(CheckpointError, match=r"tensor model.norm.weight has dtype int32; expected one of float64"):
        open_checkpoint(save_torch(tmp_path, weights))


def test_threads_read_while_mappings_are_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_store, "MAPPED_BYTES", 1)
    weights = tiny_weights()
    wrong: list[str] = []
    with open_checkpoint(save_torch(tmp_path, weights, shards=3)) as checkpoint:

        def read(tensors: dict[str, Tensor]) -> None:
            wrong.extend(n for n, tensor in tensors.items() if not torch.equal(checkpoint.tensor(n), tensor))

        threads = [threading.Thread(target=read, args=(weights,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
