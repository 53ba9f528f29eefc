"""Entries of a configuration, read so that what makes no sense is refused in one line."""

from collections.abc import Mapping
from typing import Any

from rctheory.errors import CheckpointError

REMEDY = "correct the configuration"


def read_whole(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """Return a whole number of at least 1.

    Raises:
        CheckpointError: it is missing without a default, or is no such number.
    """
    value = config.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{key} = {value!r} in the configuration", "a whole number >= 1", REMEDY)
    return value


def read_flag(config: Mapping[str, Any], key: str, *, default: bool) -> bool:
    """Return a truth value.

    Raises:
        CheckpointError: it is neither true nor false.
    """
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, bool):
        raise CheckpointError(f"{key} = {value!r} in the configuration", "true or false", REMEDY)
    return value


def refuse_flag(config: Mapping[str, Any], key: str) -> None:
    """Refuse a configuration that switches on what is not declared.

    Raises:
        CheckpointError: it does.
    """
    if config.get(key):
        raise CheckpointError(f"{key} = {config[key]!r} in the configuration", "a model without", "declare its tensors")
