"""Device and dtype choice, named random streams, tolerances with a reason, finiteness."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import DeviceError, NumericsError, UsageError

DEVICES = ("auto", "cpu", "cuda")
_BFLOAT16 = ("avx512_bf16", "amx_bf16")  # what a processor may have; on others bfloat16 is emulated


def choose_device(name: str = "auto") -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:K` into a device that exists here.

    Raises:
        UsageError: the name is none of these.
        DeviceError: CUDA was asked for and is absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in DEVICES[1:] or (index and (kind == "cpu" or not index.isdecimal())):
        raise UsageError(f"device {name!r}", "one of auto, cpu, cuda, cuda:K", "choose one of these for --device")
    if kind == "cuda":
        present = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= present:
            found = f"device {name!r} on a machine with {present} CUDA devices"
            raise DeviceError(found, "that CUDA device to be present", "use --device auto or --device cpu")
    return torch.device(name)


def native_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and any(torch.cpu.get_capabilities().get(name) for name in _BFLOAT16)


def native_products(x: Tensor) -> AbstractContextManager[object]:
    """Return the context in which layers of a model multiply: bfloat16 for float32 where `native_bfloat16`, else as is.

    For text on which something is fitted: rounding moves what a layer writes by some 1e-5 of its square, and what is
    fitted misses 1e-2 of it. Sums over text stay as they are.
    """
    enabled = x.dtype == torch.float32 and native_bfloat16(x.device)
    return torch.autocast(x.device.type, torch.bfloat16, enabled=enabled)


@contextmanager
def single_threaded_kernels() -> Iterator[None]:
    """Let each kernel of torch compute on one core, where threads of our own already share the cores.

    More threads inside a kernel would only wait for each other. Threads started inside have to call
    `torch.set_num_threads(1)` themselves.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stream_seed(seed: int, *names: str | int) -> int:
    """Hash a root seed and the names of a stream to 63 bits, the same on every machine and in every process."""
    text = "\x1f".join([str(int(seed)), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return torch's generator of the stream that `names` name; distinct names give independent streams."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return NumPy's generator of the stream that `names` name."""
    return np.random.default_rng(stream_seed(seed, *names))


def tolerance(dtype: torch.dtype, terms: int = 1, condition: float = 1.0) -> float:
    """Bound the relative error of a sum of `terms` products, relative to the sum of their sizes.

    gamma_k = k u / (1 - k u) with u the unit roundoff bounds every order of summation (Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1). Multiply by the `condition` of the quantity to get its error.

    Raises:
        NumericsError: k u >= 1: the dtype cannot support so long a sum.
    """
    unit = torch.finfo(dtype).eps / 2
    growth = terms * unit
    if not growth < 1:
        raise NumericsError(f"a sum of {terms} terms in {dtype}", f"at most {int(1 / unit)} terms", "use a wider dtype")
    return condition * growth / (1 - growth)


def require_finite(name: str, value: Tensor) -> Tensor:
    """Return `value`; raise NumericsError, naming the quantity, when an entry is NaN or infinite."""
    # A sum is NaN or infinite whenever an entry is: one pass and no mask of the size of the tensor; only a
    # suspicious sum (it may also have overflowed) pays for the exact count.
    if math.isfinite(value.detach().sum().item()):
        return value
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        found = f"{bad} of {value.numel()} entries of {name} are not finite"
        raise NumericsError(found, "finite values", "use a smaller step size or look for the overflow upstream")
    return value


def chunks(total: int, bytes_each: int, budget: int = 1 << 30) -> list[range]:
    """Split `total` independent items into ranges that need at most `budget` bytes each (at least one item)."""
    size = max(1, min(total, budget // max(1, bytes_each)))
    return [range(start, min(start + size, total)) for start in range(0, total, size)]
