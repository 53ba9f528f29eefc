"""`rctheory new-architecture`: write a declaration and its contract test."""

from pathlib import Path
from typing import Annotated

import typer


def new_architecture(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the files to be written: NAME.py, test_NAME.py.")],
    from_hf: Annotated[
        Path | None,
        typer.Option("--from-hf", metavar="FOLDER", help="Propose axes from its tensors and config.json."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write.", show_default="here")] = Path(),
) -> None:
    """Write the declaration of an architecture, and its contract test.

    With a model folder, the axes of each tensor are proposed: sizes that the configuration names, told apart by a
    model of the same class at other widths where transformers is installed. Then run **pytest test_NAME.py**, and use
    the declaration with **rctheory --declaration NAME.py inspect FOLDER**.
    """
    from rctheory.contracts.writing import write_architecture

    files, undecided = write_architecture(name, out, from_hf)
    for file in files:
        typer.echo(f"written: {file}")
    for question in undecided:
        typer.echo(f"to be decided: {question}")
