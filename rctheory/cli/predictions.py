"""`rctheory predict`: what a transfer will cost, before it is made."""

from pathlib import Path
from typing import Annotated

import typer

from rctheory.cli.changes import read_changes
from rctheory.cli.outputs import STDOUT, check_targets, say_where, write_outputs
from rctheory.errors import UsageError


def predict(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A causal language model: folder, file or packaged name.")
    ],
    text: Annotated[list[Path], typer.Option(metavar="FILE", help="A text to predict the loss on; repeat it.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="AXIS[=WIDTH]", help="A new width, ffn=1152; without one, its curve alone."),
    ] = None,
    design: Annotated[
        str, typer.Option(help="How units will be drawn: without-replacement, iid, balanced, stratified.")
    ] = "without-replacement",
    budget: Annotated[
        float | None, typer.Option(help="Most that the loss may rise, in nats for each token: the cheapest width.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Most tokens of text.")] = 2048,
    window: Annotated[int, typer.Option(min=2, help="Tokens that the model reads at once.")] = 256,
    draws: Annotated[int, typer.Option(min=1, help="Draws of labels a window, for the second order.")] = 2,
    seed: Annotated[int, typer.Option(help="Root of every random number.")] = 0,
    as_json: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the curves.")] = None,
) -> None:
    """Predict the loss of a model after a transfer, from the model and a text alone.

    One forward pass gives the influence of every unit on the loss; backward passes with labels drawn from the model
    itself give the second order. Mean and standard deviation are over the draw of the units: whoever draws once gets
    one number of that law. It says where a normal law does not describe it.
    """
    from rctheory.cli.display import make_console
    from rctheory.cli.progress import steps
    from rctheory.prediction.console import print_prediction
    from rctheory.prediction.sources import predict_source

    check_targets(as_json, html)
    if not changes:
        raise UsageError("no axis", "--set AXIS=WIDTH, or --set AXIS with --budget", "see rctheory transfer --legal")
    wanted = read_changes(changes)
    with steps("windows of text") as tell:
        found = predict_source(
            source,
            wanted,
            text,
            design=design,
            budget=budget,
            tokens=tokens,
            length=window,
            draws=draws,
            seed=seed,
            report_progress=tell,
        )

    def page() -> str:
        from rctheory.report.prediction import prediction_page

        return prediction_page(found)

    write_outputs(found.as_dict(), as_json, html, page)
    if as_json != STDOUT:
        print_prediction(found, make_console())
        say_where(as_json, html)
