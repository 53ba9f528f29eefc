"""The types of GGUF entries: blocks of a few weights that share a scale, and their values in float32.

Those of the commonest files are read here, by PyTorch on all threads; every other one by the package `gguf`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rctheory.errors import CheckpointError, MissingExtraError


@dataclass(frozen=True)
class BlockType:
    """A way of storing weights.

    Args:
        name: what llama.cpp calls it.
        entries: weights of one block.
        n_bytes: bytes of one block.
        decode: from bytes (blocks, n_bytes), contiguous, to float32 (blocks, entries); None for what holds no weights.
    """

    name: str
    entries: int
    n_bytes: int
    decode: Callable[[Tensor], Tensor] | None

    def require_decoder(self, tensor: str) -> Callable[[Tensor], Tensor]:
        """Return `decode`, for a tensor of that name.

        Raises:
            CheckpointError: there is none.
        """
        if self.decode is None:
            found = f"tensor {tensor} has dtype {self.name}"
            raise CheckpointError(found, "a floating-point or quantised type", "convert the checkpoint")
        return self.decode


def block_type(number: int) -> BlockType:
    """Return the type that a GGUF file calls by a number.

    Raises:
        CheckpointError: no such type is known.
        MissingExtraError: a type that only the package `gguf` knows, and it is not installed.
    """
    return DECODED[number] if number in DECODED else _foreign(number)


@lru_cache
def _foreign(number: int) -> BlockType:
    """Return a type that the package `gguf` reads."""
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError.of("gguf", "gguf") from error
    try:
        kind = gguf.GGMLQuantizationType(number)
    except ValueError as error:
        found = f"tensors of type number {number}"
        raise CheckpointError(
            found, "a type that gguf knows", "install a newer gguf, or fetch the file again"
        ) from error
    entries, n_bytes = gguf.GGML_QUANT_SIZES[kind]

    def decode(blocks: Tensor) -> Tensor:
        return torch.from_numpy(np.array(gguf.dequantize(blocks.numpy(), kind), dtype=np.float32))

    return BlockType(kind.name, entries, n_bytes, decode if _is_readable(gguf, kind, n_bytes) else None)


def _is_readable(gguf: Any, kind: Any, n_bytes: int) -> bool:
    """Return whether `gguf` can dequantise a type: it says so only when asked to."""
    try:
        gguf.dequantize(np.zeros((1, n_bytes), dtype=np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _floats(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return the decoder of a plain floating-point type."""
    return lambda blocks: blocks.view(dtype).to(torch.float32)


def _half(blocks: Tensor, start: int) -> Tensor:
    """Return the float16 number at a byte of every block, as a column in float32."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _nibbles(blocks: Tensor, start: int) -> Tensor:
    """Return the low, then the high four bits of the 16 bytes from `start`: (blocks, 32) in float32."""
    levels = torch.empty(len(blocks), 2, 16)
    levels[:, 0] = blocks[:, start:] & 15
    levels[:, 1] = blocks[:, start:] >> 4
    return levels.view(len(blocks), 32)


def _q4_0(blocks: Tensor) -> Tensor:
    """Return d (q - 8): a scale and 32 levels of four bits."""
    return _nibbles(blocks, 2).sub_(8).mul_(_half(blocks, 0))


def _q4_1(blocks: Tensor) -> Tensor:
    """Return d q + m: a scale, a minimum and 32 levels of four bits."""
    return _nibbles(blocks, 4).mul_(_half(blocks, 0)).add_(_half(blocks, 2))


def _q8_0(blocks: Tensor) -> Tensor:
    """Return d q: a scale and 32 signed bytes."""
    return blocks[:, 2:].view(torch.int8).float().mul_(_half(blocks, 0))


DECODED = {
    0: BlockType("F32", 1, 4, _floats(torch.float32)),
    1: BlockType("F16", 1, 2, _floats(torch.float16)),
    2: BlockType("Q4_0", 32, 18, _q4_0),
    3: BlockType("Q4_1", 32, 20, _q4_1),
    8: BlockType("Q8_0", 32, 34, _q8_0),
    28: BlockType("F64", 1, 8, _floats(torch.float64)),
    30: BlockType("BF16", 1, 2, _floats(torch.bfloat16)),
}
"""By the number of llama.cpp's `ggml_type`."""
