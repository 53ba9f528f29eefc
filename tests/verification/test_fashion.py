"""Fashion-MNIST from IDX files, on a synthesised data set: the real one is on request."""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rctheory.errors import RcError, UsageError
from rctheory.suite.claims import load_suite
from rctheory.suite.experiment import Context, Tier
from tests.helpers import stream
from verification import fashion, signature_laws


def write_idx(path: Path, values: torch.Tensor, *, magic: bytes = b"", sizes: tuple[int, ...] = ()) -> None:
    """Write a gzipped IDX file; `magic` and `sizes` replace the true ones."""
    header = magic or bytes([0, 0, 8, values.ndim])
    shape = sizes or tuple(values.shape)
    path.write_bytes(gzip.compress(header + struct.pack(f">{len(shape)}I", *shape) + values.numpy().tobytes()))


def write_data_set(place: Path, sizes: tuple[int, int] = (300, 60)) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Write ten kinds of noisy pictures, as the four files of the data set."""
    kinds = torch.rand(10, 28, 28, generator=stream(0))
    written = {}
    for (name, files), size in zip(fashion.FILES.items(), sizes, strict=True):
        labels = torch.arange(size) % 10
        noise = torch.rand(size, 28, 28, generator=stream(size))
        pixels = (255 * (kinds[labels] + noise) / 2).to(torch.uint8)
        write_idx(place / files[0], pixels)
        write_idx(place / files[1], labels.to(torch.uint8))
        written[name] = pixels, labels
    return written


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an empty folder that the variable names; what is cached in the process is dropped before and after."""
    monkeypatch.setenv(fashion.VARIABLE, str(tmp_path))
    fashion.fashion.cache_clear()
    yield tmp_path
    fashion.fashion.cache_clear()
    signature_laws._signatures.cache_clear()


def test_reads_a_synthesised_data_set(place: Path) -> None:
    written = write_data_set(place)
    training, held_out = fashion.fashion()
    assert (training.x.shape, held_out.x.shape) == ((300, 33), (60, 33))
    assert training.labels.tolist() == written["train"][1].tolist()
    pixels = written["train"][0].float() / 255
    pooled = (pixels[:, ::2, ::2] + pixels[:, 1::2, ::2] + pixels[:, ::2, 1::2] + pixels[:, 1::2, 1::2]) / 8
    centred = pooled.flatten(start_dim=1) - pooled.flatten(start_dim=1).mean(dim=0)
    got = training.x[:, :-1]
    torch.testing.assert_close(got.T @ got / 300, 2.2**2 / 32 * torch.eye(32), rtol=1e-3, atol=1e-4)
    leading = torch.linalg.svd(centred, full_matrices=False).U[:, :32]  # the same directions, whatever their signs
    torch.testing.assert_close(got @ got.T, 300 * 2.2**2 / 32 * leading @ leading.T, rtol=1e-3, atol=1e-3)
    assert bool((held_out.x[:, -1] == 1).all())


def test_the_experiment_runs_on_a_synthesised_data_set(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data_set(place)
    plan = signature_laws.Plan((8, 12, 16), least=2, most=2, area=32, steps=2)
    monkeypatch.setitem(signature_laws.FASHION_PLANS, Tier.SMOKE, plan)
    context = Context(tier=Tier.SMOKE)
    claim = load_suite().claims["signature.fashion-mnist"]
    for link in (claim.experiment, *claim.controls):
        experiment = link.resolve("test")
        experiment.requires()
        assert set(experiment.run(context).quantities) == set(claim.gates)


def test_it_is_asked_for_by_name_and_looked_for_before_any_work(place: Path) -> None:
    claim = load_suite().claims["signature.fashion-mnist"]
    assert claim.on_request
    with pytest.raises(UsageError, match=r"no Fashion-MNIST in .*make fashion-mnist"):
        claim.experiment.resolve("test").requires()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "Not a gzipped file"),
        (gzip.compress(bytes(100))[:-20], "expected a gzipped IDX"),
        (gzip.compress(b"\0\0"), "2 bytes, less than a header"),
        (gzip.compress(bytes([0, 0, 8, 2]) + bytes(20)), "magic number 00000802"),
        (gzip.compress(bytes([0, 0, 13, 3]) + bytes(20)), "magic number 00000d03"),
        (gzip.compress(bytes([1, 0, 8, 3]) + bytes(20)), "magic number 01000803"),
        (
            gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 4) + bytes(23)),
            "23 entries for sizes 2 x 3 x 4",
        ),
        (
            gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 4) + bytes(25)),
            "25 entries for sizes 2 x 3 x 4",
        ),
        (gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", *[2**32 - 1] * 3)), "0 entries for sizes"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "images.gz"
    file.write_bytes(content)
    with pytest.raises(RcError, match=message) as caught:
        fashion.read_idx(file, 3)
    assert "\n" not in str(caught.value)
    assert "images.gz" in str(caught.value)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "labels.gz"
    write_idx(file, torch.arange(200).to(torch.uint8))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(UsageError, match="a gzipped IDX file"):
        fashion.read_idx(file, 1)


@pytest.mark.parametrize(
    ("images", "labels"),
    [((3, 28, 28), (4,)), ((3, 27, 28), (3,)), ((0, 28, 28), (0,))],
)
def test_files_that_contradict_each_other_are_refused(
    place: Path, images: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    write_data_set(place)
    write_idx(place / fashion.FILES["test"][0], torch.zeros(images, dtype=torch.uint8))
    write_idx(place / fashion.FILES["test"][1], torch.zeros(labels, dtype=torch.uint8))
    with pytest.raises(UsageError, match="as many labels 0 to 9 as images of 28 x 28"):
        fashion.fashion()


def test_an_eleventh_class_is_refused(place: Path) -> None:
    write_data_set(place)
    write_idx(place / fashion.FILES["train"][1], torch.full((300,), 10, dtype=torch.uint8))
    with pytest.raises(UsageError, match="300 labels up to 10"):
        fashion.fashion()
