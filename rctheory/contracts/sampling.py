"""Clauses about sampled axes: their sums are unbiased, and what is left falls like one over the root of the width."""

from collections.abc import Iterator
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout, TensorLayout, Touch
from rctheory.contracts.subject import Subject
from rctheory.contracts.widening import transferred
from rctheory.contracts.widths import is_legal
from rctheory.errors import ContractError
from rctheory.numerics import generator
from rctheory.statistics.rates import Point, fit_rate
from rctheory.transfer.operator import Operator
from rctheory.transfer.transfer_plan import draw_transfer
from rctheory.transfer.units import AxisPlan

RATE, MARGIN = -0.5, 0.25
"""The margin covers the next order, 1 / m beside 1 / sqrt(m), on a ladder that starts at a few units, and the scatter
of few draws. One that does not fall (slope 0) or falls as for nested samples without error (-1) lies far outside."""
LADDER, DRAWS = (4, 9, 20), 24
ROUNDING = 1e-10  # of sums of some hundred terms in float64

Sides = tuple[list[Touch], list[Touch]]
Vectors = list[Tensor]
"""Of the source, then of each sample."""


def check_unbiased(subject: Subject) -> None:
    """The sum over a sampled axis has the source's value in exact expectation over the draw.

    For each averaged axis of n units, each tensor V that writes it and each W that reads it, with random projections v
    and w of everything else: E sum_c (w W')_c (V' v)_c = sum_i (w W)_i (V v)_i, the mean over all n samples of one unit
    and over all n samples of n - 1 units. A tied table is read through the gain of the last norm.

    Raises:
        ContractError: the expectation differs, or nothing writes or nothing reads an averaged axis.
    """
    layout = subject.source.layout
    averaged = _last_instances(layout)
    if not averaged:
        raise ContractError("no averaged axis", "one at least", "declare what grows as averaged")
    for axis in averaged:
        writers, readers = _sides(layout, axis)
        if not writers or not readers:
            found = f"axis {axis} without a tensor that {'reads' if writers else 'writes'} it"
            raise ContractError(found, "one that writes and one that reads an averaged axis", "correct `reads`")
        for size, draws in _samples(layout.axes[axis].size):
            _check_sums(subject, axis, size, draws, (writers, readers))
            _check_tied(subject, axis, size, draws)


def check_rate(subject: Subject) -> None:
    """A sample of m units of every axis errs like m^(-1/2) against the source.

    All averaged axes are drawn independently with replacement at 4, 9 and 20 times their width; the error of the
    outputs is the root mean square over draws.

    Raises:
        ContractError: the fitted exponent is off by more than the margin.
    """
    source = subject.source
    points = []
    for factor in LADDER:
        changes = _ladder_changes(source.layout, factor)
        plans = (draw_transfer(source.layout, changes, design="iid", seed=seed) for seed in range(DRAWS))
        squares = [float((outputs - source.outputs).square().mean()) for outputs in transferred(source, plans)]
        points.append(Point.rms(factor, squares))
    slope = fit_rate([Point(point.n, point.error) for point in points]).slope
    if not abs(slope - RATE) <= MARGIN:
        errors = ", ".join(f"{point.error:.3g}" for point in points)
        found = f"errors {errors} at {', '.join(map(str, LADDER))} times the width: exponent {slope:.2f}"
        raise ContractError(found, f"{RATE} +- {MARGIN}", "look for a sum that is not averaged, or a factor")


def _ladder_changes(layout: Layout, factor: int) -> dict[str, int]:
    """Return widths for the ladder: hidden units, heads and channels; a stream only where no other width follows."""
    changes: dict[str, int] = {}
    for name, axis in {i.axis.name: i.axis for i in layout.axes.values() if i.axis.averaged}.items():
        wanted = changes | {name: factor * layout.sizes[name]}
        if axis.parent is None or not axis.parent.averaged:
            changes = wanted if is_legal(layout, wanted) else changes
    return changes


def _last_instances(layout: Layout) -> list[str]:
    """Return one instance of every averaged axis."""
    return list({i.axis.path: i.name for i in layout.axes.values() if i.axis.averaged}.values())


