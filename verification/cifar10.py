"""CIFAR-10, read from its official distribution for Python. It comes with no installation of this suite."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import UsageError
from verification.digits import Split
from verification.fashion import whitening
from verification.plain_pickles import ForbiddenPickleError, read_plain_pickle

VARIABLE = "RCTHEORY_CIFAR10"
FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
TRAINING = tuple(f"data_batch_{k}" for k in range(1, 6))
HELD_OUT = "test_batch"
PER_BATCH = 10_000  # pictures
PIXELS = 3 * 32 * 32
COMPONENTS = 64
REMEDY = f"name the folder {FOLDER} or the archive {ARCHIVE} in {VARIABLE}"
EXPECTED = f"the official {FOLDER}, with {', '.join((*TRAINING, HELD_OUT))}"
MOST_BYTES = 64 << 20  # of a batch: the official ones have half of it
MOST_MEMBERS = 64


def place() -> Path:
    """Return the folder or archive that the environment variable names.

    Raises:
        UsageError: it names none, or a folder that lacks a batch.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        raise UsageError(f"no CIFAR-10: {VARIABLE} is not set", EXPECTED, REMEDY)
    path = Path(named)
    if path.is_dir():
        folder = path / FOLDER if (path / FOLDER).is_dir() else path
        missing = [name for name in (*TRAINING, HELD_OUT) if not (folder / name).is_file()]
        if missing:
            raise UsageError(f"{folder} without {', '.join(missing)}", EXPECTED, REMEDY)
        return folder
    if not path.is_file():
        raise UsageError(f"no file or folder {path}", EXPECTED, REMEDY)
    return path


def read_files(path: Path) -> dict[str, bytes]:
    """Return the bytes of the six batches of a folder or archive. Nothing is extracted to disk.

    Raises:
        UsageError: a batch is missing, too large, twice there, or no plain file; the archive is broken, or names files
            outside of its folder.
    """
    if path.is_dir():
        sizes = {name: (path / name).stat().st_size for name in (*TRAINING, HELD_OUT)}
        for name, size in sizes.items():
            _require_size(path, name, size)
        return {name: (path / name).read_bytes() for name in sizes}
    try:
        files = _members(path)
    except (tarfile.TarError, OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path}: {error}", f"the complete archive {ARCHIVE}", REMEDY) from None
    missing = [name for name in (*TRAINING, HELD_OUT) if name not in files]
    if missing:
        raise UsageError(f"{path} without {', '.join(missing)}", EXPECTED, REMEDY)
    return files


def read_batch(where: str, data: bytes) -> tuple[Tensor, Tensor]:
    """Return pictures (10000, 3, 32, 32), uint8, and labels (10000,), int64, of one batch.

    Raises:
        UsageError: it is no plain pickle of a dictionary with `data` and `labels`, or they have other sizes or values.
    """
    expected = f"a pickled dictionary of {PER_BATCH} x {PIXELS} bytes `data` and as many `labels` 0 to 9"
    try:
        value = read_plain_pickle(data)
    except ForbiddenPickleError as error:
        raise UsageError(f"{where}: {error}", expected, REMEDY) from None
    pictures, labels = (_entry(value, key) for key in ("data", "labels"))
    if not isinstance(pictures, np.ndarray) or pictures.shape != (PER_BATCH, PIXELS):
        found = tuple(pictures.shape) if isinstance(pictures, np.ndarray) else type(pictures).__name__
        raise UsageError(f"{where}: data {found}", expected, REMEDY)
    classes = [label for label in labels if type(label) is int] if isinstance(labels, list) else []
    if len(classes) != PER_BATCH or labels != classes or not 0 <= min(classes) <= max(classes) <= 9:
        found = f"{len(classes)} labels up to {max(classes)}" if classes else "no integer labels"
        raise UsageError(f"{where}: {found}", expected, REMEDY)
    return torch.from_numpy(pictures.copy()).reshape(-1, 3, 32, 32), torch.tensor(classes)


@cache
def cifar10() -> tuple[Split, Split]:
    """Return training and held-out pictures: 64 whitened principal components of 8 x 8 pixels, and a constant 1.

    Pixels are pooled 4 x 4, colour by colour, and centred; the components, of the training pictures, have the same
    variance, and together the length of the inputs of the digits, so that one ansatz serves all.

    Raises:
        UsageError: the data set is not there, or a file of it is broken.
    """
    path = place()
    files = read_files(path)
    batches = {name: read_batch(f"{path} {name}", data) for name, data in files.items()}
    parts = []
    for names in (TRAINING, (HELD_OUT,)):
        pixels = torch.cat([batches[name][0] for name in names]).float() / 255
        pooled = torch.nn.functional.avg_pool2d(pixels, 4).flatten(start_dim=1)
        parts.append((pooled, torch.cat([batches[name][1] for name in names])))
    mean = parts[0][0].mean(dim=0)
    axes = whitening(parts[0][0] - mean, COMPONENTS)
    training, held_out = (
        Split(torch.cat([(x - mean) @ axes, torch.ones(len(x), 1)], dim=1), labels) for x, labels in parts
    )
    return training, held_out


def _members(path: Path) -> dict[str, bytes]:
    """Read the batches of an archive into memory, one member after the other."""
    files: dict[str, bytes] = {}
    with tarfile.open(path, "r|gz") as archive:
        for count, member in enumerate(archive):
            parts = PurePosixPath(member.name).parts
            if count >= MOST_MEMBERS or not parts or parts[0] != FOLDER or ".." in parts:
                found = (
                    f"{path} with the member {member.name!r}" if count < MOST_MEMBERS else f"{path} with many members"
                )
                raise UsageError(found, f"files of {FOLDER} alone", REMEDY)
            _require_size(path, member.name, member.size)
            name = "/".join(parts[1:])
            if name not in (*TRAINING, HELD_OUT):
                continue
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is None or name in files:
                raise UsageError(f"{path}: {name} is there twice, or no plain file", EXPECTED, REMEDY)
            files[name] = stream.read()
            if len(files[name]) != member.size:
                raise EOFError(f"{name} ends early")
    return files


def _require_size(path: Path, name: str, size: int) -> None:
    if size > MOST_BYTES:
        raise UsageError(f"{path}: {name} of {size} bytes", f"at most {MOST_BYTES}", REMEDY)


def _entry(value: object, key: str) -> object:
    """Return an entry of a dictionary whose keys are text, or the bytes that Python 2 calls text."""
    if not isinstance(value, Mapping):
        return None
    return value.get(key, value.get(key.encode()))
