"""Apply a transfer to a checkpoint, streaming: one stored tensor of the target is made and written at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from rctheory import __version__
from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.folder_writer import DTYPES, SHARD_BYTES, FolderWriter, OutputTensor
from rctheory.checkpoints.pieces import scatter
from rctheory.checkpoints.store import StoredTensor
from rctheory.errors import CheckpointError, UsageError
from rctheory.numerics import single_threaded_kernels
from rctheory.transfer.companions import write_companions
from rctheory.transfer.transfer_plan import TransferPlan

RECORD = "rctheory_transfer.json"
SUMMED = 1 << 20  # entries whose rounding is looked at together


class Make(Protocol):
    """From a tensor that was read to the tensor that is written, as blocks of rows."""

    def __call__(self, name: str, weights: Tensor, *, stored: torch.dtype) -> Iterable[Tensor]:
        """Make it; name is the declared one, `stored` the dtype to which the blocks will be cast."""


@dataclass(frozen=True)
class Written:
    """What a transfer has written.

    Args:
        target: the folder.
        parameters: number of weights.
        n_bytes: bytes of the weights.
        cast_error: root mean square of what casting to the stored dtype changed, relative to that of the weights.
        remarks: what a user should know about the folder.
    """

    target: Path
    parameters: int
    n_bytes: int
    cast_error: float
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Group:
    """Declared tensors and the stored ones of the target that hold them, all made together."""

    declared: tuple[str, ...]
    stored: tuple[str, ...]


def apply_transfer(
    checkpoint: Checkpoint,
    plan: TransferPlan,
    target: Path,
    *,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    refitted: Mapping[str, Tensor] | None = None,
    report_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Written:
    """Write the model that a plan makes of a checkpoint as a Hugging Face folder, complete or not at all.

    Algebra is in float32. Beside the weights stand the configuration with its new widths, the tokenizer and generation
    settings of the source, a model card, and a record of the plan from which the transfer can be undone.

    Args:
        checkpoint: the source.
        plan: from `draw_transfer` or `load_plan`.
        target: folder to be made.
        dtype: stored dtype by its safetensors name; by default that of the source, and F32 for a quantised source.
        shard_bytes: most bytes of one file.
        refitted: tensors of the target, by declared name, that do not follow from the plan; the record then says so,
            and the plan alone does not give the target again.
        report_progress: takes the bytes written and those to be written.

    Raises:
        ShapeError: the plan was made for another model.
        CheckpointError: the target exists or cannot be written, or the source cannot be read.
        UsageError: no such dtype.
    """
    operator = plan.operator(checkpoint.layout)
    config = operator.configure(require_config(checkpoint), plan.targets)
    record = {"rctheory": __version__, "source": checkpoint.source, "source_config": checkpoint.config}
    record |= {"plan": plan.as_dict()} | ({"refitted": sorted(refitted)} if refitted else {})

    def make(name: str, weights: Tensor, *, stored: torch.dtype) -> Iterable[Tensor]:
        ready = (refitted or {}).get(name)
        return operator.blocks(name, weights, stored=stored) if ready is None else [ready]

    return write_folder(
        checkpoint,
        config,
        make,
        target,
        record,
        dtype=dtype,
        shard_bytes=shard_bytes,
        report=report_progress,
    )


def write_folder(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    make: Make,
    target: Path,
    record: Mapping[str, Any],
    *,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    report: Callable[[int, int], None] = lambda _done, _all: None,
) -> Written:
    """Write every tensor of a checkpoint as `make` changes it, under another configuration; see `apply_transfer`."""
    layout = _target_layout(checkpoint, config)
    groups = list(_groups(layout))
    shapes = layout.stored_shapes(Naming.TRANSFORMERS)
    dtypes = {name: _dtype(checkpoint, group, dtype) for group in groups for name in group.stored}
    outputs = [OutputTensor(name, shapes[name], dtypes[name]) for group in groups for name in group.stored]
    buffers = [OutputTensor(name, stored.shape, stored.dtype) for name, stored in _kept_buffers(checkpoint)]
    total, done = sum(output.n_bytes for output in outputs), 0
    rounding = _Rounding()
    with single_threaded_kernels(), FolderWriter(target, [*outputs, *buffers], shard_bytes) as writer:
        for group in groups:
            made = _make(checkpoint, layout, group, partial(make, stored=DTYPES[dtypes[group.stored[0]]]), shapes)
            for name in group.stored:
                writer.write(name, rounding.seen(made.pop(name), DTYPES[dtypes[name]]))
            done += sum(output.n_bytes for output in outputs if output.name in group.stored)
            report(done, total)
        for buffer in buffers:
            writer.write(buffer.name, [checkpoint.buffer(buffer.name)])
        common = set(dtypes.values())
        named = {"dtype": str(DTYPES[common.pop()]).removeprefix("torch.")} if len(common) == 1 else {}
        remarks = write_companions(checkpoint, {**_without_dtype(config), **named}, record, writer, RECORD)
    parameters = sum(torch.Size(output.shape).numel() for output in outputs)
    return Written(target, parameters, total, rounding.relative, tuple(remarks))


def require_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the configuration of a checkpoint.

    Raises:
        CheckpointError: it has none that transformers could read.
    """
    if "rope_freqs.weight" in checkpoint.stored_names:
        found = f"{checkpoint.source} stores rotary frequencies of its own"
        raise CheckpointError(found, "them to follow from the configuration", "start from its Hugging Face folder")
    if checkpoint.quantised:
        found = f"{checkpoint.source}, which its configuration calls quantised by {checkpoint.quantised}"
        remedy = "dequantise the checkpoint and remove quantization_config from config.json"
        raise CheckpointError(found, "weights in a float dtype", remedy)
    return checkpoint.config


