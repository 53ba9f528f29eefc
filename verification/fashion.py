"""Fashion-MNIST, read from the four IDX files of its distribution. It comes with no installation of this suite."""

import gzip
import math
import os
import struct
import sys
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import UsageError
from verification.digits import Split

VARIABLE = "RCTHEORY_FASHION_MNIST"
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
REMEDY = f"run `make fashion-mnist`, or name its folder in {VARIABLE}"
COMPONENTS = 32
LENGTH = 2.2  # root mean square length of the inputs of the digits
_BYTES = 0x08  # the only element type of these files


def folder() -> Path:
    """Return the folder of the data set: of the environment variable, of this installation, or of the system.

    Raises:
        UsageError: no such folder holds the four files.
    """
    named = os.environ.get(VARIABLE)
    shares = [Path(sys.prefix) / "share", Path("/usr/share")]
    places = [Path(named)] if named else [share / "datasets" / "fashion-mnist" for share in shares]
    for place in places:
        if all((place / name).is_file() for pair in FILES.values() for name in pair):
            return place
    found = f"no Fashion-MNIST in {' or '.join(map(str, places))}"
    raise UsageError(found, f"the files {', '.join(name for pair in FILES.values() for name in pair)}", REMEDY)


def read_idx(path: Path, rank: int) -> Tensor:
    """Read a gzipped IDX file of bytes: two zero bytes, the type, the rank, big-endian sizes, then the entries.

    Args:
        path: the file.
        rank: how many dimensions it must have.

    Returns:
        A uint8 tensor of these sizes.

    Raises:
        UsageError: it is no gzip file, no IDX file of bytes of that rank, or holds too few or too many entries.
    """

    def refuse(found: str) -> UsageError:
        return UsageError(f"{path}: {found}", f"a gzipped IDX file of bytes with {rank} dimensions", REMEDY)

    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise refuse(f"{error}") from None
    header = 4 + 4 * rank
    if len(data) < header:
        raise refuse(f"{len(data)} bytes, less than a header")
    if data[:4] != bytes([0, 0, _BYTES, rank]):
        raise refuse(f"the magic number {data[:4].hex()}")
    sizes = struct.unpack(f">{rank}I", data[4:header])
    if len(data) - header != math.prod(sizes):
        raise refuse(f"{len(data) - header} entries for sizes {' x '.join(map(str, sizes))}")
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8, offset=header).reshape(sizes).copy())


@cache
def fashion() -> tuple[Split, Split]:
    """Return training and held-out pictures: 32 whitened principal components of 14 x 14 pixels, and a constant 1.

    Pixels are pooled 2 x 2 and centred; the components, of the training pictures, have the same variance, and together
    the length of the inputs of the digits, so that one ansatz serves both. Without whitening the few strongest
    components outweigh the others a hundred times, and descent follows them for most of a short training.

    Raises:
        UsageError: the data set is not there, or a file of it is broken.
    """
    place = folder()
    parts = {}
    for name, (images, labels) in FILES.items():
        pixels, classes = read_idx(place / images, 3), read_idx(place / labels, 1).long()
        if len(pixels) != len(classes) or not len(pixels) or pixels.shape[1:] != (28, 28) or _largest(classes) > 9:
            found = f"{place}: {tuple(pixels.shape)} {name} images with {len(classes)} labels up to {_largest(classes)}"
            raise UsageError(found, "as many labels 0 to 9 as images of 28 x 28", REMEDY)
        pooled = torch.nn.functional.avg_pool2d(pixels[:, None].float() / 255, 2).flatten(start_dim=1)
        parts[name] = (pooled, classes)
    pictures = parts["train"][0]
    mean = pictures.mean(dim=0)
    axes = whitening(pictures - mean)
    training, held_out = (
        Split(torch.cat([(x - mean) @ axes, torch.ones(len(x), 1)], dim=1), labels) for x, labels in parts.values()
    )
    return training, held_out


def whitening(x: Tensor, components: int = COMPONENTS) -> Tensor:
    """Return the map (d, `components`) from centred pictures (B, d) to their leading components, of one variance.

    The mean square length of what it returns is that of the inputs of the digits.
    """
    variances, axes = torch.linalg.eigh(x.T.double() @ x.double() / len(x))
    # Pictures that span fewer dimensions leave components that are 0.
    scales = variances[-components:].clamp_min(1e-6 * float(variances[-1])).sqrt() * math.sqrt(components) / LENGTH
    whitened: Tensor = (axes[:, -components:] / scales).to(x)
    return whitened


def _largest(classes: Tensor) -> int:
    return int(classes.max()) if len(classes) else -1
