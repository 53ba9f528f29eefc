"""Undo an exact transfer: join the copies, from the record that the transfer left beside its weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rctheory import __version__
from rctheory.architectures.registry import layout_of
from rctheory.architectures.storage import Naming
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.json_files import read_json
from rctheory.errors import CheckpointError, ShapeError
from rctheory.transfer.apply import RECORD, Written, write_folder
from rctheory.transfer.companions import GENERATED, TURNED
from rctheory.transfer.operator import Operator
from rctheory.transfer.transfer_plan import plan_from


def undo_transfer(
    checkpoint: Checkpoint, target: Path, *, report_progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Written:
    """Write the model from which an exact transfer started.

    Shares of copies add up to the bits of the source. Weights that were scaled by a factor which is no power of two
    (a stream under RMSNorm grown by a part of its width, the last norm before a tied head) and noise come back up to
    rounding.

    Args:
        checkpoint: the result of a transfer, open, with its record.
        target: folder to be made.
        report_progress: takes the bytes written and those to be written.

    Raises:
        CheckpointError: no record, or one of another model; the target exists or cannot be written.
        ShapeError: a transfer that sampled its units or drew new ones: those of the source are gone.
    """
    path = (checkpoint.path or Path()) / RECORD
    if not path.is_file():
        found = f"{checkpoint.source} without {RECORD}"
        raise CheckpointError(found, "the result of a transfer", "undo what rctheory transfer wrote")
    values = read_json(path)
    if GENERATED in values:
        found = f"{checkpoint.source}, whose units were drawn from a fitted law"
        raise ShapeError(found, "an exact transfer", "keep the source")
    if TURNED in values:
        found = f"{checkpoint.source}, whose residual stream was turned and cut"
        raise ShapeError(found, "an exact transfer", "keep the source")
    plan, config = plan_from(values.get("plan"), str(path)), values.get("source_config")
    if not isinstance(config, dict) or dict(plan.targets) != checkpoint.layout.sizes:
        found = f"{path} of another model than {checkpoint.source}"
        raise CheckpointError(found, "the record of this one", "put its own record there")
    if not plan.exact:
        raise ShapeError(f"a transfer by design {plan.design}, which forgot units", "an exact one", "keep the source")
    layout = layout_of(config)
    source = layout.found_in(checkpoint.stored_names) if checkpoint.naming is Naming.TRANSFORMERS else layout
    operator = plan.operator(source)

    def join(name: str, weights: Tensor, *, stored: torch.dtype) -> list[Tensor]:
        return [operator.undo(name, weights)]

    back = replace(plan, sizes=plan.targets, targets=plan.sizes, axes={})
    record: dict[str, Any] = {"rctheory": __version__, "source": checkpoint.source, "source_config": checkpoint.config}
    record |= {"undone": values, "plan": back.as_dict()}
    written = write_folder(checkpoint, config, join, target, record, report=report_progress)
    return replace(written, remarks=(*written.remarks, _remark(operator, plan.noise)))


def _remark(operator: Operator, noise: float) -> str:
    """Say whether every bit has come back."""
    names = [name for name in operator.layout.tensors if not _returns(operator, name, noise)]
    if not names:
        return "Every weight is back, bit by bit, as the transfer had stored it."
    why = "noise was added to them, or they were scaled by no power of two"
    return f"{len(names)} of {len(operator.layout.tensors)} tensors are back up to rounding, {names[0]} first: {why}."


def _returns(operator: Operator, name: str, noise: float) -> bool:
    """Return whether what the transfer did to a tensor is undone without rounding: shares, and powers of two."""
    tensor = operator.layout.tensors[name]
    offsets = {norm.bias: 0.0 for norm in operator.layout.norms} | {n.gain: n.offset for n in operator.layout.norms}
    for dimension, nest in enumerate(tensor.nests):
        for plan, axis in ((operator.plans[i.name], i.name) for i in nest if i.name in operator.plans):
            if len(tensor.nests) > 1 and dimension == tensor.reads:
                if noise and bool((plan.counts > 1).any()):
                    return False
                continue
            factors = operator.factors(name, dimension, axis)
            shared = name in offsets and bool(torch.allclose(factors * plan.counts, torch.ones_like(factors)))
            powers = bool((torch.frexp(factors).mantissa == 0.5).all())
            if not ((shared or powers) and (not offsets.get(name) or bool((factors == 1).all()))):
                return False
    return True
