"""Generative transfer: the neurons of the target are drawn from a fitted row-column law, not copied.

What one neuron reads and what it writes is one latent: its row in every matrix that writes the axis, its column in
every one that reads it, its biases. New units are drawn jointly over all of these, from the units that were fitted; the
units of the other axis (coordinates of the stream, inputs, outputs) stay where they are. A matrix between two averaged
axes is a mean kernel of low rank at the new latents and a fresh residual of the fitted law,

    W*_ij = <u*_i, v_j> + s*_i t_j xi*_ij;

of one that meets a fixed axis all weights of a neuron are its latent: there nothing averages a residual away.
What reads the axis is scaled by n / m, as for every sample. Source: claim `transfer.generative`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory import __version__
from rctheory.architectures.axes import AxisInstance, Role
from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.folder_writer import SHARD_BYTES
from rctheory.errors import ShapeError, UsageError
from rctheory.measures import RCFit, ResidualLaw, draw_latents, fit_rc
from rctheory.numerics import generator
from rctheory.transfer.apply import Written, require_config, write_folder
from rctheory.transfer.companions import GENERATED

DESIGN = "generative"
SCHEMA = "rctheory.generated/1"
FEWEST = 4  # units of either side of a matrix that a law is fitted to
BLOCK = 1 << 22  # entries of a residual drawn together


Fits = dict[str, dict[str, float]]
"""By matrix, and expert where there are several, the rank of its mean kernel and `measures.Goodness`."""


class Neurons:
    """Draws the neurons of the target from the weights of the source, tensor by tensor; `fits` says how they fit.

    Args:
        layout: the source's layout.
        widths: by hidden axis instance, how many neurons to draw; inside each unit of its parent, where it has one.
        seed: root of every stream; streams are named by axis instance and tensor.
        smoothing: h in [0, 1]: 0 draws fitted latents as they are; above 0, no two are alike (`RCFit.sample`).
        rank: most directions of a mean kernel; None for all that stand out of the noise.
        residual: draw a fresh residual, or leave the mean kernel alone.
        fit: what fits a law to a matrix, in place of `fit_rc` with this rank.

    Raises:
        ShapeError: an axis that is not declared or is not hidden.
        UsageError: smoothing or a rank that make no sense.
    """

    def __init__(
        self,
        layout: Layout,
        widths: Mapping[str, int],
        *,
        seed: int = 0,
        smoothing: float = 0.0,
        rank: int | None = None,
        residual: bool = True,
        fit: Callable[[Tensor], RCFit] | None = None,
    ) -> None:
        """Check what is asked for."""
        if not 0 <= smoothing <= 1 or (rank is not None and rank < 0):
            found = f"smoothing {smoothing}" + ("" if rank is None else f" and rank {rank}")
            raise UsageError(found, "smoothing in [0, 1] and a rank of at least 0", "change them")
        for name in widths:
            layout.touches(name)
            _require_hidden(layout, layout.axes[name])
        self._layout, self._widths, self._seed = layout, dict(widths), seed
        self._smoothing, self._residual = smoothing, residual
        self._fit = fit or partial(fit_rc, max_rank=rank, seed=seed)
        self.fits: Fits = {}

    def blocks(self, name: str, weights: Tensor, *, stored: torch.dtype = torch.float32) -> Iterator[Tensor]:
        """Yield one tensor of the target in float32, as `write_folder` wants it; it is cast to `stored` elsewhere."""
        del stored
        yield self.draw(name, weights)

    def draw(self, name: str, weights: Tensor) -> Tensor:
        """Return one tensor of the target, in the dtype of the source's.

        Args:
            name: declared name.
            weights: the tensor of the source, float32 or wider.

        Raises:
            ShapeError: a tensor of another shape than declared, or too small for a law to be fitted to it.
        """
        tensor = self._layout.tensors[name]
        if tuple(weights.shape) != tensor.shape:
            found = f"tensor {name} of shape {tuple(weights.shape)}"
            raise ShapeError(found, f"{tensor.shape}, as declared", "make the layout and the weights agree")
        drawn = [self._drawn(nest) for nest in tensor.nests]
        if not any(drawn):
            return weights
        # Each unit of a parent, such as an expert, has a law of its own.
        counts = [n if axis is None else axis.size for axis, n in zip(drawn, weights.shape, strict=True)]
        rows = [
            [
                self._draw_part(tensor, part, drawn, (above, beside))
                for beside, part in enumerate(band.split(counts[-1], dim=-1) if len(counts) > 1 else (band,))
            ]
            for above, band in enumerate(weights.split(counts[0]))
        ]
        return torch.cat([torch.cat(row, dim=-1) for row in rows]).to(weights.dtype)

    def _drawn(self, nest: tuple[AxisInstance, ...]) -> AxisInstance | None:
        """Return the axis of a dimension that is drawn anew."""
        return nest[-1] if nest[-1].name in self._widths else None

    def _draw_part(
        self, tensor: TensorLayout, W: Tensor, drawn: list[AxisInstance | None], parents: tuple[int, int]
    ) -> Tensor:
        """Draw one tensor inside one unit of each parent."""
        draws = [self._draws(axis, parent) for axis, parent in zip(drawn, parents, strict=False)]
        if len(drawn) == 1:
            return draws[0](W.double()[:, None])[:, 0]
        read = drawn[tensor.reads]
        share = 1.0 if read is None else read.size / self._widths[read.name]
        if all(drawn) or _averages(tensor.nests[drawn.index(None)], W.shape[drawn.index(None)]):
            return share * self._draw_kernel(tensor, W, draws, parents)
        return share * (draws[0](W.double()) if drawn[0] else draws[1](W.double().T).T)

    def _draw_kernel(
        self, tensor: TensorLayout, W: Tensor, draws: list[Callable[[Tensor], Tensor]], parents: tuple[int, int]
    ) -> Tensor:
        """Fit a row-column law, and put new units in the place of those of the axes that are drawn."""
        try:
            fit = self._fit(W)
        except ShapeError as error:
            raise ShapeError(
                f"tensor {tensor.name}: {error.found}", error.expected, "leave its axes as they are"
            ) from error
        apart = any(axis.axis.parent for nest in tensor.nests if (axis := self._drawn(nest)) is not None)
        name = f"{tensor.name}/{max(parents)}" if apart else tensor.name
        self.fits[name] = {"rank": fit.rank, **asdict(fit.goodness)}
        rows, columns = (draw(units.latents) for draw, units in zip(draws, (fit.rows, fit.columns), strict=True))
        drawn = fit.kernel(rows, columns)
        if self._residual:
            random = generator(self._seed, DESIGN, "residual", tensor.name, *parents)
            _add_residual(drawn, fit.residual, rows[:, -1].exp(), columns[:, -1].exp(), random)
        return drawn

    def _draws(self, axis: AxisInstance | None, parent: int) -> Callable[[Tensor], Tensor]:
        """Return what draws latents of an axis inside one unit of its parent; it leaves those of another axis alone."""
        if axis is None:
            return lambda latents: latents
        name = axis.name if axis.axis.parent is None else f"{axis.name}/{parent}"
        return partial(
            draw_latents, count=self._widths[axis.name], seed=self._seed, axis=name, smoothing=self._smoothing
        )


def _averages(nest: tuple[AxisInstance, ...], size: int) -> bool:
    """Return whether a dimension runs over units that have a law, and enough of them."""
    return all(instance.axis.averaged for instance in nest) and size >= FEWEST


def _add_residual(mean: Tensor, law: ResidualLaw, s: Tensor, t: Tensor, random: torch.Generator) -> None:
    """Add s_i t_j xi_ij to a mean, in place, by blocks of rows."""
    step = max(1, BLOCK // mean.shape[1])
    for part, scale in zip(mean.split(step), s.split(step), strict=True):
        part += law.sample(tuple(part.shape), random).mul_(scale[:, None]).mul_(t)


def _require_hidden(layout: Layout, instance: AxisInstance) -> None:
    """Refuse an axis whose units are no neurons."""
    axis = instance.axis
    places = [(layout.tensors[touch.tensor], touch) for touch in layout.touches(instance.name)]
    innermost = all(touch.place == len(tensor.nests[touch.dimension]) - 1 for tensor, touch in places)
    if axis.role is Role.HIDDEN and axis.averaged and innermost and all(len(tensor.nests) <= 2 for tensor, _ in places):
        return
    hidden = sorted({i.axis.name for i in layout.axes.values() if i.axis.role is Role.HIDDEN})
    found = f"new units of axis {axis.name} of {layout.architecture}, which is {axis.role}"
    want = f"a hidden axis ({', '.join(hidden)})" if hidden else "a hidden axis, which this architecture lacks"
    raise ShapeError(found, want, "copy the units of other axes")


def neuron_widths(layout: Layout, changes: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Return the new sizes of all axes, and by axis instance how many neurons to draw.

    An axis that is named is drawn anew even where it keeps its width.

    Raises:
        ShapeError: no such axis, one that is not hidden, or widths that are not legal.
    """
    targets = layout.widths.resize(layout.sizes, changes)
    widths = {
        name: targets[instance.axis.name]
        for name, instance in layout.axes.items()
        if instance.axis.name in changes or targets[instance.axis.name] != instance.size
    }
    return targets, widths


