"""Shrink the residual stream: turn it, keep its leading directions, and refit what reads and what writes it.

A norm that divides by the root mean square of the stream does not see a rotation of it. With its gain folded into the
matrices that read it, x and Q'x are the same model: the coordinates of the stream are a choice, and those that hold
most of it are the best sample of m. Q holds the m leading principal directions of the normed stream, all norms of the
model and all tokens alike. The smaller stream z stands for (m / n)^(1/2) Q'x, whose mean square over m coordinates is
that of x over n as far as Q holds it: what norms add to it stays. Then, part by part (a norm, its readers, their
writer):

    readers  W C,  C = argmin E |x / |x| g - C z / |z||^2      one map (n, m) for all readers of a norm with gain g
    writers  (m / n)^(1/2) Q'W, refitted to what is missing of z, as in `calibration.compensation`.

A tied head is untied: it reads through the map of the last norm, which the embedding does not have.
Source: claim `narrowing.rotation`; the invariance is that of SliceGPT (arXiv 2401.15024), which keeps other directions
in each layer and so needs a model class of its own. With one Q the result is a model of the source's class.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.architectures.readers import Reader
from rctheory.architectures.storage import Naming
from rctheory.calibration.compensation import CORRECTION, RIDGE, Fit
from rctheory.calibration.stream_parts import Part, ends, parts_of
from rctheory.errors import NumericsError
from rctheory.transfer.layers import Chunk, LayeredModel, advance, watching

TINY = 1e-12

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class ShrunkStream:
    """How a stream was shrunk.

    Args:
        basis: Q, (n, m), orthonormal columns.
        captured: share of the mean square of the normed stream that its directions hold.
        error: mean square of what is missed of (m / n)^(1/2) Q'x at the end, relative to it, tokens alike.
    """

    basis: Tensor
    captured: float
    error: float


@torch.no_grad()
def principal_directions(model: LayeredModel, parts: Sequence[Part], windows: Tensor, m: int) -> tuple[Tensor, float]:
    """Return the m leading directions Q (n, m) of the normed stream, and the share of its mean square that they hold.

    Every token counts alike at every norm: the few whose stream is hundreds of times larger do not decide alone.

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
    return vectors.flip(1)[:, :m].contiguous(), float(values[-m:].sum() / values.sum())


@torch.no_grad()
def shrink_stream(
    model: LayeredModel,
    smaller: LayeredModel,
    windows: Tensor,
    *,
    strength: float = RIDGE,
    correction: float = CORRECTION,
    report_progress: Report = lambda _done, _all: None,
) -> ShrunkStream:
    """Give a model of a smaller stream the weights that follow the source on a text.

    Args:
        model: the source; its weights are not changed.
        smaller: a model of the same kind with m < n stream coordinates and an untied head; all its weights are set.
        windows: calibration tokens (N, T).
        strength: of the ridges towards the turned weights.
        correction: share of the error of earlier parts that each writer is to make good for.
        report_progress: takes layers done and all layers.

    Cost: for each layer and token under two passes through both models, and m n operations for each norm.

    Raises:
        UsageError: see `stream_parts.parts_of`.
        NumericsError: a stream that is not finite.
    """
    parts = parts_of(smaller.layout)
    m = smaller.layout.axes["residual"].size
    basis, captured = principal_directions(model, parts, windows, m)
    basis = basis.to(windows.device)
    _turn(model, smaller, parts, _writing(basis))
    follow = _Following(model, smaller, basis, captured, strength, correction)
    ours, theirs = model.start(windows), smaller.start(windows)
    for number in range(model.layout.layers):
        mine, other = [chunk.stream for chunk in ours], [chunk.stream for chunk in theirs]
        for part in (p for p in parts if p.layer == number):
            follow.read(part, mine, other)
            mine, other = follow.write(part, ours, theirs, mine, other)
        advance(ours, mine)
        advance(theirs, other)
        report_progress(number + 1, model.layout.layers)
    mine, other = [chunk.stream for chunk in ours], [chunk.stream for chunk in theirs]
    follow.read(parts[-1], mine, other)
    return ShrunkStream(basis, captured, follow.missed(mine, other))


def _writing(basis: Tensor) -> Tensor:
    """Return (m / n)^(1/2) Q, from the stream to the smaller one."""
    n, m = basis.shape
    return basis * float((m / n) ** 0.5)


