"""Links of the registry, `module:attribute`, resolved only when they are needed."""

import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rctheory.errors import RcError, RegistryError

_NAME = r"[A-Za-z_]\w*"
_LINK = re.compile(rf"({_NAME}(?:\.{_NAME})*):({_NAME})", re.ASCII)


@dataclass(frozen=True)
class Link:
    """A Python object named as `module:attribute`."""

    module: str
    attribute: str

    @classmethod
    def parse(cls, text: str, where: str) -> "Link":
        """Read `module:attribute`; `where` names the place for the error.

        Raises:
            RegistryError: the text has another form.
        """
        match = _LINK.fullmatch(text)
        if not match:
            remedy = "write e.g. verification.width_lln:EXPERIMENT"
            raise RegistryError(f"{where} = {text!r}", "a link of the form module:attribute", remedy)
        return cls(*match.groups())

    def __str__(self) -> str:
        """Return the link as it stands in claims.toml."""
        return f"{self.module}:{self.attribute}"

    def resolve(self, where: str) -> object:
        """Import the module and return the attribute.

        Raises:
            RegistryError: no such module, a module that does not import, or no such attribute in it.
        """
        try:
            module = importlib.import_module(self.module)
        except RcError:
            raise  # a missing extra, say: already one clear line
        except ModuleNotFoundError as error:
            if error.name and (self.module == error.name or self.module.startswith(error.name + ".")):
                remedy = "create the module, correct the link, or name the folder with --suite"
                raise RegistryError(
                    f"{where} links to module {error.name}, which does not exist", "a module that exists", remedy
                ) from None
            raise self._broken(where, error) from error
        except Exception as error:  # a user's module may fail in any way
            raise self._broken(where, error) from error
        if not hasattr(module, self.attribute):
            near = difflib.get_close_matches(self.attribute, dir(module), n=3)
            found = f"{where} links to {self}, but the module has no such attribute"
            raise RegistryError(found, "a name defined in the module", near_names(near, "correct the link"))
        return getattr(module, self.attribute)

    def _broken(self, where: str, error: Exception) -> RegistryError:
        found = f"{where} links to {self.module}, whose import fails with {type(error).__name__}: {error}"
        return RegistryError(found, "a module that imports", "repair the module")


def near_names(near: Sequence[str], otherwise: str) -> str:
    """Return a remedy that offers the nearest known names, or `otherwise` when nothing is near."""
    return f"did you mean {' or '.join(near)}?" if near else otherwise


@contextmanager
def importable(paths: Sequence[Path]) -> Iterator[None]:
    """Put `paths` in front of `sys.path` for the duration of the block."""
    added = [str(path) for path in paths]
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for path in added:
            if path in sys.path:
                sys.path.remove(path)


def source_files(links: Sequence[Link]) -> list[Path]:
    """Return the Python files of the top-level packages and modules that the links name, without importing them."""
    files: set[Path] = set()
    for name in {link.module.partition(".")[0] for link in links}:
        spec = importlib.util.find_spec(name)
        if spec is None:
            continue
        for folder in spec.submodule_search_locations or ():
            files.update(Path(folder).rglob("*.py"))
        if spec.submodule_search_locations is None and spec.origin and Path(spec.origin).is_file():
            files.add(Path(spec.origin))
    return sorted(files)
