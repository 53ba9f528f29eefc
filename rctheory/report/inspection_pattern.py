"""The row-column correlation pattern as a figure: every layer a point, against the band that chance gives."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rctheory.inspection.order import LEVEL
from rctheory.inspection.statistic import Row
from rctheory.report.drawing import INK, MEASURED, Picture, png, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINEAR = 1e-3  # correlations below are drawn on a linear scale, above on a logarithmic one
CHANCE, INSIDE = "#d9dde3", "#8a909c"
TITLES = {"raw": "weights", "log|w|": "log sizes of weights"}


def pattern_picture(rows: Sequence[Row]) -> Picture | None:
    """Draw the correlations of each kind of pair of entries; None where there are none."""
    rows = [row for row in rows if isinstance(row.values.get("correlation"), float)]
    if not rows:
        return None
    from matplotlib.figure import Figure

    lines = _lines(rows)
    scales = [scale for scale in TITLES if any(row.values["scale"] == scale for row in rows)]
    with style():
        figure = Figure(figsize=(11.0, 1.7 + 0.23 * len(lines)), layout="constrained")
        panels = figure.subplots(1, len(scales), sharey=True, squeeze=False)[0]
        for axes, scale in zip(panels, scales, strict=True):
            _draw(axes, {line: [row for row in found if row.values["scale"] == scale] for line, found in lines.items()})
            axes.set_title(TITLES[scale], loc="left", fontsize=11, fontweight="bold")
            axes.set_xlabel("correlation of two entries (logarithmic beyond ±0.001)")
        _label(panels[0], list(lines))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9)
        picture = png(figure)
    caption = (
        "Correlation of two weights that share a row, a column, a neuron of two matrices (or neuron and coordinate), "
        "or nothing; one point a layer. The grey band holds 95% of what chance gives (median over layers). Filled "
        f"points: p-value at most {LEVEL:g} after adjustment over all of them. Row-column theory allows correlation "
        "wherever something is shared, and none where nothing is; entries that share nothing are neighbours along the "
        "diagonal, so where an axis is ordered or nested (heads) they share more than nothing."
    )
    return Picture("inspect-correlations-pattern", picture, caption)


def _lines(rows: Sequence[Row]) -> Mapping[tuple[str, str], list[Row]]:
    """Group rows by what is shared and by matrix or pair, in the order in which they come."""
    kinds = list(dict.fromkeys(str(row.values["shares"]) for row in rows))
    kinds.sort(key=lambda kind: kind == "nothing shared")  # last: the contrast to all others
    lines: dict[tuple[str, str], list[Row]] = {}
    for kind in kinds:
        lines[kind, ""] = []  # the line of the heading
        for row in rows:
            if row.values["shares"] == kind:
                lines.setdefault((kind, row.pattern), []).append(row)
    return lines


def _draw(axes: "Axes", lines: Mapping[tuple[str, str], Sequence[Row]]) -> None:
    """Draw one line of points for each matrix, above its band."""
    named: set[str] = set()

    def once(label: str) -> str:
        fresh = "" if label in named else label
        named.add(label)
        return fresh or "_nolegend_"

    for place, rows in enumerate(lines.values()):
        if not rows:
            continue
        low, high = (float(np.median([_number(row, key) for row in rows])) for key in ("low", "high"))
        band = once("95% of chance")
        axes.barh(place, high - low, left=low, height=0.86, color=CHANCE, linewidth=0, zorder=1, label=band)
        for small, face in ((False, "none"), (True, MEASURED)):
            chosen = [row for row in rows if (_number(row, "p_value_adjusted") <= LEVEL) is small]
            axes.scatter(
                [_number(row, "correlation") for row in chosen],
                [place] * len(chosen),
                s=13,
                edgecolors=MEASURED if small else INSIDE,
                facecolors=face,
                linewidths=0.7,
                alpha=0.8,
                zorder=3,
                label=once(f"a layer, adjusted p {'≤' if small else '>'} {LEVEL:g}"),
            )
    axes.axvline(0, color=INK, linewidth=0.8, zorder=2, label="theory where nothing is shared")
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.6)
    found = [abs(_number(row, "correlation")) for rows in lines.values() for row in rows]
    reach = 1.4 * max([*found, 10 * LINEAR])
    decades = [10.0**k for k in range(-3, 1) if 10.0**k <= reach]
    axes.set_xlim(-reach, reach)
    ticks = [*(-x for x in reversed(decades)), 0.0, *decades]
    axes.set_xticks(ticks, [f"{x:g}".replace("-", "−") for x in ticks], fontsize=8.5)
    axes.set_xticks([], minor=True)
    axes.grid(True, axis="x", color="#eceef1", linewidth=0.8)
    axes.set_axisbelow(True)


def _label(axes: "Axes", lines: Sequence[tuple[str, str]]) -> None:
    """Name every line, and every kind of pair above its first line."""
    axes.set_yticks(range(len(lines)), [pattern or kind for kind, pattern in lines], fontsize=8.5)
    for tick, (_, pattern) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("normal" if pattern else "bold")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    for panel in axes.figure.axes:
        panel.tick_params(axis="y", length=0)
        for place, (_, pattern) in enumerate(lines):
            if not pattern:
                panel.axhline(place - 0.5, color=INSIDE, linewidth=0.7)


def _number(row: Row, key: str) -> float:
    """Return a number of a row; NaN where there is none."""
    value = row.values.get(key)
    return float(value) if isinstance(value, (int, float)) else float("nan")
