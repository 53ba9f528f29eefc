"""The writer of folders: what it writes is what safetensors reads, and a failure leaves nothing."""

import errno
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from rctheory.checkpoints.folder_writer import DTYPES, FolderWriter, OutputTensor
from rctheory.errors import CheckpointError, ShapeError, UsageError

SHAPES = st.lists(st.sampled_from([(1,), (7,), (3, 5), (4, 1), (2, 3, 4)]), min_size=1, max_size=6)


def written(folder: Path) -> dict[str, torch.Tensor]:
    """Read every safetensors file of a folder with the library."""
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def write_all(folder: Path, outputs: list[OutputTensor], calls: list) -> None:
    """Write tensors block by block."""
    with FolderWriter(folder, outputs) as writer:
        for name, blocks in calls:
            writer.write(name, blocks)


@given(SHAPES, st.sampled_from(sorted(DTYPES)), st.integers(1, 200), st.integers(1, 3))
def test_library_reads_what_was_written(tmp_path_factory, shapes, dtype, shard_bytes, rows):
    folder = tmp_path_factory.mktemp("writer") / "model"
    tensors = {f"t{k}": torch.randn(shape) for k, shape in enumerate(shapes)}
    outputs = [OutputTensor(name, tuple(t.shape), dtype) for name, t in tensors.items()]
    with FolderWriter(folder, outputs, shard_bytes) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor.split(rows))
        writer.write_json("config.json", {"model_type": "none"})
    read = written(folder)
    assert set(read) == set(tensors)
    assert all(torch.equal(read[name], tensor.to(DTYPES[dtype])) for name, tensor in tensors.items())
    files = {file.name for file in folder.glob("*.safetensors")}
    index = folder / "model.safetensors.index.json"
    assert index.exists() == (len(files) > 1)
    if len(files) > 1:
        recorded = json.loads(index.read_text())
        assert set(recorded["weight_map"].values()) == files
        assert recorded["metadata"]["total_size"] == sum(output.n_bytes for output in outputs)
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "none"}


def test_metadata_says_the_framework(tmp_path):
    with FolderWriter(tmp_path / "model", [OutputTensor("w", (2,))]) as writer:
        writer.write("w", [torch.ones(2)])
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("half-way")])
def test_failure_leaves_nothing(tmp_path, failure):
    def blocks():
        yield torch.ones(1)
        raise failure

    with pytest.raises(type(failure)):
        write_all(tmp_path / "model", [OutputTensor("w", (2,))], [("w", blocks())])
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing_and_says_so(tmp_path, monkeypatch):
    """The disk fills up while a tensor is written."""

    class FullFile:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *_: FullFile())
    with pytest.raises(CheckpointError, match=r"No space left on device.*free some space"):
        write_all(tmp_path / "model", [OutputTensor("w", (2,))], [("w", [torch.ones(2)])])
    assert list(tmp_path.iterdir()) == []


def test_too_small_a_disk_is_told_before_any_work(tmp_path):
    writer = FolderWriter(tmp_path / "model", [OutputTensor("w", (1 << 30, 1 << 20))])
    with pytest.raises(CheckpointError, match=r"GB free for .*expected at least"), writer:
        pass
    assert list(tmp_path.iterdir()) == []


def test_target_that_exists_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(CheckpointError, match="exists; expected a folder that does not"):
        FolderWriter(tmp_path / "model", [])


def test_tensors_must_come_whole_in_order_and_all(tmp_path):
    outputs = [OutputTensor("a", (2, 3)), OutputTensor("b", (2, 3))]
    cases = [
        ([("b", [torch.ones(2, 3)])], "expected tensor a to be next"),
        ([("a", [torch.ones(1, 3)])], "1 rows of tensor a; expected 2"),
        ([("a", [torch.ones(2, 4)])], r"block of shape \(2, 4\)"),
        ([("a", [torch.ones(2, 3)])], "1 tensors were not written, b first"),
    ]
    for calls, message in cases:
        with pytest.raises(ShapeError, match=message):
            write_all(tmp_path / "model", outputs, calls)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="named twice"):
        FolderWriter(tmp_path / "model", [OutputTensor("a", (1,)), OutputTensor("a", (1,))])
    with pytest.raises(UsageError, match="dtype 'I8'"):
        OutputTensor("a", (1,), "I8")
