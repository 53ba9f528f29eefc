"""The registry: the claims of a folder, read from its `claims.toml`.

`rctheory verify` works in any folder with a `claims.toml`, the way pytest works in any folder with tests.
"""

import difflib
import fnmatch
import hashlib
import importlib.util
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rctheory.errors import RegistryError, UsageError
from rctheory.suite.claim import Claim
from rctheory.suite.claim_tables import parse_claims
from rctheory.suite.links import Link, importable, near_names, source_files

FILE_NAME = "claims.toml"
PACKAGED = "proofs"


@dataclass(frozen=True)
class Suite:
    """The claims of one folder, in the order of the file.

    Args:
        folder: the folder of `claims.toml`.
        claims: the claims by id.
        paths: folders that go in front of `sys.path` while links resolve.
    """

    folder: Path
    claims: Mapping[str, Claim]
    paths: tuple[Path, ...]

    def select(self, patterns: Sequence[str] = ()) -> list[Claim]:
        """Return the claims whose id equals, or matches, one of the patterns (`closure.*`); all when there is none.

        Raises:
            UsageError: a pattern that no claim matches.
        """
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(claim, pattern) for claim in self.claims):
                near = difflib.get_close_matches(pattern, self.claims, n=3, cutoff=0.5)
                expected = f"one of the {len(self.claims)} claims of this suite, or a pattern such as closure.*"
                raise UsageError(f"unknown claim {pattern!r}", expected, near_names(near, "see `rctheory claims`"))
        return [
            claim
            for name, claim in self.claims.items()
            if not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        ]

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Make the modules of the suite importable for the duration of the block."""
        with importable(self.paths):
            yield

    def fingerprint(self) -> str:
        """Hash `claims.toml`, the library and the code that the links name: two runs with one hash are one run."""
        links = [link for claim in self.claims.values() for link in claim.links().values()]
        with self.importable():
            files = [self.folder / FILE_NAME, *source_files([*links, Link("rctheory", "errors")])]
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


def load_suite(folder: Path | None = None) -> Suite:
    """Read the suite of `folder`; by default `./claims.toml` if there is one, else the suite that is packaged.

    Raises:
        RegistryError: no `claims.toml` there, or a mistake in it.
    """
    folder = _default_folder() if folder is None else folder
    file = folder / FILE_NAME
    if not file.is_file():
        raise RegistryError(
            f"no {FILE_NAME} in {folder}", f"a folder with a {FILE_NAME}", "name such a folder with --suite"
        )
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RegistryError(f"{file} does not parse: {error}", "valid TOML", "correct the line") from None
    folder = folder.resolve()
    package = (folder / "__init__.py").is_file()
    return Suite(folder, parse_claims(tables), (folder, folder.parent) if package else (folder,))


def _default_folder() -> Path:
    """Return the working folder if it has a suite, else the folder of the packaged one."""
    if Path(FILE_NAME).is_file():
        return Path()
    spec = importlib.util.find_spec(PACKAGED)  # not imported: the library knows of no proof
    if spec is None or not spec.submodule_search_locations:
        found = f"no {FILE_NAME} here and no package {PACKAGED!r}"
        raise RegistryError(found, "a suite", "name a folder with --suite, or install rctheory again")
    return Path(spec.submodule_search_locations[0])
