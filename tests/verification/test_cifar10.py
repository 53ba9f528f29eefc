"""CIFAR-10 from its official files, on synthesised ones: the real data set is on request."""

import io
import pickle
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rctheory.errors import RcError, UsageError
from tests.helpers import stream
from verification import cifar10
from verification.plain_pickles import ForbiddenPickleError, read_plain_pickle

SIZE = 20
NAMES = (*cifar10.TRAINING, cifar10.HELD_OUT)


def batch(name: str) -> tuple[np.ndarray, list[int]]:
    """Return noisy pictures of ten kinds."""
    kinds = torch.rand(10, cifar10.PIXELS, generator=stream(0))
    labels = [k % 10 for k in range(SIZE)]
    noise = torch.rand(SIZE, cifar10.PIXELS, generator=stream(NAMES.index(name) + 1))
    return (255 * (kinds[labels] + noise) / 2).to(torch.uint8).numpy(), labels


def old_pickle(pictures: np.ndarray, labels: list[int]) -> bytes:
    """Write a batch as Python 2 did: protocol 2, text as byte strings, an array by its reconstruction."""

    def text(value: bytes) -> bytes:
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value

    shape = b"".join(b"M" + struct.pack("<H", n) for n in pictures.shape)
    kind = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\0K\1\x87R(K\3"
        + text(b"|")
        + b"NNN"
        + 2 * b"J\xff\xff\xff\xff"
        + b"K\0tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
    array += b"(K\1" + shape + b"\x86" + kind + b"\x89" + text(pictures.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    title = text(b"batch_label") + text(b"training batch 1 of 5")
    return b"\x80\2}(" + title + text(b"labels") + numbers + text(b"data") + array + b"u."


def new_pickle(pictures: np.ndarray, labels: list[int], protocol: int = 4) -> bytes:
    """Write a batch as Python 3 does."""
    return pickle.dumps({"data": pictures, "labels": labels, "filenames": ["a.png"] * SIZE}, protocol=protocol)


def archive(path: Path, files: dict[str, bytes], folder: str = cifar10.FOLDER, kind: bytes = tarfile.REGTYPE) -> None:
    """Write an archive of files."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.type, member.linkname = len(data) if kind == tarfile.REGTYPE else 0, kind, "/dev/zero"
            tar.addfile(member, io.BytesIO(data))


def all_files() -> dict[str, bytes]:
    """Return the files of the distribution."""
    return {name: old_pickle(*batch(name)) for name in NAMES} | {"batches.meta": b"not read", "readme.html": b""}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a path that the variable names; batches are small; what is cached is dropped before and after."""
    monkeypatch.setenv(cifar10.VARIABLE, str(tmp_path / "data"))
    monkeypatch.setattr(cifar10, "PER_BATCH", SIZE)
    cifar10.cifar10.cache_clear()
    yield tmp_path / "data"
    cifar10.cifar10.cache_clear()


def check_pictures() -> None:
    """Check whitened components against the pictures as they were written."""
    training, held_out = cifar10.cifar10()
    assert (training.x.shape, held_out.x.shape) == ((5 * SIZE, 65), (SIZE, 65))
    assert training.labels.tolist() == [k % 10 for k in range(SIZE)] * 5
    pictures = np.concatenate([batch(name)[0] for name in cifar10.TRAINING]).reshape(-1, 3, 8, 4, 8, 4)
    pooled = torch.from_numpy(pictures.mean(axis=(3, 5)) / 255).flatten(start_dim=1)
    leading = torch.linalg.svd(pooled - pooled.mean(dim=0), full_matrices=False).U[:, :64]
    got = training.x[:, :-1].double()
    torch.testing.assert_close(got @ got.T, len(got) * 2.2**2 / 64 * leading @ leading.T, rtol=1e-3, atol=1e-3)
    assert bool((held_out.x[:, -1] == 1).all())


def test_reads_a_synthesised_archive(path: Path) -> None:
    archive(path, all_files())
    check_pictures()


@pytest.mark.parametrize("nested", [False, True])
def test_reads_a_synthesised_folder(path: Path, nested: bool) -> None:
    folder = path / cifar10.FOLDER if nested else path
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(new_pickle(*batch(name)))
    check_pictures()


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("columns", [False, True])
def test_python_3_pickles_of_every_protocol(path: Path, protocol: int, columns: bool) -> None:
    pictures, labels = batch("test_batch")
    order = np.asfortranarray(pictures) if columns else pictures
    got, classes = cifar10.read_batch("here", new_pickle(order, labels, protocol))
    assert got.flatten(start_dim=1).tolist() == pictures.tolist()
    assert classes.tolist() == labels


def test_python_2_pickles_are_read_as_python_reads_them() -> None:
    pictures, labels = batch("test_batch")
    data = old_pickle(pictures, labels)
    own, theirs = read_plain_pickle(data), pickle.loads(data, encoding="bytes")
    assert own.keys() == theirs.keys()
    assert own[b"data"].tolist() == theirs[b"data"].tolist() == pictures.tolist()
    assert own[b"labels"] == theirs[b"labels"] == labels


class Malicious:
    """Would execute a command."""

    def __reduce__(self):
        import os

        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps({"data": Malicious(), "labels": []}, 0), "it asks for posix.system"),
        (pickle.dumps({"data": Malicious(), "labels": []}, 2), "it asks for posix.system"),
        (pickle.dumps({"data": Malicious(), "labels": []}, 4), "it asks for posix.system"),
        (b"(S'ls'\nios\nsystem\n.", "it holds the instruction INST"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "it asks for builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "it asks for numpy.load"),
        (b"Pname\n.", "it holds the instruction PERSID"),
        (pickle.dumps(1.5), "it holds the instruction BINFLOAT"),
        (pickle.dumps(np.arange(3.0)), "not of unsigned bytes"),
        (pickle.dumps(np.array([Malicious()], dtype=object)), "it asks for posix.system"),
        (pickle.dumps(np.array([None], dtype=object)), "not of unsigned bytes"),
        (b"N" + b"r\xff\xff\xff\xff.", "writes beyond its memory"),
        (b"\x80\4" + b"(" * 20 + b"t" * 20 + b".", "nested too deeply"),
        (b"cnumpy\ndtype\n.", "something else than plain values"),
        (b"c_codecs\nencode\nN}(U\x0c__defaults__(U\1xtu\x86b.", "it changes a name"),
        (b"cnumpy\ndtype\n}b.", "it changes a name"),
        (b"", "no complete pickle"),
        (old_pickle(*batch("test_batch"))[:-100], "no complete pickle"),
        (old_pickle(*batch("test_batch")).replace(b"M\x14\0M\0\x0c", b"M\x15\0M\0\x0c"), "entries for sizes 21 x 3072"),
    ],
)
def test_pickles_that_are_not_plain_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ForbiddenPickleError, match=message) as caught:
        read_plain_pickle(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "data NoneType"),
        ({"data": batch("test_batch")[0][:, 1:], "labels": [0] * SIZE}, r"data \(20, 3071\)"),
        ({"data": batch("test_batch")[0][1:], "labels": [0] * SIZE}, r"data \(19, 3072\)"),
        ({"data": b"abc", "labels": [0] * SIZE}, "data bytes"),
        ({"data": batch("test_batch")[0], "labels": [0] * (SIZE - 1)}, "19 labels up to 0"),
        ({"data": batch("test_batch")[0], "labels": [10] * SIZE}, "20 labels up to 10"),
        ({"data": batch("test_batch")[0], "labels": [-1] * SIZE}, "20 labels"),
        ({"data": batch("test_batch")[0], "labels": [True] * SIZE}, "no integer labels"),
        ({"data": batch("test_batch")[0], "labels": [0] * (SIZE - 1) + [None]}, "19 labels"),
        ({"data": batch("test_batch")[0]}, "no integer labels"),
    ],
)
def test_batches_of_other_contents_are_refused(path: Path, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        cifar10.read_batch("the batch", pickle.dumps(value))
    assert "\n" not in str(caught.value)


def test_broken_archives_are_refused_in_one_line(path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(RcError, match=message) as caught:
            cifar10.cifar10()
        assert "\n" not in str(caught.value)

    refused("no file or folder")
    files = all_files()
    archive(path, files | {"../../evil": b""})
    refused(r"with the member 'cifar-10-batches-py/../../evil'")
    archive(path, files, folder="/etc")
    refused("with the member '/etc/data_batch_1'")
    archive(path, files, kind=tarfile.SYMTYPE)
    refused("data_batch_1 is there twice, or no plain file")
    archive(path, {name: files[name] for name in NAMES[1:]})
    refused("without data_batch_1")
    archive(path, files)
    path.write_bytes(path.read_bytes()[:-5000])
    refused("the complete archive cifar-10-python.tar.gz")
    path.write_bytes(b"no archive")
    refused("the complete archive cifar-10-python.tar.gz")
    path.unlink()
    path.mkdir()
    refused("without data_batch_1, data_batch_2")


def test_nothing_is_extracted(path: Path) -> None:
    archive(path, all_files())
    before = sorted(path.parent.iterdir())
    cifar10.cifar10()
    assert sorted(path.parent.iterdir()) == before


def test_a_batch_that_is_too_large_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(path, all_files())
    monkeypatch.setattr(cifar10, "MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="at most 1000"):
        cifar10.cifar10()


def test_the_variable_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cifar10.VARIABLE, raising=False)
    with pytest.raises(UsageError, match="RCTHEORY_CIFAR10 is not set"):
        cifar10.place()
