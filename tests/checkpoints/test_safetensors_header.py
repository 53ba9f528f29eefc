"""Headers of safetensors files: what they promise is held against the file."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from rctheory.checkpoints.safetensors_header import read_header
from rctheory.errors import CheckpointError
from tests.checkpoints.folders import tiny_weights

F32 = {"dtype": "F32", "shape": [2, 2]}
ONE = {**F32, "data_offsets": [0, 16]}
TWO = {**F32, "data_offsets": [16, 32]}


def write(path: Path, header: Any, size: int = 32, length: int | None = None) -> Path:
    """Write a header, as an object or as text, and `size` zeros behind it."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + bytes(size))
    return path


def test_a_sound_header_is_read(tmp_path: Path) -> None:
    """Names in any order, padding, metadata and empty tensors are part of the format."""
    empty = {"dtype": "I64", "shape": [0], "data_offsets": [16, 16]}
    header = json.dumps({"b": TWO, "__metadata__": {"format": "pt"}, "empty": empty, "a": ONE}) + "   "
    tensors = read_header(write(tmp_path / "sound.safetensors", header))
    assert {name: (t.shape, t.dtype, t.n_bytes) for name, t in tensors.items()} == {
        "a": ((2, 2), "F32", 16),
        "b": ((2, 2), "F32", 16),
        "empty": ((0,), "I64", 0),
    }


def test_the_header_of_the_library_is_read(tmp_path: Path) -> None:
    weights = tiny_weights()
    save_file(weights, tmp_path / "model.safetensors")
    tensors = read_header(tmp_path / "model.safetensors")
    assert {n: t.shape for n, t in tensors.items()} == {n: tuple(w.shape) for n, w in weights.items()}
    assert all(tensors[n].n_bytes == w.numel() * 4 for n, w in weights.items())


TEXT = json.dumps({"a": ONE})
MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "overlap": ({"header": {"a": ONE, "b": {**F32, "data_offsets": [12, 28]}}, "size": 28}, "tensor b lies over a"),
    "the same bytes": ({"header": {"a": ONE, "b": ONE}, "size": 16}, "tensor b lies over a"),
    "gap": ({"header": {"a": ONE, "b": {**F32, "data_offsets": [20, 36]}}, "size": 36}, "4 bytes between a and b"),
    "gap at the start": ({"header": {"b": TWO}}, "16 bytes between the header and b"),
    "behind the file": ({"header": {"a": ONE, "b": TWO}, "size": 31}, "tensor b ends 1 bytes behind the file"),
    "bytes left over": ({"header": {"a": ONE, "b": TWO}, "size": 40}, "8 bytes between b and the end"),
    "wrong size": (
        {"header": {"a": {**ONE, "shape": [2, 3]}}, "size": 16},
        r"\(2, 3\) and dtype F32 in 16 bytes",
    ),
    "absurd shape": ({"header": {"a": {**ONE, "shape": [2**62, 2**62]}}, "size": 16}, "in 16 bytes"),
    "backwards": ({"header": {"a": {**F32, "data_offsets": [16, 0]}}}, "in -16 bytes"),
    "negative": ({"header": {"a": {**ONE, "shape": [-2, -2]}}}, "no shape and offsets of tensor a"),
    "fraction": ({"header": {"a": {**ONE, "data_offsets": [0, 16.0]}}}, "no shape and offsets of tensor a"),
    "three offsets": ({"header": {"a": {**ONE, "data_offsets": [0, 8, 16]}}}, "no shape and offsets of tensor a"),
    "no dtype": ({"header": {"a": {"shape": [2, 2], "data_offsets": [0, 16]}}}, "no dtype of tensor a"),
    "no entry": ({"header": {"a": 7}}, "no dtype of tensor a"),
    "a list": ({"header": "[1, 2]"}, "it holds a list"),
    "no JSON": ({"header": "{"}, "a header of 1 bytes"),
    "no JSON either": ({"header": "{]"}, "Expecting property name"),
    "no text": ({"header": '{"a": "\ud800"}'.encode("utf-8", "surrogatepass").decode("latin-1")}, "cannot be read"),
    "nested": ({"header": '{"a":' * 100_000}, "nested too deeply"),
    "name twice": ({"header": f'{{"a": {json.dumps(ONE)}, "a": {json.dumps(TWO)}}}'}, "it names 'a' twice"),
    "offsets twice": ({"header": TEXT.replace('"dtype"', '"shape": [1], "dtype"')}, "it names 'shape' twice"),
    "header absurd": ({"header": TEXT, "length": 2**63}, "a header of 9223372036854775808 bytes in a file of"),
    "header beyond the file": ({"header": TEXT, "length": len(TEXT) + 33}, "a header of"),
    "no header": ({"header": "", "size": 0, "length": 0}, "a header of 0 bytes in a file of 8"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_header_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, words = MALFORMED[case]
    with pytest.raises(CheckpointError, match=words) as error:
        read_header(write(tmp_path / "bad.safetensors", **content))
    assert "bad.safetensors cannot be read" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_without_a_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.safetensors").write_bytes(b"\x01")
    with pytest.raises(CheckpointError, match="a header of 1 bytes in a file of 1"):
        read_header(tmp_path / "short.safetensors")
