"""Declarations from outside of this package: files that a user names, and packages that are installed.

A declaration file is Python: it holds `MODEL_TYPE`, the `model_type` of the configurations that it describes, and
`layout_from_config`. Files are named by `rctheory --declaration FILE ...` or by the environment variable
RCTHEORY_DECLARATIONS (several, separated as in PATH) and come before what this package declares. An installed package
offers `layout_from_config` as an entry point of the group `rctheory.architectures`, under the `model_type`.
"""

import importlib.util
import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from rctheory.architectures.layout import Layout
from rctheory.errors import CheckpointError, RcError

VARIABLE, GROUP = "RCTHEORY_DECLARATIONS", "rctheory.architectures"
Declare = Callable[[Mapping[str, Any]], Layout]
REMEDY = "write one with: rctheory new-architecture NAME"


def declared_in_files() -> dict[str, Declare]:
    """Return the declarations of the files that the environment names, by model type.

    Raises:
        CheckpointError: a file that cannot be run or declares nothing.
    """
    paths = [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    return dict(_load(str(Path(path).resolve())) for path in paths)


def declared_by_packages() -> dict[str, Declare]:
    """Return the declarations of installed packages, by model type; each is imported when it is called."""
    return {entry.name: partial(_declare_by, entry) for entry in entry_points(group=GROUP)}


def _declare_by(entry: EntryPoint, config: Mapping[str, Any]) -> Layout:
    """Import what a package declares, and ask it."""
    layout: Layout = entry.load()(config)
    return layout


def name_declarations(paths: list[Path]) -> None:
    """Let this process, and those that it starts, know declaration files.

    Raises:
        CheckpointError: a file that does not exist, cannot be run or declares nothing.
    """
    os.environ[VARIABLE] = os.pathsep.join(str(path.resolve()) for path in paths)
    declared_in_files()


@cache
def _load(path: str) -> tuple[str, Declare]:
    """Run a declaration file once."""
    if not Path(path).is_file():
        raise CheckpointError(f"no declaration file {path}", "a Python file", REMEDY)
    spec = importlib.util.spec_from_file_location(f"rctheory_declaration_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise CheckpointError(f"declaration file {path}", "a Python file", REMEDY)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except RcError:
        raise
    except Exception as error:
        found = f"declaration file {path}: {type(error).__name__} {error}"
        raise CheckpointError(found, "a file that runs", "correct it") from error
    name, declare = getattr(module, "MODEL_TYPE", None), getattr(module, "layout_from_config", None)
    if not isinstance(name, str) or not callable(declare):
        raise CheckpointError(f"declaration file {path}", "MODEL_TYPE and layout_from_config in it", REMEDY)
    return name, declare
