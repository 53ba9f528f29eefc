"""Frozen dataclasses to strict JSON and back: the dataclass is the schema.

JSON has no token for numbers that are not finite. They are written as the strings "nan", "inf" and "-inf" where a
number is due, and read back as numbers; null stands for a value that does not exist.
"""

import dataclasses
import json
import math
import os
import tempfile
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union

from rctheory.errors import EvidenceError

T = TypeVar("T")
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
REMEDY = "write the file again with rctheory verify"


def encode(value: object) -> object:
    """Turn dataclasses, enumerations, tuples and mappings into what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if hasattr(value, "item"):  # a number of NumPy or torch
        return encode(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def decode(kind: type[T], value: object, where: str = "evidence") -> T:
    """Build a `kind` from parsed JSON; every key and type is checked, and `where` names the place.

    Raises:
        EvidenceError: a missing or unknown key, or a value of another type.
    """
    return typing.cast("T", _decode(kind, value, where))


def _decode(kind: Any, value: object, where: str) -> object:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _decode(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _decode_record(kind, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = _require(dict, value, where, "an object")
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in items.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        words = [member.value for member in kind]
        if value not in words:
            raise EvidenceError(f"{where} = {value!r}", f"one of {', '.join(words)}", REMEDY)
        return kind(value)
    return _decode_scalar(kind, value, where)


def _decode_scalar(kind: Any, value: object, where: str) -> object:
    if kind is float:
        if isinstance(value, str) and value in NON_FINITE:
            return NON_FINITE[value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        raise EvidenceError(f"{where} = {value!r}", "a number, or one of 'nan', 'inf', '-inf'", REMEDY)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise EvidenceError(f"{where} = {value!r}", f"a {kind.__name__}", REMEDY)
    return value


def _decode_tuple(arguments: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    items = _require(list, value, where, "an array")
    kinds = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
    if len(items) != len(kinds):
        raise EvidenceError(f"{where} has {len(items)} entries", f"{len(kinds)}", REMEDY)
    return tuple(_decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, items, strict=True)))


def _decode_record(kind: Any, value: object, where: str) -> object:
    items = _require(dict, value, where, "an object")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(items) - set(names))
    missing = [name for name in names if name not in items]
    if unknown or missing:
        found = f"{where} has " + (f"the unknown key {unknown[0]!r}" if unknown else f"no key {missing[0]!r}")
        raise EvidenceError(found, f"the keys {', '.join(names)}", REMEDY)
    return kind(**{name: _decode(hints[name], items[name], f"{where}.{name}") for name in names})


def _require(kind: type[T], value: object, where: str, expected: str) -> T:
    if not isinstance(value, kind):
        raise EvidenceError(f"{where} is {type(value).__name__}", expected, REMEDY)
    return value


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name beside it, then move it in place: readers never see half of it."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def dump_json(value: object) -> str:
    """Return strict JSON (no NaN token), indented, ending with a newline."""
    return json.dumps(encode(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def normalize(value: T) -> T:
    """Pass a record through JSON: what comes back is plain data that a reader will accept.

    Raises:
        EvidenceError: a field holds what its annotation does not allow.
    """
    try:
        data = json.loads(dump_json(value))
    except (TypeError, ValueError) as error:
        raise EvidenceError(
            f"a record does not serialise: {error}", "numbers, texts and tables", "convert it"
        ) from None
    return decode(type(value), data, "record")
