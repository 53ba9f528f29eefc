"""LaTeX to MathML, so that a page needs no script and no network."""

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(r"\$([^$]+)\$")
# SymPy prints an indexed symbol with an upper index as {W^{2}}_{i,j}: the two indices belong one above the other.
_STAGGERED = re.compile(r"\{(\\?[A-Za-z]+)\^\{([^{}]*)\}\}_\{")
# Browsers put space around a slash or a bar, even inside an exponent.
_LOOSE = re.compile(r"<mo(?: [^>]*)?>(/|&#x0002F;|\||&#x0007C;|&#x02223;)</mo>")
# What a LaTeX source keeps when it is set: a command is about one glyph, layout commands and braces are none.
_LAYOUT = re.compile(r"\\(?:left|right|operatorname|limits|substack)\b|[{}_^ ]")
_COMMAND = re.compile(r"\\[A-Za-z]+")
WIDE = 55


def is_wide(latex: str) -> bool:
    """Return whether a formula needs a line of its own."""
    return len(_COMMAND.sub("x", _LAYOUT.sub("", latex))) > WIDE


def tidy(latex: str) -> str:
    """Put the two indices of a symbol one above the other."""
    return _STAGGERED.sub(r"\1^{\2}_{", latex)


def mathml(latex: str, *, block: bool = False) -> str:
    """Return a formula as MathML; what the converter does not know is shown as LaTeX source."""
    try:
        converted = convert(tidy(latex), display="block" if block else "inline")
    except Exception:  # any converter error: the source is still readable
        return f"<code>{html.escape(latex)}</code>"
    return _LOOSE.sub(r'<mo lspace="0" rspace="0" stretchy="false">\1</mo>', str(converted))


def prose(text: str) -> str:
    """Return escaped HTML of words with `$...$` formulas."""
    parts = _FORMULA.split(text)
    return "".join(mathml(part) if i % 2 else html.escape(part) for i, part in enumerate(parts))
