"""The coordinates of a smaller residual stream: principal directions of the normed stream.

The smaller stream stands for z = x F, and x / |x| is read from z / |z| as z B / |z|:

    F = (m / n)^(1/2) Q     (n, m)   matrices that write
    B = (c n / m)^(1/2) Q'  (m, n)   matrices that read; c is the share of the mean square that Q holds

Q holds the m leading principal directions of all normed streams. The mean square of z over m coordinates is that of x
over n as far as Q holds it, so that what norms add to it stays (claim `narrowing.rotation`).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.calibration.fit import TINY
from rctheory.calibration.stream_parts import Part
from rctheory.errors import NumericsError
from rctheory.transfer.layers import LayeredModel, watching


@dataclass(frozen=True)
class Frame:
    """The coordinates that are kept.

    Args:
        basis: Q, (n, m), orthonormal columns.
        captured: c, share of the mean square of the normed stream that Q holds.
    """

    basis: Tensor
    captured: float

    @property
    def writing(self) -> Tensor:
        """Return F, (n, m)."""
        n, m = self.basis.shape
        return self.basis * float((m / n) ** 0.5)

    @property
    def reading(self) -> Tensor:
        """Return B, (m, n)."""
        n, m = self.basis.shape
        return self.basis.T * float((self.captured * n / m) ** 0.5)

    @property
    def shrinkage(self) -> float:
        """Return c^(1/2) n / m: x / |x| is this multiple of z / |z| F', as far as Q holds it."""
        n, m = self.basis.shape
        return float(self.captured**0.5 * n / m)


def gain_of(model: LayeredModel, part: Part) -> Tensor:
    """Return what the norm of a part multiplies by, (n,), in float64."""
    offset = next(norm.offset for norm in model.layout.norms if norm.gain == part.gain)
    return model.weight(part.gain).double() + offset


@torch.no_grad()
def principal_frame(model: LayeredModel, parts: Sequence[Part], windows: Tensor, m: int) -> Frame:
    """Return the m leading directions of the normed stream x / |x|, all norms of a model and all tokens alike.

    The few tokens whose stream is hundreds of times larger do not decide alone.

    Args:
        model: the source.
        parts: its parts.
        windows: calibration tokens (N, T).
        m: how many directions.

    Raises:
        NumericsError: a stream that is not finite.
    """
    modules = [model.module_of(part.gain) for part in parts]
    gram: Tensor | None = None
    for some in windows.split(8):
        with ExitStack() as stack:
            seen = [stack.enter_context(watching(module)) for module in modules]
            model.model(some, use_cache=False)
        for (stream,) in seen:
            normed = (stream * (stream.square().mean(dim=-1, keepdim=True) + TINY).rsqrt()).flatten(0, 1)
            product = (normed.T @ normed).double()
            gram = product if gram is None else gram + product
    if gram is None or not bool(torch.isfinite(gram).all()):
        raise NumericsError("a stream that is not finite", "finite numbers", "check weights and text")
    values, vectors = torch.linalg.eigh(gram)
    return Frame(vectors.flip(1)[:, :m].contiguous(), float(values[-m:].sum() / values.sum()))
