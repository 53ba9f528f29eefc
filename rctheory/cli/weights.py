"""`rctheory inspect`: the statistics of stored weights, and the comparison of two models."""

from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from rctheory.cli.outputs import STDOUT, check_targets, say_where, write_outputs
from rctheory.errors import UsageError


def inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A Hugging Face folder, a .safetensors, .gguf or .pt file, or a packaged model: smollm2, minilm.",
        ),
    ],
    other: Annotated[
        str | None,
        typer.Argument(metavar="OTHER", help="A second model, or the same at another time: compare their unit laws."),
    ] = None,
    axes: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN,..", help="Axes to inspect: ffn, 'layers.3.*' [default: all].")
    ] = None,
    statistics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,..",
            help="screen, order, effects, interaction, regimes, spectrum, correlations, fit [default: all but fit].",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Root of every random number.")] = 0,
    permutations: Annotated[
        int | None, typer.Option(min=1, help="Permutations of each axis [default: 1999, more for many axes].")
    ] = None,
    as_json: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with figures.")] = None,
) -> None:
    """Inspect stored weights: exchangeability of neurons, heads and coordinates, structure of rows and columns.

    Tensors are read once, and let go as soon as they are measured: memory stays near the size of the largest. With two
    models, the laws of their units are compared axis by axis.

    Exit codes:

    * 0: the weights are consistent with the symmetry that their architecture declares, or it was not tested; two
      models were compared
    * 1: they contradict it
    * 2: bad usage or input
    * 130: interrupted; nothing is written
    """
    from rctheory.cli.display import make_console
    from rctheory.cli.progress import follow
    from rctheory.inspection.comparing import compare_sources
    from rctheory.inspection.console import print_comparison, print_inspection
    from rctheory.inspection.inspection import inspect_source

    check_targets(as_json, html)
    if other is not None:
        if statistics:
            raise UsageError("--statistics with two models", "one model", "leave it out: two are compared on unit laws")
        with follow() as tell:
            comparison = compare_sources(
                source, other, axes=_split(axes), seed=seed, permutations=permutations, report_progress=tell
            )
        write_outputs(comparison.as_dict(), as_json, html, lambda: _pages().comparison_page(comparison))
        if as_json != STDOUT:
            print_comparison(comparison, make_console())
            say_where(as_json, html)
        return
    with follow() as tell:
        inspection = inspect_source(
            source,
            axes=_split(axes),
            statistics=_split(statistics),
            seed=seed,
            permutations=permutations,
            report_progress=tell,
        )
    write_outputs(inspection.as_dict(), as_json, html, lambda: _pages().inspection_page(inspection))
    if as_json != STDOUT:
        print_inspection(inspection, make_console())
        say_where(as_json, html)
    raise typer.Exit(1 if inspection.consistent is False else 0)


def _split(values: list[str] | None) -> list[str] | None:
    """Split lists at commas: `--axes ffn,residual` and `--axes ffn --axes residual` are the same."""
    return None if not values else [part.strip() for value in values for part in value.split(",") if part.strip()]


def _pages() -> ModuleType:
    """Return the module that draws pages; it brings matplotlib, which numbers alone do not need."""
    from rctheory.report import inspection

    return inspection
