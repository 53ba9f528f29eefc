"""A prediction in words and tables, for a terminal."""

from rich.console import Console
from rich.table import Table

from rctheory.prediction.prediction import Prediction
from rctheory.prediction.sources import SIGMAS, SourcePrediction

MOST_WARNED = 8


def print_prediction(found: SourcePrediction, console: Console) -> None:
    """Print what was asked for, the curves, and where the normal law is not to be trusted."""
    console.print(headline(found))
    if found.wanted is not None:
        console.print(in_words(found.wanted))
    for curve in found.curves:
        table = Table(f"{curve.axis} (now {curve.now})", "loss change", "sd over draws", "mean + 2 sd", "remarks")
        for m, prediction in zip(curve.widths, curve.predictions, strict=True):
            upper = prediction.shift + SIGMAS * prediction.sd
            values = (f"{prediction.shift:+.4f}", f"{prediction.sd:.4f}", f"{upper:+.4f}")
            count = len(prediction.warnings)
            remarks = ([] if prediction.converged else ["not converged"]) + ([f"{count} warnings"] if count else [])
            table.add_row(str(m), *values, ", ".join(remarks))
        console.print(table)
        if found.budget is not None:
            console.print(budget_in_words(found.budget, curve.axis, curve.cheapest))
    if found.wanted is not None:
        for warning in found.wanted.warnings[:MOST_WARNED]:
            console.print(f"not normal: {warning}")
        if len(found.wanted.warnings) > MOST_WARNED:
            console.print(f"and {len(found.wanted.warnings) - MOST_WARNED} more; --json has all")


def headline(found: SourcePrediction) -> str:
    """Say what was measured."""
    return (
        f"{found.source} ({found.architecture}), units drawn {found.design}, "
        f"{found.tokens} tokens in {found.windows} windows"
    )


def in_words(wanted: Prediction) -> str:
    """Say the prediction of a transfer in one line."""
    text = f"loss {wanted.loss:.4f}"
    if wanted.loss_error == wanted.loss_error:
        text += f" (± {wanted.loss_error:.2g} by the choice of the text)"
    if not wanted.axes:
        return f"{text}; the transfer is exact: no output changes"
    return f"{text}; predicted after the transfer {wanted.loss + wanted.shift:.4f}, sd {wanted.sd:.2g} over draws"


def budget_in_words(budget: float, axis: str, cheapest: int | None) -> str:
    """Say which width keeps to a budget."""
    kept = f"a loss change under {budget:g} at two standard deviations"
    return (
        f"no smaller width of {axis} keeps {kept}"
        if cheapest is None
        else f"least width with {kept}: {axis}={cheapest}"
    )
