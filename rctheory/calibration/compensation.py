"""Shrink a model layer by layer: choose units on calibration text, and refit what reads them.

Two streams go through the layers side by side: the original's, and that of the model as shrunk so far. At every planned
axis the units are chosen and the matrix that reads them is fitted by least squares, so that the shrunk stream comes
back to the original one: each layer makes good for the error of those before it. In feed-forward layers what makes the
units may be fitted too (`calibration.makers`). No gradient of the model is needed.

The stream that leaves the original layer differs from what the units of the shrunk one can make by an error of earlier
layers that these units see in part only. Fitting all of it fits noise: a share c of it is asked for, beside what the
units wrote before, H W0 + c (Y - H W0).

Source: own; the sequential form is that of layer-wise reconstruction (arXiv 2301.00774 for weights).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout
from rctheory.architectures.readers import Reader, reader_of
from rctheory.calibration.fit import Fit, Refitted, token_weight
from rctheory.calibration.makers import ENOUGH, Makers, fit_makers, makers_of
from rctheory.calibration.selection import Selection
from rctheory.calibration.stream_parts import is_stream
from rctheory.errors import UsageError
from rctheory.numerics import native_products
from rctheory.transfer.layers import Chunk, LayeredModel, advance, silenced, watching

RIDGE = 1e-2  # of the mean square of each unit
CORRECTION = 0.5  # share of earlier layers' error that a layer is to make good for

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Compensation:
    """How units are chosen and refitted.

    Args:
        select: chooses the units.
        strength: of the ridge towards the trained weights.
        correction: share c of the error of earlier layers that each layer is to make good for.
        epochs: passes over the text in which what makes the units of a feed-forward layer is fitted; 0, or a text of
            fewer than `makers.ENOUGH` tokens a unit: they stay copies of the source's.
        seed: root of the order of tokens in these passes.
    """

    select: Selection
    strength: float = RIDGE
    correction: float = CORRECTION
    epochs: int = 0
    seed: int = 0


@dataclass(frozen=True)
class _Part:
    """Some windows at the matrix that ends a layer: what enters its makers (or nothing), its units, and the rest."""

    inputs: Tensor | None
    hidden: Tensor
    rest: Tensor


@torch.no_grad()
def compensate(
    model: LayeredModel,
    windows: Tensor,
    widths: Mapping[str, int],
    how: Compensation,
    *,
    metrics: Sequence[Tensor] | None = None,
    report_progress: Report = lambda _done, _all: None,
) -> dict[str, Refitted]:
    """Sample axes of a model to smaller widths, and refit what reads them.

    Args:
        model: the source; its weights are not changed.
        windows: calibration tokens, (N, T).
        widths: how many units to keep, by axis instance.
        how: the choice and the fits.
        metrics: A^(1/2) of the stream after every layer (`calibration.sensitivity`), in which units are chosen; without
            them all directions of the stream count alike.
        report_progress: takes layers done and all layers.

    Cost: for each layer and token two passes through the layer, n^2 operations for the Gram matrix of n units, and what
        `makers.fit_makers` says. Products of float32 are in bfloat16 where the machine has that.
    Memory: ten streams (N, T, D) and twice the hidden units of one layer beyond the model.

    Raises:
        UsageError: an axis that no single matrix reads, or a width that is not smaller.
        NumericsError: a fit that is not finite.
    """
    plan = _by_layer(model.layout, widths)
    original, shrunk = model.start(windows), model.start(windows)
    found: dict[str, Refitted] = {}
    for number in range(model.layout.layers):
        readers, last = plan.get(number, {}), _last_writer(model.layout, number)
        metric = None if metrics is None else metrics[number]
        after = [_run(model, number, chunk) for chunk in original]
        early = {axis: reader for axis, reader in readers.items() if reader.tensor != last}
        for axis, reader in early.items():
            fit = _fit_inside(model, number, original, shrunk, reader, how.correction)
            found[axis] = fit.solve(widths[axis], how.select, how.strength, metric)
        with _replaced(model, [(found[axis], reader) for axis, reader in early.items()]):
            ending = next((axis for axis in readers if axis not in early), None)
            if ending is None:
                streams = [_run(model, number, chunk) for chunk in shrunk]
            else:
                reader = readers[ending]
                enough = windows.numel() >= ENOUGH * widths[ending]
                makers = makers_of(model, ending, reader) if how.epochs and enough else None
                parts = [_part(model, number, chunk, reader, makers) for chunk in shrunk]
                found[ending], streams = _end(model, parts, after, reader, makers, widths[ending], how, metric)
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


def _run(model: LayeredModel, number: int, chunk: Chunk) -> Tensor:
    """Return what comes out of a layer, in the dtype of what goes in."""
    with native_products(chunk.stream):
        return model.run(number, chunk).to(chunk.stream)


def _fit_inside(
    model: LayeredModel,
    number: int,
    original: Sequence[Chunk],
    shrunk: Sequence[Chunk],
    reader: Reader,
    correction: float,
) -> Fit:
    """Collect for a matrix after which its layer goes on: what it writes is added to the stream that enters."""
    module, prior = model.module_of(reader.tensor), model.weight(reader.tensor)
    fit = Fit(prior, reader, correction)
    for ours, theirs in zip(original, shrunk, strict=True):
        wanted = model.run_until(number, ours, module) @ prior + ours.stream
        fit.add(model.run_until(number, theirs, module), wanted - theirs.stream, wanted)
    return fit


def _part(model: LayeredModel, number: int, chunk: Chunk, reader: Reader, makers: Makers | None) -> _Part:
    """Run a layer without the matrix that ends it."""
    module = model.module_of(reader.tensor)
    bias = getattr(module, "bias", None)
    watched: AbstractContextManager[list[Tensor]] = nullcontext([]) if makers is None else watching(makers.module)
    with silenced(module) as hidden, watched as inputs:
        rest = _run(model, number, chunk)
    x = inputs[0].to(chunk.stream) if inputs else None
    return _Part(x, hidden[0].to(chunk.stream), rest if bias is None else rest + bias)


def _end(
    model: LayeredModel,
    parts: Sequence[_Part],
    after: Sequence[Tensor],
    reader: Reader,
    makers: Makers | None,
    m: int,
    how: Compensation,
    metric: Tensor | None,
) -> tuple[Refitted, list[Tensor]]:
    """Choose and fit at the matrix that ends a layer; return also the stream behind it."""
    prior = model.weight(reader.tensor)
    fit = Fit(prior, reader, how.correction)
    for part, wanted in zip(parts, after, strict=True):
        fit.add(part.hidden, wanted - part.rest, wanted)
    found = fit.solve(m, how.select, how.strength, metric)
    if makers is not None:
        return _moved(found, makers, prior, parts, after, how)
    columns, weights = reader.columns(found.kept), found.weights.to(prior)
    return found, [part.rest + part.hidden.index_select(-1, columns) @ weights for part in parts]


def _moved(
    found: Refitted,
    makers: Makers,
    prior: Tensor,
    parts: Sequence[_Part],
    after: Sequence[Tensor],
    how: Compensation,
) -> tuple[Refitted, list[Tensor]]:
    """Fit what makes the units that were chosen, then once more what reads them; return also the stream behind them."""
    c, asked, small = how.correction, [], makers.small(found.kept, found.weights)
    for part, wanted in zip(parts, after, strict=True):
        with native_products(prior):
            before = (part.hidden @ prior).to(prior)
        asked.append((1 - c) * before + c * (wanted - part.rest))
    inputs = [part.inputs for part in parts if part.inputs is not None]
    tokens = (torch.cat([x.flatten(0, 1) for x in xs]) for xs in (inputs, asked, [token_weight(y) for y in after]))
    fit_makers(makers, small, *tokens, epochs=how.epochs, seed=how.seed)
    reading, hidden = makers.reading(small), []
    fit = Fit(makers.read_by(small).to(prior), Reader(found.tensor, 1), 1.0)
    for x, z, wanted in zip(inputs, asked, after, strict=True):
        with silenced(reading) as seen, native_products(x):
            small(x)
        hidden.append(seen[0].to(x))
        fit.add(hidden[-1], z, wanted)
    weights = fit.whole(how.strength)
    refitted = replace(found, weights=weights, error=fit.missed(weights), makers=makers.fitted(small))
    return refitted, [part.rest + h @ weights.to(h) for part, h in zip(parts, hidden, strict=True)]


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
