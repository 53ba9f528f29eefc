"""What `rctheory transfer` and `rctheory prune` print: plans, legal widths, what was written and how it compares."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rctheory.architectures.layout import Layout
    from rctheory.checkpoints.checkpoint import Checkpoint
    from rctheory.transfer.apply import Written
    from rctheory.transfer.transfer_plan import TransferPlan


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


def print_plan(plan: "TransferPlan") -> None:
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


def print_legal(layout: "Layout") -> None:
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
