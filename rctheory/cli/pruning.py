"""`rctheory prune`: shrink a model on calibration text, without training it."""

from pathlib import Path
from typing import Annotated

import typer

from rctheory.cli.changes import read_widths
from rctheory.cli.reading import read_dtype, read_text


def prune(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A causal language model: folder, file or packaged name.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to be made; it must not exist.")],
    changes: Annotated[
        list[str], typer.Option("--set", metavar="AXIS=WIDTH", help="A smaller width, such as ffn=768; repeat it.")
    ],
    text: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Calibration text, of what the model will read; repeat it."),
    ] = None,
    select: Annotated[
        str, typer.Option(help="How units are chosen: elimination, importance, herding, quantisation.")
    ] = "elimination",
    tokens: Annotated[int, typer.Option(min=2, help="Most tokens of text.")] = 32768,
    generated: Annotated[
        int, typer.Option(min=0, help="Tokens that the model writes itself, so that other kinds are not forgotten.")
    ] = 16384,
    influence: Annotated[
        int,
        typer.Option(min=0, help="Tokens on which gradients say what directions matter; 0: none, all alike."),
    ] = 4096,
    epochs: Annotated[
        int,
        typer.Option(min=0, help="Passes that fit what makes feed-forward units, given 8 tokens a unit; 0: none."),
    ] = 2,
    window: Annotated[int, typer.Option(min=2, help="Most tokens read at once; of a short text better 256.")] = 1024,
    seed: Annotated[int, typer.Option(help="Root of the generated text and of sampled labels.")] = 0,
    untie: Annotated[
        bool, typer.Option("--untie", help="Residual stream: give a tied head weights of its own; closer, and larger.")
    ] = False,
    dtype: Annotated[str | None, typer.Option(help="float32, float16, bfloat16, float64 [default: as stored].")] = None,
    verify: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A text, or a file with one: run source and result on it.")
    ] = None,
) -> None:
    """Shrink a model without training it whole: keep the units that the others cannot replace, and refit them.

    Layer by layer, on calibration text: what reads the units by least squares on the already shrunk stream against the
    original's, and in feed-forward layers what makes them too, by gradients of one layer (--epochs 0: not). For axes
    that one matrix reads, ffn and groups of heads, or for the residual stream of models with RMSNorm, of which the
    principal directions are kept. The result loads in transformers. Calibrate on what the model will read: other kinds
    of text pay more.
    """
    from rctheory.calibration.pruning import Calibration
    from rctheory.calibration.pruning import prune as prune_checkpoint
    from rctheory.checkpoints.folder_writer import require_free
    from rctheory.checkpoints.sources import open_checkpoint
    from rctheory.cli.progress import interruptible, stages
    from rctheory.cli.transfer_display import say_verified, say_written
    from rctheory.transfer.verification import require_text

    stored = read_dtype(dtype)
    require_free(target)
    how = Calibration(select, tokens, generated, window, influence=influence, seed=seed, epochs=epochs, untie=untie)
    with open_checkpoint(source) as checkpoint:
        if verify is not None:
            require_text(checkpoint, read_text(verify))
        widths = read_widths(changes, checkpoint.layout)
        with interruptible(), stages() as tell:
            found = prune_checkpoint(
                checkpoint,
                widths,
                text or [],
                target,
                how,
                dtype=stored,
                report_progress=tell,
            )
        moved = any(fitted.makers for fitted in found.fitted.values())
        chosen = f"units chosen by {select}, {'what makes and reads them' if moved else 'their readers'} refitted"
        if found.stream is not None:
            kept = f"{found.stream.frame.captured:.1%} of its mean square"
            chosen = f"principal directions of the residual stream, {kept}; readers and writers refitted"
        typer.echo(f"calibrated on {found.tokens} tokens; {chosen}")
        say_written(found.written)
        if verify is not None:
            say_verified(checkpoint, target, found.plan, read_text(verify))
