"""`rctheory transfer`: move the weights of a model to other widths, without training."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rctheory.cli.changes import read_widths
from rctheory.errors import UsageError

if TYPE_CHECKING:
    from rctheory.architectures.layout import Layout
    from rctheory.checkpoints.checkpoint import Checkpoint
    from rctheory.transfer.apply import Written
    from rctheory.transfer.transfer_plan import TransferPlan

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


def transfer(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A model: folder, file or packaged name, as for inspect.")
    ],
    target: Annotated[
        Path | None, typer.Argument(metavar="TARGET", help="The folder to be made; it must not exist.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="AXIS=WIDTH", help="A new width, such as ffn=3072; repeat it.")
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(
            help="balanced (exact when it grows), iid, without-replacement, stratified, weighted; generative: new "
            "neurons, drawn from the fitted law [default: balanced]."
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(help="Symmetry-breaking noise that no output sees, relative to the weights [default: 0]."),
    ] = None,
    smoothing: Annotated[
        float | None, typer.Option(help="Of generative latents: from 0, as fitted, to 1, normal [default: 0].")
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="Most directions of a generative mean kernel [default: all that stand out].")
    ] = None,
    residual: Annotated[
        bool | None,
        typer.Option(
            "--residual/--no-residual", help="A fresh residual, or the generative mean kernel alone [default: fresh]."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Root of every random number [default: 0].")] = None,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Replay this plan, or the record of an earlier transfer.")
    ] = None,
    save_plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the plan as JSON.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16, bfloat16, float64 [default: as stored].")] = None,
    verify: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A text, or a file with one: run source and result on it.")
    ] = None,
    undo: Annotated[bool, typer.Option(help="Join the copies of an exact transfer: SOURCE is its result.")] = False,
    legal: Annotated[bool, typer.Option(help="Print the legal widths of SOURCE and leave.")] = False,
) -> None:
    """Grow or shrink a model without training it, by sampling its units.

    The balanced design keeps every unit: copies share what reads them, norms and tied heads are made good for, and the
    function does not change. Weights are streamed; TARGET appears only when it is complete.
    """
    from rctheory.checkpoints.folder_writer import require_free
    from rctheory.checkpoints.sources import open_checkpoint

    drawing = {"design": design, "noise": noise, "seed": seed}
    options = {name: value for name, value in drawing.items() if value is not None}
    generating = {"smoothing": smoothing, "rank": rank, "residual": residual}
    generative = {name: value for name, value in generating.items() if value is not None}
    others = bool(changes or plan or save_plan or dtype or verify is not None or options or generative)
    if legal and (target or undo or others):
        raise UsageError("--legal with a transfer", "--legal SOURCE alone", "look first, then transfer")
    if undo and others:
        raise UsageError("--undo with options of a new transfer", "--undo alone", "undo first, then transfer again")
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}", f"one of {', '.join(DTYPES)}", "choose one of these")
    _require_together(design, generative, {"noise": noise, "plan": plan, "save-plan": save_plan})
    if target is not None:
        require_free(target)
    elif save_plan is None and not legal:
        raise UsageError("no TARGET", "a folder to be made", "name it, or ask for --save-plan alone")
    with open_checkpoint(source) as checkpoint:
        if legal:
            _print_legal(checkpoint.layout)
        elif undo:
            _undo(checkpoint, _require_target(target))
        elif design == "generative":
            _generate(
                checkpoint, changes or [], _require_target(target), dtype, verify, {**generative, "seed": seed or 0}
            )
        else:
            drawn = _plan(checkpoint, changes or [], plan, options)
            _run(checkpoint, drawn, target, save_plan, dtype, verify)


def _require_target(target: Path | None) -> Path:
    """Return the target, which must be named."""
    if target is None:
        raise UsageError("no TARGET", "a folder to be made", "name it")
    return target


def _plan(checkpoint: "Checkpoint", changes: list[str], plan: Path | None, options: dict[str, Any]) -> "TransferPlan":
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


def _run(
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


def read_text(text: str) -> str:
    """Return a text, or what is in the file of that name."""
    is_file = os.path.isfile(text)  # a text is too long for a path, which pathlib calls an error
    return Path(text).read_text(encoding="utf-8", errors="replace") if is_file else text


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


def _apply(checkpoint: "Checkpoint", plan: "TransferPlan", target: Path, dtype: str | None, text: str | None) -> None:
    """Write the target, say what was done, and compare where that was asked for."""
    from rctheory.transfer.apply import apply_transfer

    with _bar() as tell:
        written = apply_transfer(checkpoint, plan, target, dtype=DTYPES[dtype] if dtype else None, report_progress=tell)
    _print_plan(plan)
    say_written(written)
    if text is not None:
        say_verified(checkpoint, target, plan, read_text(text))


def _require_together(design: str | None, generative: dict[str, Any], copying: dict[str, Any]) -> None:
    """Refuse options of new units where old ones are copied, and of copies where new ones are drawn."""
    if design != "generative":
        for name in generative:
            raise UsageError(f"--{name} without new units", "--design generative beside it", "add or remove it")
    elif given := [name for name, value in copying.items() if value is not None]:
        found = f"--design generative with --{given[0]}"
        raise UsageError(found, "one of them", "seed and options draw the same units again")


def _generate(
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
    widths, chosen = read_widths(changes, checkpoint.layout), DTYPES[dtype] if dtype else None
    with _bar() as tell:
        written, fits = apply_generation(checkpoint, widths, target, dtype=chosen, report_progress=tell, **options)
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


def say_written(written: "Written") -> None:
    """Say what was written, and what a user should know about it."""
    typer.echo(f"{written.target}: {written.parameters / 1e6:.1f} million weights, {written.n_bytes / 1e6:.0f} MB")
    if written.cast_error:
        typer.echo(f"rounding to the stored dtype: {written.cast_error:.2g} of the root mean square of the weights")
    for remark in written.remarks:
        typer.echo(remark)


def say_verified(checkpoint: "Checkpoint", target: Path, plan: "TransferPlan | None", text: str) -> None:
    """Run both models on a text."""
    from rctheory.transfer.verification import verify_transfer

    found = verify_transfer(checkpoint, target, plan, text)
    typer.echo(
        f"{found.outputs} of {found.tokens} tokens differ by at most {found.difference:.3g}, "
        f"{found.relative:.2g} of their range"
    )
    if found.source_loss == found.source_loss:
        typer.echo(f"loss {found.source_loss:.6f} before, {found.target_loss:.6f} after")


def _undo(checkpoint: "Checkpoint", target: Path) -> None:
    """Write the source of a transfer from its result."""
    from rctheory.transfer.undoing import undo_transfer

    with _bar() as tell:
        written = undo_transfer(checkpoint, target, report_progress=tell)
    say_written(written)


def _print_plan(plan: "TransferPlan") -> None:
    """Say how each axis changes."""
    from rich.table import Table

    from rctheory.cli.display import make_console

    table = Table("axis", "source", "target", "units")
    for axis, size in plan.sizes.items():
        if plan.targets[axis] != size:
            kept = all(p.exact for name, p in plan.axes.items() if name.rpartition(".")[2].rpartition("/")[2] == axis)
            words = "every unit kept: exact" if kept else f"a sample ({plan.design}): the function changes"
            table.add_row(axis, str(size), str(plan.targets[axis]), words)
    make_console().print(table)


def _print_legal(layout: "Layout") -> None:
    """Print the widths that each axis may have, up to four times its own."""
    from rich.table import Table

    from rctheory.cli.display import make_console
    from rctheory.transfer.transfer_plan import grows_by_parts

    sizes = layout.sizes
    table = Table("axis", "now", "legal widths, the other axes as they are or as they follow", "grows exactly to")
    averaged = {i.axis.name: i.name for i in layout.axes.values() if i.axis.averaged}
    for axis in (name for name in sizes if name in averaged):
        legal = _ranges(layout.widths.legal(sizes, axis, 4 * sizes[axis]))
        exact = "any of them" if grows_by_parts(layout, averaged[axis]) else f"multiples of {sizes[axis]}"
        table.add_row(axis, str(sizes[axis]), legal, exact)
    make_console().print(table)


def _ranges(values: list[int]) -> str:
    """Write a list of numbers with a common step in short."""
    steps = {b - a for a, b in pairwise(values)}
    if len(values) > 6 and len(steps) == 1:
        step = steps.pop()
        return f"{values[0]}, {values[1]}, .. {values[-1]} and beyond" + (f", in steps of {step}" if step > 1 else "")
    return ", ".join(map(str, values)) or "none"


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows the bytes written as a bar on stderr; it says nothing where that is no terminal.

    Meanwhile the signal with which a scheduler ends a job interrupts like the keyboard: nothing half-written stays.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("writing", total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            yield tell
        finally:
            signal.signal(signal.SIGTERM, before)
