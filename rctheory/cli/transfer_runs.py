"""The ways in which `rctheory transfer` runs: from a plan, with new units, or backwards."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rctheory.cli.changes import read_widths
from rctheory.cli.progress import writing
from rctheory.cli.reading import read_text
from rctheory.cli.transfer_display import print_plan, say_verified, say_written
from rctheory.errors import UsageError

if TYPE_CHECKING:
    from rctheory.checkpoints.checkpoint import Checkpoint
    from rctheory.transfer.transfer_plan import TransferPlan


def plan_units(
    checkpoint: "Checkpoint", changes: list[str], plan: Path | None, options: dict[str, Any]
) -> "TransferPlan":
    """Return the plan that was saved, or draw one."""
    from rctheory.transfer.importance import weight_importance
    from rctheory.transfer.transfer_plan import draw_transfer, load_plan

    layout = checkpoint.layout

    if plan is not None:
        for name in (*(["set"] if changes else []), *options):
            raise UsageError(f"--plan together with --{name}", "one of them", "a plan holds its widths and its units")
        return load_plan(plan)
    if not changes:
        raise UsageError("no new width", "--set AXIS=WIDTH or --plan FILE", "see --legal for what may change")
    widths = read_widths(changes, layout)
    return draw_transfer(layout, widths, importance=weight_importance(checkpoint), **options)


def run_plan(
    checkpoint: "Checkpoint",
    plan: "TransferPlan",
    target: Path | None,
    save_plan: Path | None,
    dtype: str | None,
    text: str | None,
) -> None:
    """Save the plan, write the target and verify it, as far as each is asked for."""
    from rctheory.transfer.verification import require_text

    if text is not None:
        require_text(checkpoint, read_text(text))
    if save_plan is not None:
        _save(plan, save_plan, target)
    if target is not None:
        _apply(checkpoint, plan, target, dtype, text)


def _apply(checkpoint: "Checkpoint", plan: "TransferPlan", target: Path, dtype: str | None, text: str | None) -> None:
    """Write the target, say what was done, and compare where that was asked for."""
    from rctheory.transfer.apply import apply_transfer

    with writing() as tell:
        written = apply_transfer(checkpoint, plan, target, dtype=dtype, report_progress=tell)
    print_plan(plan)
    say_written(written)
    if text is not None:
        say_verified(checkpoint, target, plan, read_text(text))


def _save(plan: "TransferPlan", path: Path, target: Path | None) -> None:
    """Write a plan at once."""
    from rctheory.suite.codec import write_atomically
    from rctheory.suite.environment import prepare_folder
    from rctheory.transfer.apply import RECORD
    from rctheory.transfer.transfer_plan import save_plan

    if target is not None and target.absolute() in (path.absolute(), *path.absolute().parents):
        raise UsageError(f"--save-plan {path} in TARGET", "a file elsewhere", f"the target holds the plan in {RECORD}")
    prepare_folder(path.parent)
    try:
        write_atomically(path, save_plan(plan))
    except OSError as error:
        found = f"{path} cannot be written ({error.strerror})"
        raise UsageError(found, "a file that can be written", "choose another one") from error
    typer.echo(f"plan: {path}")


def generate_units(
    checkpoint: "Checkpoint",
    changes: list[str],
    target: Path,
    dtype: str | None,
    text: str | None,
    options: dict[str, Any],
) -> None:
    """Draw new neurons from the fitted law, say how well it describes the old ones, and compare if that was asked."""
    from rctheory.transfer.generative import apply_generation
    from rctheory.transfer.verification import require_text

    if not changes:
        raise UsageError("no new width", "--set AXIS=WIDTH", "name a hidden axis; it may keep its width")
    if text is not None:
        require_text(checkpoint, read_text(text))
    widths = read_widths(changes, checkpoint.layout)
    with writing() as tell:
        written, fits = apply_generation(checkpoint, widths, target, dtype=dtype, report_progress=tell, **options)
    if fits:
        shares = sorted(fit["held_out"] for fit in fits.values())
        typer.echo(
            f"mean kernels of {len(fits)} matrices predict {shares[0]:.1%} to {shares[-1]:.1%} of the squares of "
            f"entries that they have not seen, {shares[len(shares) // 2]:.1%} in the median"
        )
    typer.echo("every unit is new: the function changes")
    say_written(written)
    if text is not None:
        say_verified(checkpoint, target, None, read_text(text))


def undo(checkpoint: "Checkpoint", target: Path) -> None:
    """Write the source of a transfer from its result."""
    from rctheory.transfer.undoing import undo_transfer

    with writing() as tell:
        written = undo_transfer(checkpoint, target, report_progress=tell)
    say_written(written)
