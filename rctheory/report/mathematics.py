"""LaTeX to MathML, so that a page needs no script and no network."""

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(r"\$([^$]+)\$")


def mathml(latex: str, *, block: bool = False) -> str:
    """Return a formula as MathML; what the converter does not know is shown as LaTeX source."""
    try:
        return str(convert(latex, display="block" if block else "inline"))
    except Exception:  # any converter error: the source is still readable
        return f"<code>{html.escape(latex)}</code>"


def prose(text: str) -> str:
    """Return escaped HTML of words with `$...$` formulas."""
    parts = _FORMULA.split(text)
    return "".join(mathml(part) if i % 2 else html.escape(part) for i, part in enumerate(parts))
