"""`rctheory transfer`: move the weights of a model to other widths, without training."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rctheory.cli.reading import read_dtype
from rctheory.errors import UsageError


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
    from rctheory.checkpoints.sources import open_checkpoint
    from rctheory.cli import transfer_runs
    from rctheory.cli.transfer_display import print_legal

    drawing = _given(design=design, noise=noise, seed=seed)
    generative = _given(smoothing=smoothing, rank=rank, residual=residual)
    alone = not (changes or plan or save_plan or dtype or verify is not None or drawing or generative)
    _require_one_task(legal, undo, target, alone)
    _require_together(design, generative, _given(noise=noise, plan=plan, save_plan=save_plan))
    stored = read_dtype(dtype)
    _require_target(target, needed=not legal and save_plan is None)
    with open_checkpoint(source) as checkpoint:
        if legal:
            print_legal(checkpoint.layout)
        elif undo and target:
            transfer_runs.undo(checkpoint, target)
        elif design == "generative" and target:
            fresh = {**generative, "seed": seed or 0}
            transfer_runs.generate_units(checkpoint, changes or [], target, stored, verify, fresh)
        else:
            drawn = transfer_runs.plan_units(checkpoint, changes or [], plan, drawing)
            transfer_runs.run_plan(checkpoint, drawn, target, save_plan, stored, verify)


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _require_one_task(legal: bool, undo: bool, target: Path | None, alone: bool) -> None:
    """Refuse to look, to undo and to transfer at once."""
    if legal and (target or undo or not alone):
        raise UsageError("--legal with a transfer", "--legal SOURCE alone", "look first, then transfer")
    if undo and not alone:
        raise UsageError("--undo with options of a new transfer", "--undo alone", "undo first, then transfer again")


def _require_target(target: Path | None, needed: bool) -> None:
    """Refuse a target that exists, and none where one is needed."""
    from rctheory.checkpoints.folder_writer import require_free

    if target is not None:
        require_free(target)
    elif needed:
        raise UsageError("no TARGET", "a folder to be made", "name it, or ask for --save-plan alone")


def _require_together(design: str | None, generative: dict[str, Any], copying: dict[str, Any]) -> None:
    """Refuse options of new units where old ones are copied, and of copies where new ones are drawn."""
    if design != "generative":
        for name in generative:
            raise UsageError(f"--{name} without new units", "--design generative beside it", "add or remove it")
    elif given := [name for name, value in copying.items() if value is not None]:
        found = f"--design generative with --{given[0].replace('_', '-')}"
        raise UsageError(found, "one of them", "seed and options draw the same units again")