class _Rounding:
    """What casting changes, summed over all weights."""

    def __init__(self) -> None:
        """Start from nothing."""
        self._error, self._size = 0.0, 0.0

    def seen(self, blocks: Iterable[Tensor], dtype: torch.dtype) -> Iterator[Tensor]:
        """Yield the blocks of a tensor as they are, and add them."""
        for block in blocks:
            self._add(block, dtype)
            yield block

    def _add(self, weights: Tensor, dtype: torch.dtype) -> None:
        """Add one block; a cast that changes nothing costs nothing."""
        if torch.finfo(dtype).eps <= torch.finfo(weights.dtype).eps:
            return
        for part in weights.flatten().split(SUMMED):
            self._error += float((part - part.to(dtype).to(part.dtype)).double().square().sum())
            self._size += float(part.double().square().sum())

    @property
    def relative(self) -> float:
        """Return the root mean square of the changes relative to that of the weights."""
        return sqrt(self._error / self._size) if self._size else 0.0


def _kept_buffers(checkpoint: Checkpoint) -> list[tuple[str, StoredTensor]]:
    """Return the stored tensors that carry no weights and that a reader may still ask for: no width changes them.

    Masks and positions are stored as integers and follow from the configuration.
    """
    if checkpoint.naming is not Naming.TRANSFORMERS:
        return []
    return sorted((n, t) for n, t in checkpoint.buffers.items() if t.dtype in DTYPES and t.shape)


def _target_layout(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Layout:
    """Return the layout of the target: the same tensors as in the source."""
    layout = layout_of(config)
    if checkpoint.naming is Naming.TRANSFORMERS:
        layout = layout.found_in(checkpoint.stored_names)
    return layout


def _groups(layout: Layout) -> Iterator[_Group]:
    """Yield declared tensors together with the stored ones that they share, in the order of the declaration."""
    places = {name: set(layout.place(name, Naming.TRANSFORMERS).names) for name in layout.tensors}
    left = dict(places)
    while left:
        first = next(iter(left))
        declared, stored = [first], set(left.pop(first))
        while more := [name for name, names in left.items() if names & stored]:
            declared += more
            stored |= set().union(*(left.pop(name) for name in more))
        ordered = [n for name in declared for n in layout.place(name, Naming.TRANSFORMERS).names]
        yield _Group(tuple(declared), tuple(dict.fromkeys(ordered)))


def _make(
    checkpoint: Checkpoint,
    layout: Layout,
    group: _Group,
    make: Callable[[str, Tensor], Iterable[Tensor]],
    shapes: Mapping[str, Sequence[int]],
) -> dict[str, Iterable[Tensor]]:
    """Return the stored tensors of one group, as blocks of rows."""
    if len(group.declared) == len(group.stored) == 1:
        (name,), (stored_name,) = group.declared, group.stored
        return {stored_name: make(name, checkpoint.tensor(_origin(checkpoint, name)))}
    stored = {name: torch.empty(tuple(shapes[name])) for name in group.stored}
    for name in group.declared:
        whole = torch.cat(list(make(name, checkpoint.tensor(name))))
        scatter(whole, layout.place(name, Naming.TRANSFORMERS), stored)
    return {name: [tensor] for name, tensor in stored.items()}


def _origin(checkpoint: Checkpoint, name: str) -> str:
    """Return the tensor of the source that stands for one of the target: where a tie is cut, the one it repeats."""
    return name if name in checkpoint.tensors else checkpoint.layout.twins.get(name, name)


def _dtype(checkpoint: Checkpoint, group: _Group, wanted: str | None) -> str:
    """Return the dtype in which a group is stored."""
    if wanted is not None and wanted not in DTYPES:
        raise UsageError(f"dtype {wanted!r}", f"one of {', '.join(DTYPES)}", "choose one of these")
    found = checkpoint.tensors[_origin(checkpoint, group.declared[0])].dtype
    return wanted or (found if found in DTYPES else "F32")


def _without_dtype(config: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the entries that name the dtype of the source."""
    return {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
