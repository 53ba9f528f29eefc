"""The console command. Everything heavy is imported inside the command that needs it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import rctheory
from rctheory.cli import declaring, listing, predictions, proofs, pruning, runs, transfers, weights
from rctheory.errors import RcError

app = typer.Typer(
    name="rctheory",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(runs.verify)
app.command()(runs.report)
app.command()(listing.claims)
app.command()(proofs.prove)
app.command()(weights.inspect)
app.command()(transfers.transfer)
app.command()(predictions.predict)
app.command()(pruning.prune)
app.command()(declaring.new_architecture)

_Unread: Any = typer.BadParameter.__base__  # a command line that typer cannot read: it exports the class under no name


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rctheory {rctheory.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    declaration: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A declared architecture of your own (see new-architecture); repeat it."),
    ] = None,
) -> None:
    """Verify the row-column mean-field theory numerically, claim by claim, on simulations and on real weights.

    Start with **rctheory verify --tier smoke**, then **rctheory report**. A claim is a statement
    with a proof, an experiment, the range in which the measurement must fall, and planted errors (controls) that
    must turn it red.
    """
    if declaration:
        from rctheory.architectures.outside import name_declarations

        name_declarations(declaration)


def main() -> None:
    """Run the console command: a mistake of the user is one line on stderr and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except _Unread as error:
        where = error.ctx.command_path if error.ctx else "rctheory"
        found = " ".join(error.format_message().split()).removesuffix(".")
        if found:  # without a command there is nothing to say: the help stands on stdout already
            print(f"rctheory: {found}; see `{where} -h`", file=sys.stderr)
        sys.exit(2)
    except RcError as error:
        print(f"rctheory: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("rctheory: interrupted", file=sys.stderr)
        sys.exit(130)
