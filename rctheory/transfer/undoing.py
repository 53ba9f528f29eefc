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
        ShapeError: a transfer that sampled its units: they are gone.
    """
    path = (checkpoint.path or Path()) / RECORD
    if not path.is_file():
        found = f"{checkpoint.source} without {RECORD}"
        raise CheckpointError(found, "the result of a transfer", "undo what rctheory transfer wrote")
    values = read_json(path)
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
    return write_folder(checkpoint, config, join, target, record, report=report_progress)
