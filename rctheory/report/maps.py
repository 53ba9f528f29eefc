"""Maps of tables: p-values on a logarithmic colour scale, other numbers on a linear one unless they span decades."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from rctheory.report.drawing import Picture, canvas, file_name, png, style
from rctheory.suite.experiment import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOWEST_P = 1e-6
PRINTED_CELLS = 40
COLOURS = 256  # fewer show as steps on the colour scale
TITLE_POINTS, TITLE_LETTERS = 11.0, 9.4  # size of a title; bold letters of that size to an inch
WIDE = 20  # largest over smallest of positive numbers: beyond, a linear scale would show the largest alone


def table_picture(claim: str, index: int, table: Table) -> Picture | None:
    """Draw a table as a map; p-values on a log colour scale. Text tables and small ones are printed instead."""
    if table.kind == "text" or len(table.rows) * len(table.columns) <= PRINTED_CELLS:
        return None
    values = np.array(table.values, dtype=float)
    empty = ~np.isfinite(values)
    with style():
        figure, axes = canvas(*_size(table))
        draw = _draw_p_values if table.kind == "p-value" else _draw_values
        draw(figure, axes, np.ma.masked_array(values, empty))
        _hatch(axes, empty)
        _frame(axes, table)
        _entitle(figure, table.title)
        picture = png(figure, COLOURS)
    scale = "Log colour scale. " if _is_wide(np.ma.masked_array(values, empty)) else ""
    scale = "Log colour scale: dark is a small p-value. " if table.kind == "p-value" else scale
    void = "Hatched cells have no value." if empty.any() else ""
    return Picture(file_name(claim, f"table-{index}"), picture, f"{table.title}. {scale}{void}".strip())


def _size(table: Table) -> tuple[float, float]:
    """Return the size in inches at which labels stay legible."""
    rows, columns = len(table.rows), len(table.columns)
    width = 2.6 + 0.36 * columns if columns > rows else 3.6 + 0.62 * columns
    return max(5.4, min(11.0, width)), 1.7 + 0.235 * rows


def _frame(axes: "Axes", table: Table) -> None:
    """Name rows and columns, and separate the cells by thin white lines."""
    axes.set_xticks(range(len(table.columns)), table.columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(table.rows)), table.rows)
    axes.set_xticks(np.arange(len(table.columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(table.rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#c9ced6", linewidth=0.6)
    axes.tick_params(which="both", length=0, labelsize=8.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _entitle(figure: "Figure", title: str) -> None:
    """Write the title over the whole picture, in as many lines as it needs: a map may be narrower than its title."""
    lines = textwrap.fill(title, int(figure.get_figwidth() * TITLE_LETTERS))
    figure.suptitle(lines, x=0.01, ha="left", fontsize=TITLE_POINTS, fontweight="bold")


def _draw_p_values(figure: "Figure", axes: "Axes", values: "np.ma.MaskedArray[Any, Any]") -> None:
    """Show log10 p; the scale ends at the smallest p-value, rounded to a decade."""
    import matplotlib

    positive = np.clip(values, LOWEST_P, 1.0)
    floor = math.floor(math.log10(float(positive.min()))) if positive.count() else -3
    image = axes.imshow(
        np.ma.log10(positive), cmap=matplotlib.colormaps["Blues_r"], vmin=min(floor, -2), vmax=0, aspect="auto"
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    ticks = range(min(floor, -2), 1)
    bar.set_ticks(list(ticks), labels=["1" if t == 0 else f"$10^{{{t}}}$" for t in ticks])
    bar.set_label("p-value")
    bar.outline.set_visible(False)


def _draw_values(figure: "Figure", axes: "Axes", values: "np.ma.MaskedArray[Any, Any]") -> None:
    """Show values of both signs on a diverging scale, white at zero; others on a sequential one."""
    import matplotlib

    limit = float(np.abs(values).max()) if values.count() else 1.0
    signed = values.count() > 0 and float(values.min()) < 0 < float(values.max())
    colours = matplotlib.colormaps["RdBu_r" if signed else "viridis"]
    low, high = (-limit, limit) if signed else (None, None)
    if _is_wide(values):
        image = axes.imshow(np.ma.log10(values), cmap=colours, aspect="auto")
    else:
        image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    if _is_wide(values):
        ends = math.log10(float(values.min())), math.log10(float(values.max()))
        ticks = [k * 10.0**e for e in range(math.floor(ends[0]), math.ceil(ends[1]) + 1) for k in (1, 2, 5)]
        ticks = [tick for tick in ticks if ends[0] <= math.log10(tick) <= ends[1]]
        bar.set_ticks([math.log10(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    bar.outline.set_visible(False)


def _is_wide(values: "np.ma.MaskedArray[Any, Any]") -> bool:
    """Return whether numbers are positive and span more than a linear scale can show."""
    return values.count() > 0 and float(values.min()) > 0 and float(values.max()) > WIDE * float(values.min())


def _hatch(axes: "Axes", empty: "np.ndarray[Any, np.dtype[np.bool_]]") -> None:
    from matplotlib.patches import Rectangle

    for row, column in zip(*np.nonzero(empty), strict=True):
        box = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#eceef1", edgecolor="#c3c8d0", hatch="////")
        box.set_linewidth(0)
        axes.add_patch(box)
