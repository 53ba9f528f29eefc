"""`rctheory inspect`: the statistics of stored weights, and the comparison of two models."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from rctheory.errors import UsageError

STDOUT = "-"


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

    _check_targets(as_json, html)
    if other is not None:
        if statistics:
            raise UsageError("--statistics with two models", "one model", "leave it out: two are compared on unit laws")
        with follow() as tell:
            comparison = compare_sources(
                source, other, axes=_split(axes), seed=seed, permutations=permutations, report_progress=tell
            )
        _write(comparison.as_dict(), as_json, html, lambda: _pages().comparison_page(comparison))
        if as_json != STDOUT:
            print_comparison(comparison, make_console())
            _say_where(as_json, html)
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
    _write(inspection.as_dict(), as_json, html, lambda: _pages().inspection_page(inspection))
    if as_json != STDOUT:
        print_inspection(inspection, make_console())
        _say_where(as_json, html)
    raise typer.Exit(1 if inspection.consistent is False else 0)


def _split(values: list[str] | None) -> list[str] | None:
    """Split lists at commas: `--axes ffn,residual` and `--axes ffn --axes residual` are the same."""
    return None if not values else [part.strip() for value in values for part in value.split(",") if part.strip()]


def _check_targets(as_json: str | None, html: Path | None) -> None:
    """Refuse, before any work, files that cannot be written."""
    from rctheory.suite.environment import prepare_folder

    files = {"--html": html, "--json": None if as_json in (None, STDOUT) else Path(str(as_json))}
    for option, file in files.items():
        if file is not None:
            if file.is_dir():
                raise UsageError(f"{option} {file} is a folder", "a file", "name a file in it")
            prepare_folder(file.parent)
    if html is not None and html == files["--json"]:
        raise UsageError(f"--html and --json both name {html}", "two files", "name another file")


def _pages() -> ModuleType:
    """Return the module that draws pages; it brings matplotlib, which numbers alone do not need."""
    from rctheory.report import inspection

    return inspection


def _write(value: dict[str, Any], as_json: str | None, html: Path | None, make_page: Callable[[], str]) -> None:
    """Make everything in memory, then write each file at once, or JSON to stdout."""
    from rctheory.suite.codec import write_atomically

    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    page = make_page() if html is not None else ""
    if html is not None:
        write_atomically(html, page)
    if as_json == STDOUT:
        typer.echo(text, nl=False)
    elif as_json is not None:
        write_atomically(Path(as_json), text)


def _say_where(as_json: str | None, html: Path | None) -> None:
    """Name the files that were written."""
    for kind, file in (("JSON", as_json), ("page", html)):
        if file is not None:
            typer.echo(f"{kind}: {file}")