def apply_generation(
    checkpoint: Checkpoint,
    changes: Mapping[str, int],
    target: Path,
    *,
    seed: int = 0,
    smoothing: float = 0.0,
    rank: int | None = None,
    residual: bool = True,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    report_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[Written, Fits]:
    """Write a model whose neurons are drawn from the fitted law of a checkpoint's; see `Neurons` and `apply_transfer`.

    The record beside the weights holds the options, from which the same weights are drawn again, and how well each
    matrix was fitted, which is returned too. The neurons of the source are not in the result: it cannot be undone.

    Args:
        checkpoint: the source.
        changes: new widths of hidden axes, by name.
        target: folder to be made.
        seed: see `Neurons`.
        smoothing: see `Neurons`.
        rank: see `Neurons`.
        residual: see `Neurons`.
        dtype: see `apply_transfer`.
        shard_bytes: see `apply_transfer`.
        report_progress: see `apply_transfer`.

    Raises:
        ShapeError: an axis that is not declared or not hidden, widths that are not legal, or matrices too small.
        UsageError: no such dtype, smoothing or a rank that make no sense.
        CheckpointError: the target exists or cannot be written, or the source cannot be read.
    """
    layout = checkpoint.layout
    targets, widths = neuron_widths(layout, changes)
    options: dict[str, Any] = {"seed": seed, "smoothing": smoothing, "rank": rank, "residual": residual}
    neurons = Neurons(layout, widths, **options)
    config = layout.widths.write(require_config(checkpoint), targets)
    head = {"schema": SCHEMA, "architecture": layout.architecture, "layers": layout.layers, "design": DESIGN}
    sizes = {"sizes": layout.sizes, "targets": targets, "axes": sorted(widths)}
    record = {"rctheory": __version__, "source": checkpoint.source, "source_config": checkpoint.config}
    record |= {GENERATED: {**head, **options, **sizes, "fits": neurons.fits}}
    written = write_folder(
        checkpoint,
        config,
        neurons.blocks,
        target,
        record,
        dtype=dtype,
        shard_bytes=shard_bytes,
        report=report_progress,
    )
    return written, neurons.fits