def _samples(n: int) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield sizes of samples of n units with all samples of that size, each as likely as the others."""
    units = torch.arange(n)
    yield 1, [units[i : i + 1] for i in range(n)]
    if n > 2:
        yield n - 1, [torch.cat([units[:i], units[i + 1 :]]) for i in range(n)]


def _sides(layout: Layout, axis: str) -> Sides:
    """Return where an axis is written and where it is read; norms only scale it."""
    norms = {name for norm in layout.norms for name in (norm.gain, norm.bias)}
    sides: Sides = ([], [])
    for touch in layout.touches(axis):
        tensor = layout.tensors[touch.tensor]
        if touch.tensor not in norms:
            sides[_reads(tensor, touch.dimension)].append(touch)
    return sides


def _reads(tensor: TensorLayout, dimension: int) -> bool:
    return len(tensor.nests) > 1 and dimension == tensor.reads


def _check_sums(subject: Subject, axis: str, size: int, draws: list[Tensor], sides: Sides) -> None:
    """Compare the expectation of every sum over an axis with the sum."""
    vectors = {touch: _vectors(subject, touch, axis, draws) for side in sides for touch in side}
    for writer in sides[0]:
        for reader in sides[1]:
            words = f"what {reader.tensor} reads of {writer.tensor} over axis {axis} at {size} units"
            _compare(vectors[writer], vectors[reader], words)


def _check_tied(subject: Subject, axis: str, size: int, draws: list[Tensor]) -> None:
    """Compare the sums that a tied table takes over the stream, after the gain of the last norm."""
    layout = subject.source.layout
    for norm in layout.norms:
        if not norm.feeds or norm.gain not in layout.tensors or layout.tensors[norm.gain].nests[0][-1].name != axis:
            continue
        gains = _vectors(subject, Touch(norm.gain, 0, 0), axis, draws, offset=norm.offset)
        table = next(touch for touch in layout.touches(axis) if touch.tensor == norm.feeds)
        tables = _vectors(subject, table, axis, draws, rooted=False)
        _compare(gains, tables, f"what {norm.feeds} reads after {norm.gain} at {size} units")


def _compare(first: Vectors, second: Vectors, words: str) -> None:
    """Compare the mean over all draws with the sum of the source, up to rounding of float64."""
    sums = [float((v * w).sum()) for v, w in zip(first, second, strict=True)]
    expected, mean = sums[0], sum(sums[1:]) / len(sums[1:])
    bound = ROUNDING * float(first[0].norm() * second[0].norm())
    if not abs(mean - expected) <= bound:
        found = f"a mean of {mean:.6g} over all samples of {words}"
        raise ContractError(found, f"{expected:.6g}", "look at Operator.apply, `reads` and `norms`")


def _vectors(
    subject: Subject, touch: Touch, axis: str, draws: list[Tensor], *, rooted: bool = True, offset: float = 0.0
) -> Vectors:
    """Return a random projection of a tensor onto an axis, of the source and then of each sample."""
    layout, weights = _isolated(subject.source.layout, touch, axis), subject.source.weights[touch.tensor]
    found = [_project(layout, touch, weights + offset, rooted=rooted)]
    for indices in draws:
        operator = Operator(layout, {axis: AxisPlan(layout.axes[axis].size, indices, exact=False)})
        sampled = operator.apply(touch.tensor, weights.clone()) + offset
        found.append(_project(layout, touch, sampled, rooted=rooted))
    return found


def _isolated(layout: Layout, touch: Touch, axis: str) -> Layout:
    """Return a layout in which a tensor that runs over an axis twice does so at one place alone."""
    tensor = layout.tensors[touch.tensor]
    nests = tuple(
        nest
        if dimension == touch.dimension
        else tuple(replace(i, name=f"{axis} elsewhere") if i.name == axis else i for i in nest)
        for dimension, nest in enumerate(tensor.nests)
    )
    return replace(layout, tensors={**layout.tensors, tensor.name: replace(tensor, nests=nests)})


def _project(layout: Layout, touch: Touch, weights: Tensor, *, rooted: bool) -> Tensor:
    """Return the sum of a tensor over everything but one axis, with random weights that no sample changes."""
    nests = layout.tensors[touch.tensor].nests
    nest = [instance.size for instance in nests[touch.dimension]]
    nest[touch.place] = -1
    unfolded = weights.unflatten(touch.dimension, nest)
    at = touch.dimension + touch.place
    size = unfolded.shape[at]
    others = unfolded.movedim(at, -1).reshape(-1, size)
    random = generator(0, "projection", touch.tensor)
    vector = torch.ones(1, dtype=weights.dtype) if len(others) == 1 else _normal(len(others), random)
    name = nests[touch.dimension][touch.place].axis.name
    root = sqrt(size) if rooted and layout.rooted.get(touch.tensor) == name else 1.0
    projected: Tensor = root * (vector @ others)
    return projected


def _normal(size: int, random: torch.Generator) -> Tensor:
    return torch.randn(size, generator=random, dtype=torch.float64)
