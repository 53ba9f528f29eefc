"""Where results go: JSON and pages, each made in memory and written at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from rctheory.errors import UsageError

STDOUT = "-"


def check_targets(as_json: str | None, html: Path | None) -> None:
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


def write_outputs(value: dict[str, Any], as_json: str | None, html: Path | None, make_page: Callable[[], str]) -> None:
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


def say_where(as_json: str | None, html: Path | None) -> None:
    """Name the files that were written."""
    for kind, file in (("JSON", as_json), ("page", html)):
        if file is not None:
            typer.echo(f"{kind}: {file}")
