"""The coordinates of a smaller residual stream: principal directions of the normed stream, with what scales them.

The smaller stream stands for z = x F, and x / |x| is read from z / |z| as z B / |z|:

    F = (m / n)^(1/2) diag(d) Q        (n, m)   matrices that write, and the embedding
    B = (c n / m)^(1/2) Q' diag(1/d)   (m, n)   matrices that read; c is the share of the mean square that Q holds

Q holds the m leading principal directions of all normed streams. d is one, and z then turns and cuts the stream (claim
`narrowing.rotation`): its mean square over m coordinates is that of x over n as far as Q holds it, so that what norms
add to it stays. Where the embedding is the head as well, both must be one matrix E F though the head reads through the
gain g of the last norm: d = (g / mean g)^(1/2) shares g out between the two. The norms see it; they divide by |d x|.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.calibration.stream_parts import Part
from rctheory.errors import NumericsError
from rctheory.transfer.layers import LayeredModel, watching

TINY = 1e-12
MOST_STRETCH = 2.0
"""Most and, inverted, least of d: coordinates whose gain is farther from the mean would sway what norms divide by."""


@dataclass(frozen=True)
class Frame:
    """The coordinates that are kept.

    Args:
        basis: Q, (n, m), orthonormal columns.
        stretch: d, (n,).
        captured: c, share of the mean square of the normed stream that Q holds.
    """

    basis: Tensor
    stretch: Tensor
    captured: float

    @property
    def writing(self) -> Tensor:
        """Return F, (n, m)."""
        n, m = self.basis.shape
        return self.stretch[:, None] * self.basis * float((m / n) ** 0.5)

    @property
    def reading(self) -> Tensor:
        """Return B, (m, n)."""
        n, m = self.basis.shape
        return self.basis.T / self.stretch * float((self.captured * n / m) ** 0.5)


def gain_of(model: LayeredModel, part: Part) -> Tensor:
    """Return what the norm of a part multiplies by, (n,), in float64."""
    offset = next(norm.offset for norm in model.layout.norms if norm.gain == part.gain)
    return model.weight(part.gain).double() + offset


def stretch_of(model: LayeredModel, parts: Sequence[Part], *, tied: bool) -> Tensor:
    """Return d, (n,): ones, or for a tied head the root of the relative gain of the last norm."""
    gain = gain_of(model, parts[-1])
    if not tied:
        return torch.ones_like(gain)
    return (gain / gain.mean()).clamp(MOST_STRETCH**-2, MOST_STRETCH**2).sqrt()


@torch.no_grad()
def principal_frame(
    model: LayeredModel, parts: Sequence[Part], windows: Tensor, m: int, *, tied: bool = False
) -> Frame:
    """Return the m leading directions of the normed stream d x / |d x|, all norms of a model and all tokens alike.

    The few tokens whose stream is hundreds of times larger do not decide alone.

    Args:
        model: the source.
        parts: its parts.
        windows: calibration tokens (N, T).
        m: how many directions.
        tied: whether one matrix is to be embedding and head.

    Raises:
        NumericsError: a stream that is not finite.
    """
    modules, stretch = [model.module_of(part.gain) for part in parts], stretch_of(model, parts, tied=tied)
    gram: Tensor | None = None
    for some in windows.split(8):
        with ExitStack() as stack:
            seen = [stack.enter_context(watching(module)) for module in modules]
            model.model(some, use_cache=False)
        for (stream,) in seen:
            x = stream * stretch.to(stream)
            normed = (x * (x.square().mean(dim=-1, keepdim=True) + TINY).rsqrt()).flatten(0, 1)
            product = (normed.T @ normed).double()
            gram = product if gram is None else gram + product
    if gram is None or not bool(torch.isfinite(gram).all()):
        raise NumericsError("a stream that is not finite", "finite numbers", "check weights and text")
    values, vectors = torch.linalg.eigh(gram)
    return Frame(vectors.flip(1)[:, :m].contiguous(), stretch, float(values[-m:].sum() / values.sum()))
