"""Pickles of plain data, read without executing anything: dictionaries, lists, numbers, text and arrays of bytes.

A pickle is a program for a small machine. Two locks keep it harmless. Its instructions are read as data first, and
anything beyond building plain values is refused. Then it is run with every name that it may ask for replaced by a
stand-in of this module: NumPy's own reconstruction is never called.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

OPCODES = frozenset(
    {
        "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1",
        "BININT2", "LONG", "LONG1", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
        "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
        "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "DICT", "LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
        "APPEND", "APPENDS", "SETITEM", "SETITEMS", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET",
        "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
    }
)  # fmt: skip


class ForbiddenPickleError(ValueError):
    """A pickle that asks for more than plain data."""


class _Type:
    """Stands for `numpy.dtype`: a code, of which only unsigned bytes become an array."""

    def __init__(self, code: object, *_rest: object) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else code

    def __setstate__(self, _state: object) -> None:
        """Ignore byte order and fields: a byte has none."""


class _Array:
    """Stands for an array under reconstruction, until its entries come."""

    values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        """Take (version, shape, type, column order, entries)."""
        _version, shape, kind, by_columns, entries = state
        self.values = _bytes_array(entries, kind, shape, by_columns=bool(by_columns))


def _bytes_array(entries: object, kind: object, shape: Sequence[int], *, by_columns: bool) -> np.ndarray:
    """Return entries as an array of unsigned bytes.

    Raises:
        ForbiddenPickleError: another type, or entries that do not fill the shape.
    """
    if not isinstance(kind, _Type) or kind.code not in ("u1", "|u1"):
        raise ForbiddenPickleError("it holds an array that is not of unsigned bytes")
    sizes = tuple(shape)
    if not isinstance(entries, bytes | bytearray) or not all(type(n) is int and n >= 0 for n in sizes):
        raise ForbiddenPickleError("it holds an array without entries")
    if math.prod(sizes) != len(entries):
        raise ForbiddenPickleError(f"it holds {len(entries)} entries for sizes {' x '.join(map(str, sizes))}")
    return np.frombuffer(bytes(entries), dtype=np.uint8).reshape(sizes, order="F" if by_columns else "C")


def _reconstruct(*_arguments: object) -> _Array:
    return _Array()


def _from_buffer(entries: object, kind: object, shape: Sequence[int], order: object = "C") -> np.ndarray:
    return _bytes_array(entries, kind, shape, by_columns=order in ("F", b"F"))


def _encode(text: object, encoding: object) -> bytes:
    """Return bytes that a Python 3 wrote as text for an old protocol."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise ForbiddenPickleError("it encodes something else than text to bytes")
    return text.encode("latin1")


def _never(*_arguments: object) -> None:
    raise ForbiddenPickleError("it builds an array in an unknown way")


class _StandIn:
    """What a name stands for: it can be called, and nothing can be written into it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, _state: object) -> None:
        """Refuse: a pickle may build what was made, not what makes it."""
        raise ForbiddenPickleError("it changes a name")


STAND_INS = {
    ("_codecs", "encode"): _StandIn(_encode),
    ("numpy", "dtype"): _StandIn(_Type),
    ("numpy", "ndarray"): _StandIn(_never),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _StandIn(_reconstruct) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _StandIn(_from_buffer) for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    """Builds what `STAND_INS` names, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name."""
        if (module, name) not in STAND_INS:
            raise ForbiddenPickleError(f"it asks for {module}.{name}")
        return STAND_INS[module, name]

    def persistent_load(self, _pid: object) -> Any:
        """Refuse references to objects outside."""
        raise ForbiddenPickleError("it refers to an object outside of the file")


def read_plain_pickle(data: bytes) -> object:
    """Return the plain value that a pickle describes; arrays of bytes are NumPy arrays, text of Python 2 is bytes.

    Raises:
        ForbiddenPickleError: it is broken, or asks for more than plain data.
    """
    try:
        _scan(data)
        value = _Reader(io.BytesIO(data), encoding="bytes").load()
    except ForbiddenPickleError:
        raise
    except Exception as error:  # a malformed pickle can make its reader raise anything
        raise ForbiddenPickleError(f"it is no complete pickle ({' '.join(str(error).split())[:100]})") from None
    return _finished(value)


def _scan(data: bytes) -> None:
    """Refuse instructions beyond plain data, and places of memory beyond the length of the file."""
    for opcode, argument, _place in pickletools.genops(data):
        if opcode.name not in OPCODES:
            raise ForbiddenPickleError(f"it holds the instruction {opcode.name}")
        if opcode.name == "GLOBAL" and tuple(str(argument).split(" ", 1)) not in STAND_INS:
            raise ForbiddenPickleError(f"it asks for {'.'.join(str(argument).split(' ', 1))}")
        if opcode.name in ("PUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= len(data):
            raise ForbiddenPickleError("it writes beyond its memory")


def _finished(value: object, depth: int = 0) -> object:
    """Return a value with arrays in the place of what they were reconstructed from."""
    if depth > 8:
        raise ForbiddenPickleError("it is nested too deeply")
    if isinstance(value, _Array) and value.values is not None:
        return value.values
    if isinstance(value, dict):
        return {_finished(key, depth + 1): _finished(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(entry, depth + 1) for entry in value)
    if value is None or isinstance(value, str | bytes | bytearray | int | np.ndarray):
        return value
    raise ForbiddenPickleError("it holds something else than plain values")
