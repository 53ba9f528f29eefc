"""`rctheory inspect`: the symmetry of stored weights."""

import json
from typing import Annotated

import typer


def inspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A Hugging Face folder, a .safetensors or .gguf file, or smollm2 (packaged model)."
        ),
    ],
    seed: Annotated[int, typer.Option(help="Root of every random number.")] = 0,
    permutations: Annotated[
        int | None, typer.Option(min=1, help="Permutations of each axis [default: 19999, more for many axes].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Test, axis by axis, whether the order of neurons, heads and coordinates carries information.

    Tensors are read one at a time: memory stays near the size of the largest.
    """
    from rich.console import Console

    from rctheory.cli.display import make_console
    from rctheory.inspection.console import print_inspection
    from rctheory.inspection.inspection import inspect_source

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("reading") as status:
            inspection = inspect_source(source, seed=seed, permutations=permutations, report_progress=status.update)
    else:
        inspection = inspect_source(source, seed=seed, permutations=permutations)
    if as_json:
        typer.echo(json.dumps(inspection.as_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print_inspection(inspection, make_console())
