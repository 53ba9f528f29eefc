"""`rctheory inspect`: the statistics of stored weights, and the comparison of two models."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rctheory.errors import UsageError

STDOUT = "-"


def inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A Hugging Face folder, a .safetensors or .gguf file, or smollm2 (packaged model)."
        ),
    ],
    axes: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN,..", help="Axes to inspect: ffn, 'layers.3.*' [default: all].")
    ] = None,
    statistics: Annotated[
        list[str] | None, typer.Option(metavar="NAME,..", help="Statistics to compute [default: all with p-values].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Root of every random number.")] = 0,
    permutations: Annotated[
        int | None, typer.Option(min=1, help="Permutations of each axis [default: 19999, more for many axes].")
    ] = None,
    as_json: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with figures.")] = None,
) -> None:
    """Inspect stored weights: exchangeability of neurons, heads and coordinates, structure of rows and columns.

    Tensors are read once, and let go as soon as they are measured: memory stays near the size of the largest.

    Exit codes:

    * 0: the weights are consistent with the symmetry that their architecture declares, or it was not tested
    * 1: they contradict it
    * 2: bad usage or input
    * 130: interrupted; nothing is written
    """
    from rctheory.cli.display import make_console
    from rctheory.cli.progress import follow
    from rctheory.inspection.console import print_inspection
    from rctheory.inspection.inspection import inspect_source

    _check_targets(as_json, html)
    with follow() as report_progress:
        inspection = inspect_source(
            source,
            axes=_split(axes),
            statistics=_split(statistics),
            seed=seed,
            permutations=permutations,
            report_progress=report_progress,
        )
    _write_json(inspection.as_dict(), as_json)
    if html is not None:
        from rctheory.report.inspection import inspection_page
        from rctheory.suite.codec import write_atomically

        write_atomically(html, inspection_page(inspection))
    if as_json != STDOUT:
        print_inspection(inspection, make_console())
        for kind, file in (("JSON", as_json), ("page", html)):
            if file is not None:
                typer.echo(f"{kind}: {file}")
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


def _write_json(value: dict[str, Any], target: str | None) -> None:
    """Write JSON to a file, or to stdout."""
    from rctheory.suite.codec import write_atomically

    if target is None:
        return
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if target == STDOUT:
        typer.echo(text, nl=False)
    else:
        write_atomically(Path(target), text)
