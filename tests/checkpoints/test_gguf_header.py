"""The header of GGUF files: against the reader of the package `gguf`, and what it refuses in one line."""

import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rctheory.checkpoints.gguf_header import read_header
from rctheory.checkpoints.gguf_store import GgufStore
from rctheory.checkpoints.sources import find_packaged, open_checkpoint
from rctheory.errors import CheckpointError, RcError
from tests.checkpoints.folders import save_gguf, tiny_weights

Damage = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def packaged() -> tuple[Path, gguf.GGUFReader]:
    """Read the packaged model with the package `gguf`."""
    path = find_packaged("smollm2")
    return path, gguf.GGUFReader(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a sound file."""
    return save_gguf(tmp_path_factory.mktemp("gguf") / "model.gguf", tiny_weights()).read_bytes()


def test_the_table_of_the_packaged_model_is_that_of_gguf(packaged: tuple[Path, gguf.GGUFReader]) -> None:
    path, reader = packaged
    ours = read_header(path).tensors
    assert list(ours) == [tensor.name for tensor in reader.tensors]
    for theirs in reader.tensors:
        tensor = ours[theirs.name]
        assert tensor.shape == tuple(int(size) for size in reversed(theirs.shape))
        assert (tensor.start, tensor.n_bytes) == (theirs.data_offset, theirs.n_bytes)
        assert tensor.kind.name == theirs.tensor_type.name


def test_the_metadata_of_the_packaged_model_is_that_of_gguf(packaged: tuple[Path, gguf.GGUFReader]) -> None:
    path, reader = packaged
    store = GgufStore(path)
    metadata = store.metadata
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert list(metadata) == list(fields)
    for key, field in fields.items():
        if field.types[0] is gguf.GGUFValueType.ARRAY:
            assert metadata[key] == len(field.data)
        else:
            assert metadata[key] == field.contents()
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type"):
        assert store.array(key) == fields[key].contents()
    with pytest.raises(CheckpointError, match=r"no array 'llama.block_count'"):
        store.array("llama.block_count")


def write(path: Path, add: Callable[[gguf.GGUFWriter], None]) -> Path:
    """Write a file without tensors."""
    writer = gguf.GGUFWriter(str(path), "llama")
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_every_kind_of_metadata_comes_back(tmp_path: Path) -> None:
    values: dict[str, tuple[str, Any]] = {
        "a": ("uint8", 200), "b": ("int8", -100), "c": ("uint16", 60000), "d": ("int16", -30000),
        "e": ("uint32", 2**32 - 1), "f": ("int32", -(2**31)), "g": ("float32", 0.5), "h": ("bool", True),
        "i": ("uint64", 2**64 - 1), "j": ("int64", -(2**63)), "k": ("float64", 0.1), "l": ("string", "größer"),
        "m": ("array", [3, 1, 4]), "n": ("array", [0.25, -1.0]), "o": ("array", ["a", "", "bc"]),
        "p": ("array", [True, False]), "q": ("array", list(range(5000))),
    }  # fmt: skip

    def add(writer: gguf.GGUFWriter) -> None:
        for key, (kind, value) in values.items():
            getattr(writer, f"add_{kind}")(key, value)

    store = GgufStore(write(tmp_path / "kinds.gguf", add))
    short = {"o": 3, "q": 5000}  # strings, and longer than any number of layers: their length alone
    expected = {key: short.get(key, value) for key, (_, value) in values.items()}
    assert store.metadata == {"general.architecture": "llama", **expected}
    assert store.array("o") == ["a", "", "bc"]
    assert store.array("q") == list(range(5000))


def _swap(old: bytes, new: bytes) -> Damage:
    def damage(data: bytes) -> bytes:
        assert data.count(old) >= 1
        return data.replace(old, new, 1)

    return damage


def _number(at: int, code: str, value: int) -> Damage:
    return lambda data: data[:at] + struct.pack(code, value) + data[at + struct.calcsize(code) :]


def _behind(name: bytes, skip: int, code: str, value: int) -> Damage:
    """Change a number of the table: `skip` bytes behind the name of a tensor."""
    return lambda data: _number(data.index(name) + len(name) + skip, code, value)(data)


NORM = b"output_norm.weight"  # one dimension: its count, one size, the type, the offset
HUGE = 2**62
MALFORMED: dict[str, tuple[Damage, str]] = {
    "another magic": (_number(0, "<I", 7), r"starts with b'\\x07"),
    "big endian": (_number(4, "<I", 0x03000000), "it is big endian"),
    "version 1": (_number(4, "<I", 1), "of version 1"),
    "version 4": (_number(4, "<I", 4), "of version 4"),
    "many tensors": (_number(8, "<Q", HUGE), "cannot be read as GGUF"),
    "much metadata": (_number(16, "<Q", HUGE), "cannot be read as GGUF"),
    "long key": (_number(24, "<Q", HUGE), "ends .* bytes too early"),
    "long list": (_swap(struct.pack("<IQ", 8, 96), struct.pack("<IQ", 8, HUGE)), "inside a list of strings"),
    "long numbers": (_swap(struct.pack("<IQ", 8, 96), struct.pack("<IQ", 4, HUGE)), "ends .* bytes too early"),
    "array of arrays": (_swap(struct.pack("<IQ", 8, 96), struct.pack("<IQ", 9, 96)), "array of the unknown kind 9"),
    "unknown kind": (_swap(b"llama.block_count\x04", b"llama.block_count\x4d"), "unknown kind 77"),
    "no text": (_swap(b"general.architecture", b"\xff" * 20), "utf-8"),
    "no dimension": (_behind(NORM, 0, "<I", 0), "has 0 dimensions"),
    "many dimensions": (_behind(NORM, 0, "<I", 2**31), "has 2147483648 dimensions"),
    "no entries": (_behind(NORM, 4, "<Q", 0), r"shape \(0,\) is no whole number"),
    "many entries": (_behind(NORM, 4, "<Q", 2**63), "bytes behind the file|lies over"),
    "half a block": (_behind(NORM, 12, "<I", 12), "no whole number of Q4_K blocks"),
    "unknown type": (_behind(NORM, 12, "<I", 4095), "type number 4095"),
    "offset outside": (_behind(NORM, 16, "<Q", HUGE), "bytes behind the file"),
    "offset over another": (_behind(NORM, 16, "<Q", 0), "lies over"),
    "offset askew": (_behind(NORM, 16, "<Q", HUGE + 1), "not aligned"),
    "tensor twice": (
        _swap(b"blk.1.attn_norm.weight", b"blk.0.attn_norm.weight"),
        "blk.0.attn_norm.weight stands there",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_costs_one_line_and_no_memory(tmp_path: Path, whole: bytes, case: str) -> None:
    damage, words = MALFORMED[case]
    path = tmp_path / "model.gguf"
    path.write_bytes(damaged := damage(whole))
    assert damaged != whole
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=words) as error:
        open_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert peak < 1e7


@given(data=st.data())
def test_no_damage_of_the_header_escapes_as_another_error(
    data: st.DataObject, whole: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    place = data.draw(st.integers(0, 4000))
    noise = data.draw(st.binary(min_size=1, max_size=12))
    keep = data.draw(st.integers(0, len(whole)))
    path.write_bytes((whole[:place] + noise + whole[place + len(noise) :])[:keep])
    with suppress(RcError), open_checkpoint(path) as checkpoint:
        for name in checkpoint.tensors:
            checkpoint.tensor(name)


def test_a_header_that_is_cut_anywhere_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "cut.gguf"
    token = whole.index(b"<40>")  # every byte of one string of a list, and places all over
    for keep in (*range(token, token + 16), *range(0, whole.index(NORM), 37)):
        path.write_bytes(whole[:keep])
        with pytest.raises(CheckpointError, match="cannot be read as GGUF"):
            read_header(path)


def test_a_key_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    entry = struct.pack("<Q3sIB", 3, b"one", 0, 1)
    (tmp_path / "twice.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * entry)
    with pytest.raises(CheckpointError, match="metadata key one stands there twice"):
        read_header(tmp_path / "twice.gguf")


def test_an_alignment_that_is_no_power_of_two_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "askew.gguf", lambda writer: writer.add_uint32("general.alignment", 48))
    with pytest.raises(CheckpointError, match=r"general.alignment is 48"):
        read_header(path)
