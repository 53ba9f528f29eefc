"""Texts and dtypes as the shell gives them."""

import os
from pathlib import Path

from rctheory.errors import UsageError

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


def read_dtype(name: str | None) -> str | None:
    """Return a dtype under its name in stored weights; None stays None.

    Raises:
        UsageError: no such dtype.
    """
    if name is not None and name not in DTYPES:
        raise UsageError(f"dtype {name!r}", f"one of {', '.join(DTYPES)}", "choose one of these")
    return DTYPES[name] if name else None


def read_text(text: str) -> str:
    """Return a text, or what is in the file of that name."""
    is_file = os.path.isfile(text)  # a text is too long for a path, which pathlib calls an error
    return Path(text).read_text(encoding="utf-8", errors="replace") if is_file else text
