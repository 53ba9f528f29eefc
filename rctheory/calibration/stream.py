"""Shrink the residual stream: turn it, keep its leading directions, and refit what reads and what writes it.

A norm that divides by the root mean square of the stream does not see a rotation of it. With its gain folded into the
matrices that read it, x and Q'x are the same model: the coordinates of the stream are a choice, and those that hold
most of it are the best sample of m. Which ones, and how the smaller stream z stands for x, says `stream_frame`:
z = x F, read by B. Then, part by part (a norm, its readers, their writer):

    readers  C W,  C = argmin E |x g / |x| - z C / |z||^2      one map (m, n) for all readers of a norm with gain g
    writers  W F, refitted to what is missing of x F, as in `calibration.compensation`

A tied head stays tied: one matrix E diag(a g) F, what the head reads behind the last norm, whose gain is g. As
embedding it is off by a g; what reads and writes the stream behind it is fitted to make up for that. The smaller last
norm has one gain for all coordinates, c^(1/2) n / (m a).

Source: claim `narrowing.rotation`; the invariance is that of SliceGPT (arXiv 2401.15024), which keeps other directions
in each layer and so needs a model class of its own. With one Q the result is a model of the source's class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.architectures.readers import Reader
from rctheory.architectures.storage import Naming
from rctheory.calibration.compensation import CORRECTION, RIDGE
from rctheory.calibration.fit import TINY, Fit
from rctheory.calibration.stream_frame import Frame, gain_of, principal_frame
from rctheory.calibration.stream_parts import Part, is_stream, parts_of
from rctheory.transfer.layers import Chunk, LayeredModel, advance

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class ShrunkStream:
    """How a stream was shrunk.

    Args:
        frame: the coordinates that were kept.
        error: mean square of what is missed of x F at the end, relative to that of x F, tokens alike.
    """

    frame: Frame
    error: float


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
        smaller: a model of the same kind with m < n stream coordinates; all its weights are set. Its head may be tied
            where that of the source is.
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
    frame = principal_frame(model, parts, windows, smaller.layout.axes["residual"].size)
    _turn(model, smaller, parts, frame)
    follow = _Following(model, smaller, frame, strength, correction)
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
    if parts[-1].readers:
        follow.read(parts[-1], mine, other)
    return ShrunkStream(frame, follow.missed(mine, other))


def _turn(model: LayeredModel, smaller: LayeredModel, parts: Sequence[Part], frame: Frame) -> None:
    """Copy what the stream does not touch, turn what writes it, and set its gains to one: readers take them over."""
    gains = dict.fromkeys((part.gain for part in parts), 1.0)
    fitted = {name for part in parts for name in part.readers}
    for name, tensor in smaller.layout.tensors.items():
        if name in fitted or name in gains:
            continue
        before = model.model.get_parameter(model.layout.place(name, Naming.TRANSFORMERS).names[0])
        after = smaller.model.get_parameter(smaller.layout.place(name, Naming.TRANSFORMERS).names[0])
        if name == parts[-1].tied:
            gain, share = _shared_gain(before, gain_of(model, parts[-1]))
            before, gains[parts[-1].gain] = before * gain, frame.shrinkage / share
        streams = [d for d in range(len(tensor.nests)) if is_stream(tensor, d)]
        turned = before if not streams else torch.tensordot(before, frame.writing.to(before), ([streams[0]], [0]))
        after.copy_(turned.movedim(-1, streams[0]) if streams else turned)
    for norm in smaller.layout.norms:
        if norm.gain in gains:
            smaller.weight(norm.gain).fill_(gains[norm.gain] - norm.offset)


def _shared_gain(embedding: Tensor, gain: Tensor) -> tuple[Tensor, float]:
    """Return a g, (n,), and the number a with which an embedding (vocabulary, n) keeps its mean square."""
    power = embedding.square().sum(dim=0).double()
    share = float((power.sum() / (power * gain.square()).sum()).sqrt())
    return (share * gain).to(embedding), share


class _Following:
    """Two models side by side: what the smaller one reads and writes is fitted to the source."""

    def __init__(
        self, model: LayeredModel, smaller: LayeredModel, frame: Frame, strength: float, correction: float
    ) -> None:
        """Keep both."""
        self._model, self._smaller, self._frame = model, smaller, frame
        self._strength, self._correction = strength, correction

    def read(self, part: Part, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
        """Fit from both streams how the readers of a norm read the smaller one, and set them."""
        norm, own = self._model.module_of(part.gain), self._smaller.module_of(part.gain)
        m, n = self._frame.reading.shape
        gram, cross = (self._frame.basis.new_zeros(m, size, dtype=torch.float64) for size in (m, n))
        for mine, other in zip(ours, theirs, strict=True):
            x, z = norm(mine).flatten(0, 1), own(other).flatten(0, 1)
            gram += z.T @ z
            cross += z.T @ x
        prior = self._frame.reading * gain_of(self._model, part)
        ridge = self._strength * gram.diagonal()
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
        writing, bias = self._frame.writing.to(weight), own.bias if getattr(own, "bias", None) is not None else 0
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
        """Return the mean square of x F - z relative to that of x F, tokens alike."""
        found = []
        for mine, other in zip(ours, theirs, strict=True):
            wanted = mine @ self._frame.writing.to(mine)
            found.append((wanted - other).square().sum(dim=-1) / (wanted.square().sum(dim=-1) + TINY))
        return float(torch.cat(found).mean())

    def _read_by(self, reader: str) -> Tensor:
        """Return a matrix of the source that reads the stream, (n, outputs): a tied head is its embedding."""
        if reader in self._model.layout.tensors:
            return self._model.weight(reader)
        head: Tensor = self._model.model.get_output_embeddings().weight.detach()
        return head.T
