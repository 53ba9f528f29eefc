"""Streams, devices, tolerances, finiteness, chunks."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rctheory import numerics
from rctheory.errors import DeviceError, NumericsError, RcError, UsageError
from tests.helpers import SEEDS


@given(SEEDS, st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_streams_repeat_and_differ_by_name(seed: int, names: list[str]) -> None:
    one, again, other = (
        torch.rand(4, generator=numerics.generator(seed, *parts)) for parts in (names, names, [*names, "x"])
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert numerics.numpy_generator(seed, *names).integers(1 << 60) == numerics.numpy_generator(seed, *names).integers(
        1 << 60
    )


def test_names_are_separated() -> None:
    assert numerics.stream_seed(0, "a", "bc") != numerics.stream_seed(0, "ab", "c")


def test_stream_seed_is_the_same_on_every_machine() -> None:
    # printf '0\x1flatent\x1f1' | sha256sum begins with 18e40d0293216d28; half of it is 63 bits.
    assert numerics.stream_seed(0, "latent", 1) == 0x18E40D0293216D28 >> 1


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", ""])
def test_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="one of auto, cpu, cuda"):
        numerics.choose_device(name)


def test_absent_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert numerics.choose_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="0 CUDA devices"):
        numerics.choose_device("cuda")


@given(st.integers(1, 2000), SEEDS)
def test_tolerance_bounds_the_error_of_a_sum(terms: int, seed: int) -> None:
    values = torch.randn(terms, generator=torch.Generator().manual_seed(seed))
    exact = sum(Fraction(v) for v in values.tolist())
    size = sum(abs(Fraction(v)) for v in values.tolist())
    error = abs(Fraction(float(values.sum())) - exact) / size
    assert error <= numerics.tolerance(torch.float32, terms=terms)


def test_tolerance_refuses_what_a_dtype_cannot_sum() -> None:
    with pytest.raises(NumericsError, match="use a wider dtype"):
        numerics.tolerance(torch.bfloat16, terms=1000)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_is_named_and_counted(bad: float) -> None:
    value = torch.zeros(3, 4)
    value[1, 2] = bad
    with pytest.raises(NumericsError, match=r"1 of 12 entries of W\^2 are not finite"):
        numerics.require_finite("W^2", value)


def test_overflowing_sum_of_finite_values_is_no_error() -> None:
    value = torch.full((4,), 3e38)
    assert numerics.require_finite("x", value) is value


@given(st.integers(1, 500), st.integers(1, 10_000), st.integers(1, 100_000))
def test_chunks_cover_once_within_budget(total: int, each: int, budget: int) -> None:
    parts = numerics.chunks(total, each, budget)
    assert [i for part in parts for i in part] == list(range(total))
    assert all(len(part) == 1 or len(part) * each <= budget for part in parts)


def test_error_is_one_line() -> None:
    error = RcError("a\nb", "c  d", "e")
    assert str(error) == "a b; expected c d; e"
