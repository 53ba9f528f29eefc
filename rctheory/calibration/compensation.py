"""Shrink a model layer by layer: choose units on calibration text, and refit what reads them.

Two streams go through the layers side by side: the original's, and that of the model as shrunk so far. At every planned
axis the units are chosen and the matrix that reads them is fitted by least squares, so that the shrunk stream comes
back to the original one: each layer makes good for the error of those before it. No gradient of the model is needed.

The stream that leaves the original layer differs from what the units of the shrunk one can make by an error of earlier
layers that these units see in part only. Fitting all of it fits noise: a share c of it is asked for, beside what the
units wrote before, H W0 + c (Y - H W0).

Tokens count by the inverse mean square of their stream, which is what the next norm makes of an error. Without that, a
few first tokens whose stream is hundreds of times larger decide alone.
Source: own; the sequential form is that of layer-wise reconstruction (arXiv 2301.00774 for weights).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.readers import Reader, reader_of
from rctheory.calibration.elimination import refit, ridge
from rctheory.calibration.selection import Selection
from rctheory.calibration.stream_parts import is_stream
from rctheory.errors import UsageError
from rctheory.transfer.layers import Chunk, LayeredModel, advance, silenced

RIDGE = 1e-2  # of the mean square of each unit
CORRECTION = 0.5  # share of earlier layers' error that a layer is to make good for
TINY = 1e-12
BLOCK = 384  # columns of the Gram matrix made at once

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Refitted:
    """The sample of one axis.

    Args:
        kept: source units that are kept, (m,) int64, ascending.
        tensor: declared name of the matrix that reads them.
        weights: that matrix for the kept units, inputs first: (m g, D).
        error: mean square of what is missed relative to the stream, tokens weighed alike.
    """

    kept: Tensor
    tensor: str
    weights: Tensor
    error: float


@torch.no_grad()
def compensate(
    model: LayeredModel,
    windows: Tensor,
    widths: Mapping[str, int],
    select: Selection,
    *,
    strength: float = RIDGE,
    correction: float = CORRECTION,
    metrics: Sequence[Tensor] | None = None,
    report_progress: Report = lambda _done, _all: None,
) -> dict[str, Refitted]:
    """Sample axes of a model to smaller widths, and refit what reads them.

    Args:
        model: the source; its weights are not changed.
        windows: calibration tokens, (N, T).
        widths: how many units to keep, by axis instance.
        select: chooses the units.
        strength: of the ridge towards the trained weights.
        correction: share c of the error of earlier layers that each layer is to make good for.
        metrics: A^(1/2) of the stream after every layer (`calibration.sensitivity`), in which units are chosen; without
            them all directions of the stream count alike.
        report_progress: takes layers done and all layers.

    Cost: for each layer and token two passes through the layer, and n^2 operations for the Gram matrix of n units.
    Memory: two streams (N, T, D) and the hidden units of one layer beyond the model.

    Raises:
        UsageError: an axis that no single matrix reads, or a width that is not smaller.
    """
    plan = _by_layer(model.layout, widths)
    original, shrunk = model.start(windows), model.start(windows)
    found: dict[str, Refitted] = {}
    for number in range(model.layout.layers):
        readers, last = plan.get(number, {}), _last_writer(model.layout, number)
        metric = None if metrics is None else metrics[number]
        after = [model.run(number, chunk) for chunk in original]
        early = {axis: reader for axis, reader in readers.items() if reader.tensor != last}
        for axis, reader in early.items():
            fit = _fit_inside(model, number, original, shrunk, reader, correction)
            found[axis] = fit.solve(widths[axis], select, strength, metric)
        with _replaced(model, [(found[axis], reader) for axis, reader in early.items()]):
            ending = next((axis for axis in readers if axis not in early), None)
            if ending is None:
                streams = [model.run(number, chunk) for chunk in shrunk]
            else:
                fit, parts = _fit_at_end(model, number, after, shrunk, readers[ending], correction)
                found[ending] = fit.solve(widths[ending], select, strength, metric)
                streams = [_written(found[ending], readers[ending], *part) for part in parts]
        advance(original, after)
        advance(shrunk, streams)
        report_progress(number + 1, model.layout.layers)
    return found


def _by_layer(layout: Layout, widths: Mapping[str, int]) -> dict[int, dict[str, Reader]]:
    """Return by layer what reads each planned axis."""
    plan: dict[int, dict[str, Reader]] = {}
    for axis, m in widths.items():
        reader, size = reader_of(layout, axis), layout.axes[axis].size
        if not 1 <= m < size:
            raise UsageError(f"{m} of {size} units of axis {axis}", "fewer", "calibration is for shrinking")
        layer = layout.tensors[reader.tensor].layer
        if layer is None:
            raise UsageError(f"axis {axis} of the whole model", "an axis of one layer", "choose ffn or group")
        plan.setdefault(layer, {})[axis] = reader
    return plan


def _last_writer(layout: Layout, number: int) -> str:
    """Return the matrix that ends a layer: the last one that writes the stream."""
    writers = [
        name
        for name, tensor in layout.tensors.items()
        if tensor.layer == number and len(tensor.nests) > 1 and is_stream(tensor, 1 - tensor.reads)
    ]
    return writers[-1]


def _fit_inside(
    model: LayeredModel,
    number: int,
    original: Sequence[Chunk],
    shrunk: Sequence[Chunk],
    reader: Reader,
    correction: float,
) -> "Fit":
    """Collect for a matrix after which its layer goes on: what it writes is added to the stream that enters."""
    module, prior = model.module_of(reader.tensor), model.weight(reader.tensor)
    fit = Fit(prior, reader, correction)
    for ours, theirs in zip(original, shrunk, strict=True):
        wanted = model.run_until(number, ours, module) @ prior + ours.stream
        fit.add(model.run_until(number, theirs, module), wanted - theirs.stream, wanted)
    return fit


def _fit_at_end(
    model: LayeredModel,
    number: int,
    after: Sequence[Tensor],
    shrunk: Sequence[Chunk],
    reader: Reader,
    correction: float,
) -> tuple["Fit", list[tuple[Tensor, Tensor]]]:
    """Collect for the matrix that ends its layer; return also what it reads, and what leaves the layer without it."""
    module, prior = model.module_of(reader.tensor), model.weight(reader.tensor)
    bias = getattr(module, "bias", None)
    fit, parts = Fit(prior, reader, correction), []
    for wanted, chunk in zip(after, shrunk, strict=True):
        with silenced(module) as seen:
            rest = model.run(number, chunk)
        rest = rest if bias is None else rest + bias
        fit.add(seen[0], wanted - rest, wanted)
        parts.append((seen[0], rest))
    return fit, parts


def _written(refitted: Refitted, reader: Reader, hidden: Tensor, rest: Tensor) -> Tensor:
    """Return the stream after the fitted matrix."""
    return rest + hidden.index_select(-1, reader.columns(refitted.kept)) @ refitted.weights.to(hidden)


class Fit:
    """Gram matrix and cross products of one reading matrix, chunk by chunk.

    The outputs that are asked for, (1 - c) H W0 + c Y, are never made: their products follow from H'H, H'Y and |Y|^2.
    """

    def __init__(self, prior: Tensor, reader: Reader, correction: float) -> None:
        """Start from nothing."""
        columns, outputs = prior.shape
        self._prior, self._reader, self._correction = prior, reader, correction
        self._lower = torch.zeros(columns, columns, dtype=torch.float64)
        self._cross = torch.zeros(columns, outputs, dtype=torch.float64)
        self._square, self._tokens = 0.0, 0

    def add(self, hidden: Tensor, outputs: Tensor, stream: Tensor) -> None:
        """Add tokens: what is read, what is to be written, and the stream by which a token is weighed."""
        weight = (stream.square().mean(dim=-1, keepdim=True) + TINY).rsqrt()
        x, y = (hidden * weight).flatten(0, 1), (outputs * weight).flatten(0, 1)
        for start in range(0, x.shape[1], BLOCK):  # the lower triangle by columns: 5/8 of the operations at 4 blocks
            block = slice(start, start + BLOCK)
            self._lower[start:, block] += x[:, start:].T @ x[:, block]
        self._cross += x.T @ y
        self._square += float(y.square().sum(dtype=torch.float64))
        self._tokens += len(x)

    def _products(self) -> tuple[Tensor, Tensor, float]:
        """Return H'H, and H'Z and |Z|^2 of the outputs Z that are asked for."""
        gram = self._lower.tril() + self._lower.tril(-1).T
        c, prior = self._correction, self._prior.double()
        before = gram @ prior
        square = (1 - c) ** 2 * float((prior * before).sum()) + c**2 * self._square
        square += 2 * c * (1 - c) * float((prior * self._cross).sum())
        return gram, (1 - c) * before + c * self._cross, square

    def whole(self, strength: float) -> Tensor:
        """Return the weights of all units, fitted; none is left out."""
        gram, asked, _ = self._products()
        gram, cross = ridge(gram, asked, self._prior, strength)
        return refit(gram, cross, torch.arange(len(gram)))

    def solve(self, m: int, select: Selection, strength: float, metric: Tensor | None) -> Refitted:
        """Choose the units and fit."""
        plain, asked, square = self._products()
        gram, cross = ridge(plain, asked, self._prior, strength)
        wanted, prior = cross, self._prior.double()
        if metric is not None:
            wanted, prior = cross @ metric, prior @ metric
        kept = select(gram, wanted, prior, m, self._reader.group)
        columns = self._reader.columns(kept)
        weights = refit(gram, cross, columns)
        fitted = plain.index_select(0, columns).index_select(1, columns)
        missed = square - 2 * float((weights * asked[columns]).sum())
        missed += float((weights * (fitted @ weights)).sum())
        return Refitted(kept, self._reader.tensor, weights, missed / self._tokens / self._prior.shape[1])


@contextmanager
def _replaced(model: LayeredModel, fitted: Sequence[tuple[Refitted, Reader]]) -> Iterator[None]:
    """Let the model read with fitted matrices: weights of units that are not kept are 0."""
    before = []
    try:
        for refitted, reader in fitted:
            weight = model.weight(reader.tensor)
            before.append((weight, weight.clone()))
            weight.zero_().index_copy_(0, reader.columns(refitted.kept), refitted.weights.to(weight))
        yield
    finally:
        for weight, values in before:
            weight.copy_(values)
