"""Log-log pictures of rates: what was measured, its fit, the theory, and the planted errors."""

import math
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from rctheory.report.drawing import MEASURED, PLANTED, THEORY, Picture, canvas, file_name, png, style
from rctheory.report.summary import number
from rctheory.statistics.rates import Point, RateFit
from rctheory.suite.record import ControlRecord, GateRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_WIDTH = 52


def rate_picture(claim: str, gate: GateRecord, controls: Sequence[ControlRecord]) -> Picture | None:
    """Draw the curve of a gate, its fit with the confidence band, the theory line, and the controls that it caught."""
    if not gate.points or gate.fit is None:
        return None
    with style():
        figure, axes = canvas(6.8, 4.9)
        scale = _grid(gate.points)
        planted = [(control, other) for control in controls for other in control.gates if other.gate == gate.gate]
        for control, other in planted:
            _draw_control(axes, control, other)
        _draw_fit(axes, gate.fit, scale)
        if gate.rate is not None:
            _draw_theory(axes, gate.points, gate.fit, Fraction(gate.rate), scale)
        _draw_points(axes, gate.points)
        axes.set_xscale("log", base=2 if _doubling(gate.points) else 10)
        axes.set_yscale("log")
        _label_sizes(axes, gate.points)
        axes.set_xlabel(gate.x_label or "size")
        axes.set_ylabel(gate.y_label)
        axes.set_title(f"{claim}: {gate.gate}", loc="left", fontsize=11.5, fontweight="bold")
        axes.grid(True, which="major", color="#e6e8ec", linewidth=0.8)
        axes.set_axisbelow(True)
        _label_errors(axes)
        _legend(figure, axes)
        picture = png(figure)
    return Picture(file_name(claim, gate.gate), picture, _rate_caption(gate, bool(planted)))


def _grid(points: Sequence[Point]) -> list[float]:
    ends = [point.abscissa for point in points]
    values = np.geomspace(min(ends) / 1.15, max(ends) * 1.15, 80)
    return [float(value) for value in values]


def _draw_points(axes: "Axes", points: Sequence[Point]) -> None:
    bars: Any = [2 * point.se for point in points] if any(point.se for point in points) else None
    axes.errorbar(
        [point.abscissa for point in points],
        [point.error for point in points],
        yerr=bars,
        fmt="o",
        color=MEASURED,
        markersize=5.5,
        capsize=3,
        elinewidth=1.2,
        zorder=5,
        label="measured" + (" ± 2 standard errors" if bars else ""),
    )


def _draw_fit(axes: "Axes", fit: RateFit, scale: list[float]) -> None:
    centre, low, high = fit.curve(scale)
    label = f"fit, slope {number(fit.slope)} [{number(fit.interval[0])}, {number(fit.interval[1])}]"
    axes.plot(scale, centre, color=MEASURED, linewidth=1.6, label=label, zorder=4)
    axes.fill_between(
        scale, low, high, color=MEASURED, alpha=0.18, linewidth=0, zorder=3, label=f"{fit.level:.0%} confidence band"
    )


def _draw_theory(axes: "Axes", points: Sequence[Point], fit: RateFit, rate: Fraction, scale: list[float]) -> None:
    """Draw the declared slope through the fit at the geometric mean of the sizes: theory gives no constant."""
    anchor = math.exp(float(np.mean([math.log(point.abscissa) for point in points])))
    height = math.exp(fit.intercept + fit.slope * math.log(anchor))
    line = [height * (value / anchor) ** float(rate) for value in scale]
    label = f"theory, slope {str(rate).replace('-', '−')}"
    axes.plot(scale, line, color=THEORY, linewidth=1.3, linestyle=(0, (5, 3)), label=label, zorder=4)


def _draw_control(axes: "Axes", control: ControlRecord, gate: GateRecord) -> None:
    if not gate.points or gate.fit is None:
        return
    sizes = [point.abscissa for point in gate.points]
    label = f"planted: {control.title}, slope {number(gate.fit.slope)}"
    axes.plot(sizes, [point.error for point in gate.points], "x:", color=PLANTED, linewidth=1.2, label=label, zorder=2)


def _doubling(points: Sequence[Point]) -> bool:
    return all(point.n & (point.n - 1) == 0 for point in points)


def _label_sizes(axes: "Axes", points: Sequence[Point]) -> None:
    """Put a tick at every measured abscissa, with its value."""
    sizes = [point.abscissa for point in points]
    labels = [str(point.n) if point.scale is None else number(point.abscissa) for point in points]
    axes.set_xticks(sizes, labels)
    axes.set_xticks([], minor=True)


def _legend(figure: "Figure", axes: "Axes") -> None:
    """Put the legend under the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    rank = {"measured": 0, "fit": 1, "theory": 3, "planted": 4}
    order = sorted(
        range(len(labels)), key=lambda i: rank.get(labels[i].replace(",", " ").replace(":", " ").split()[0], 2)
    )
    figure.legend(
        [handles[i] for i in order],
        [textwrap.fill(labels[i], LEGEND_WIDTH) for i in order],
        loc="outside lower left",
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )


def _plain(value: float, _position: int) -> str:
    """Write the label of a tick: decimals where they are short, else powers of ten."""
    return f"{value:g}" if 1e-3 <= value < 1e4 else f"$10^{{{math.log10(value):.0f}}}$"


def _label_errors(axes: "Axes") -> None:
    """Label 1, 2, 5 of each decade when there are few decades, else the decades alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    few = math.log10(high / low) < 2.5 and low >= 1e-3
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _rate_caption(gate: GateRecord, planted: bool) -> str:
    seeds = sorted({point.seeds for point in gate.points})
    parts = [f"{gate.y_label} against {gate.x_label}, log-log"]
    if seeds != [1]:
        parts.append(f"{seeds[0]}{f' to {seeds[-1]}' if len(seeds) > 1 else ''} independent seeds a point")
    level = f"{gate.fit.level:.0%}" if gate.fit else ""
    parts.append(f"the band is the pointwise {level} confidence band of the weighted fit")
    if gate.rate is not None:
        anchor = "the theory line has the declared slope; its height is free, and it passes through the fit at the "
        parts.append(anchor + "geometric mean of the sizes")
    if planted:
        parts.append("crosses show the planted errors, judged by the same gate")
    return "; ".join(parts) + "."
