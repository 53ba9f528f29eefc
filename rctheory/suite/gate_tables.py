"""The gates of claims.toml: one small table each, numbers as exact fractions."""

import math
from collections.abc import Mapping
from fractions import Fraction

from rctheory.errors import RegistryError
from rctheory.statistics.gates import BoundGate, Gate, RateGate, RejectionGate

FORMS = (
    {"rate", "margin"},
    {"rate", "margin", "side"},
    {"at_most"},
    {"at_least"},
    {"at_least", "at_most"},
    {"reject", "level"},
)
EXPECTED = "`rate` and `margin` (and `side`), or `at_most` or `at_least` or both, or `reject` and `level`"


def parse_gate(where: str, table: object) -> Gate:
    """Read one gate; `where` names it for the error.

    Raises:
        RegistryError: keys of no known gate, or a value outside its range.
    """
    if not isinstance(table, Mapping):
        raise RegistryError(f"{where} is a {type(table).__name__}", "a table", f"declare {EXPECTED}")
    if set(table) not in FORMS:
        found = f"{where} has the keys {', '.join(sorted(table)) or '(none)'}"
        raise RegistryError(found, EXPECTED, "declare exactly one of these forms")
    if "rate" in table:
        side = _word(where, table, "side", ("two", "upper")) if "side" in table else "two"
        margin = _number(where, table, "margin", above=0)
        return RateGate(_number(where, table, "rate"), margin, side)
    if "reject" in table:
        return RejectionGate(
            _word(where, table, "reject", ("all", "none")), _number(where, table, "level", above=0, below=1)
        )
    low, high = (_number(where, table, key) if key in table else None for key in ("at_least", "at_most"))
    if low is not None and high is not None and not low < high:
        raise RegistryError(f"{where}: at_least {low}, at_most {high}", "at_least below at_most", "exchange them")
    return BoundGate(low, high)


def _number(
    where: str, table: Mapping[str, object], key: str, above: float = -math.inf, below: float = math.inf
) -> Fraction:
    """Read an exact number, written in quotes, strictly between `above` and `below`."""
    text, expected = table[key], "an exact number in quotes, such as '-1/2' or '1e-4'"
    if not isinstance(text, str):
        raise RegistryError(f"{where}.{key} = {text!r}, a {type(text).__name__}", expected, "put the number in quotes")
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise RegistryError(f"{where}.{key} = {text!r}", expected, "write a fraction or a decimal") from None
    if not above < value < below:
        limits = f"a number above {above:g}" + (f" and below {below:g}" if math.isfinite(below) else "")
        raise RegistryError(f"{where}.{key} = {text!r}", limits, "declare a gate that something can pass and fail")
    return value


def _word(where: str, table: Mapping[str, object], key: str, words: tuple[str, ...]) -> str:
    value = table[key]
    if value not in words:
        raise RegistryError(f"{where}.{key} = {value!r}", f"one of {', '.join(words)}", "choose one of these")
    return str(value)
