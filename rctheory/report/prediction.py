"""The page of a prediction: curves of loss against width, and every layer in numbers."""

from typing import TYPE_CHECKING

import rctheory
from rctheory.prediction.console import budget_in_words, headline, in_words
from rctheory.prediction.prediction import CONVERGED
from rctheory.prediction.sources import SIGMAS, Curve, SourcePrediction
from rctheory.report.drawing import MEASURED, PLANTED, THEORY, Picture, canvas, png, style
from rctheory.report.pages import page_templates

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def prediction_page(found: SourcePrediction) -> str:
    """Return a self-contained HTML page."""
    layers = () if found.wanted is None else found.wanted.axes
    said = [] if found.wanted is None else [in_words(found.wanted)]
    if found.budget is not None:
        said += [budget_in_words(found.budget, curve.axis, curve.cheapest) for curve in found.curves]
    return (
        page_templates()
        .get_template("prediction.html.jinja")
        .render(
            title=f"Predicted loss of transfers of {found.source}",
            meta=headline(found),
            said=said,
            pictures=[curve_picture(curve, found.budget) for curve in found.curves],
            curves=found.curves,
            layers=layers,
            version=rctheory.__version__,
        )
    )


def curve_picture(curve: Curve, budget: float | None) -> Picture:
    """Draw the predicted loss change of one axis against its width."""
    with style():
        figure, axes = canvas(6.8, 4.3)
        _draw(axes, curve)
        if budget is not None:
            axes.axhline(budget, color=PLANTED, linewidth=1.2, linestyle=(0, (5, 3)), label=f"budget {budget:g}")
        if curve.cheapest is not None:
            axes.axvline(curve.cheapest, color=PLANTED, linewidth=1.0, linestyle=":", label=f"width {curve.cheapest}")
        axes.axhline(0.0, color=THEORY, linewidth=0.8)
        axes.set_xlabel(f"width of {curve.axis}, in every layer (now {curve.now})")
        axes.set_ylabel("predicted loss change [nats for each token]")
        axes.set_title(f"Predicted loss against the width of {curve.axis}", loc="left", fontsize=11.5)
        axes.grid(True, color="#e6e8ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=8.5)
        drawn = png(figure)
    caption = (
        f"Mean over draws of the units of {curve.axis}, and {SIGMAS:g} standard deviations on both sides; from the "
        "source and the text alone, to second order. Hollow points are not converged: they give an order of magnitude."
    )
    return Picture(f"predicted-{curve.axis}", drawn, caption)


def _draw(axes: "Axes", curve: Curve) -> None:
    """Draw mean and band."""
    widths = [*curve.widths, curve.now] if curve.widths[-1] < curve.now else list(curve.widths)
    pad = [0.0] * (len(widths) - len(curve.widths))
    means = [prediction.shift for prediction in curve.predictions] + pad
    sds = [prediction.sd for prediction in curve.predictions] + pad
    axes.plot(widths, means, "-", color=MEASURED, linewidth=1.6, label="predicted mean")
    beyond = [not prediction.converged for prediction in curve.predictions] + [False] * len(pad)
    for hollow, label in ((False, ""), (True, f"beyond {CONVERGED:g} nats: not converged")):
        places = [i for i, far in enumerate(beyond) if far is hollow]
        if places:
            face = "white" if hollow else MEASURED
            xs, ys = [widths[i] for i in places], [means[i] for i in places]
            axes.plot(xs, ys, "o", color=MEASURED, markerfacecolor=face, markersize=4.5, label=label or None)
    low = [mean - SIGMAS * sd for mean, sd in zip(means, sds, strict=True)]
    high = [mean + SIGMAS * sd for mean, sd in zip(means, sds, strict=True)]
    axes.fill_between(widths, low, high, color=MEASURED, alpha=0.18, linewidth=0, label="± 2 sd over draws")