def _turn(model: LayeredModel, smaller: LayeredModel, parts: Sequence[Part], writing: Tensor) -> None:
    """Copy what the stream does not touch, turn what writes it, and set its gains to one: readers take them over."""
    gains = {part.gain: norm.offset for part in parts for norm in model.layout.norms if norm.gain == part.gain}
    fitted = {name for part in parts for name in part.readers}
    for name, tensor in smaller.layout.tensors.items():
        if name in fitted:
            continue
        place = model.layout.place(name, Naming.TRANSFORMERS).names[0]
        before = model.model.get_parameter(place)
        after = smaller.model.get_parameter(smaller.layout.place(name, Naming.TRANSFORMERS).names[0])
        if name in gains:
            after.fill_(1 - gains[name])
            continue
        streams = [d for d in range(len(tensor.nests)) if ends(tensor, d)]
        turned = before if not streams else torch.tensordot(before, writing.to(before), ([streams[0]], [0]))
        after.copy_(turned.movedim(-1, streams[0]) if streams else turned)


class _Following:
    """Two models side by side: what the smaller one reads and writes is fitted to the source."""

    def __init__(
        self,
        model: LayeredModel,
        smaller: LayeredModel,
        basis: Tensor,
        captured: float,
        strength: float,
        correction: float,
    ) -> None:
        """Keep both."""
        self._model, self._smaller, self._basis, self._writing = model, smaller, basis, _writing(basis)
        self._scale = (captured * basis.shape[0] / basis.shape[1]) ** 0.5  # coordinates of z / |z| are smaller
        self._strength, self._correction = strength, correction

    def read(self, part: Part, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
        """Fit the map C of a norm from both streams, and give it to the readers."""
        norm, own = self._model.module_of(part.gain), self._smaller.module_of(part.gain)
        n, m = self._basis.shape
        gram = torch.zeros(m, m, dtype=torch.float64, device=self._basis.device)
        cross = torch.zeros(m, n, dtype=torch.float64, device=self._basis.device)
        for mine, other in zip(ours, theirs, strict=True):
            x, z = norm(mine).flatten(0, 1), own(other).flatten(0, 1)
            gram += z.T @ z
            cross += z.T @ x
        gain = norm(torch.ones_like(ours[0][0, 0])).double()  # of a stream of ones the norm is its gain
        ridge = self._strength * gram.diagonal()
        prior = self._scale * self._basis.T * gain
        back = torch.linalg.solve(gram + ridge.diag(), cross + ridge[:, None] * prior)  # (m, n)
        for reader in part.readers:
            after = self._smaller.weight(reader)
            after.copy_(back.to(after) @ self._read_by(reader))

    def write(
        self,
        part: Part,
        ours: Sequence[Chunk],
        theirs: Sequence[Chunk],
        mine: Sequence[Tensor],
        other: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Fit the writer of a part; return both streams behind it, from those before it and what the layer is given."""
        writer, number = str(part.writer), int(part.layer or 0)
        module, own = self._model.module_of(writer), self._smaller.module_of(writer)
        weight = self._smaller.weight(writer)
        writing, bias = self._writing.to(weight), own.bias if getattr(own, "bias", None) is not None else 0
        fit = Fit(weight.clone(), Reader(writer, 1), self._correction)
        after, hidden = [], []
        for chunk, shrunk, stream, small in zip(ours, theirs, mine, other, strict=True):
            after.append(stream + module(self._model.run_until(number, chunk, module)))
            hidden.append(self._smaller.run_until(number, shrunk, own))
            wanted = after[-1] @ writing
            fit.add(hidden[-1], wanted - small - bias, wanted)
        weight.copy_(fit.whole(self._strength))
        return after, [small + own(h) for small, h in zip(other, hidden, strict=True)]

    def missed(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
        """Return the mean square of (m / n)^(1/2) Q'x - z relative to that of the first, tokens alike."""
        found = []
        for mine, other in zip(ours, theirs, strict=True):
            wanted = mine @ self._writing.to(mine)
            found.append((wanted - other).square().sum(dim=-1) / (wanted.square().sum(dim=-1) + TINY))
        return float(torch.cat(found).mean())

    def _read_by(self, reader: str) -> Tensor:
        """Return a matrix of the source that reads the stream, (n, outputs): a tied head is its embedding."""
        if reader in self._model.layout.tensors:
            return self._model.weight(reader)
        head: Tensor = self._model.model.get_output_embeddings().weight.detach()
        return head.T
