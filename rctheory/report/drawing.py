"""What every picture shares: style, canvas, bytes.

Matplotlib is imported where it draws; a picture is the same, byte for byte, whenever the record is the same.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rctheory.errors import RcError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MEASURED, THEORY, PLANTED = "#1f2430", "#0b6fa4", "#1f2430", "#c44e0c"
STYLE: Any = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.edgecolor": "#8a909c",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": "#4a505c",
    "ytick.color": "#4a505c",
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True)
class Picture:
    """A PNG with what it shows.

    Args:
        name: file name without its ending.
        png: the bytes.
        caption: one or two sentences: what is drawn, and how the lines were placed.
    """

    name: str
    png: bytes
    caption: str


@contextmanager
def style() -> Iterator[None]:
    """Draw with our style and nobody's configuration file.

    Raises:
        RcError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        found = "package matplotlib is not installed"
        raise RcError(found, "it for the report", "pip install matplotlib") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    """Return an empty figure of that many inches: no pyplot, hence no display and no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def png(figure: "Figure", colours: int = 96) -> bytes:
    """Return the picture in a few colours, a quarter of the size, without metadata that would change the bytes."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    picture = Image.open(drawn).convert("RGB")
    picture.quantize(colours, dither=Image.Dither.NONE).save(packed, format="png", optimize=True)
    return packed.getvalue()


def file_name(*parts: str) -> str:
    """Join the parts of a file name."""
    return "-".join(part.replace(".", "-").replace("_", "-") for part in parts)
