"""An inspection for people: one line for each kind of axis, one for each contradiction."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from rctheory.inspection.hypotheses import Kind
from rctheory.inspection.inspection import LEVEL, AxisFinding, Finding, Inspection


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print what the weights show about each axis, and whether that is what the architecture declares."""
    console.print(
        f"[bold]{inspection.source}[/]: {inspection.architecture}, {inspection.layers} layers, "
        f"{inspection.parameters / 1e6:.1f} million weights"
    )
    console.print(
        f"Does the order of the units carry anything? Exact permutation tests, {inspection.permutations} permutations; "
        f"p-values Holm-adjusted over {len(inspection.axes)} axes, level {LEVEL:g}."
    )
    table = Table("axis", "units", "declared", "largest |z|", "adjusted p", "the weights are")
    for column in table.columns[1:5]:
        column.justify = "right"
    groups: dict[tuple[str, Kind], list[AxisFinding]] = {}
    for axis in inspection.axes:
        groups.setdefault((axis.hypothesis.axis.path, axis.hypothesis.kind), []).append(axis)
    for (path, kind), axes in groups.items():
        table.add_row(*_row(path, kind, axes))
    console.print(table)
    for axis in inspection.axes:
        if axis.finding is Finding.CONTRADICTED:
            worst = max(axis.test.scores, key=lambda label: abs(axis.test.scores[label]))
            z = axis.test.scores[worst]
            console.print(f"[red]{axis.hypothesis.name}: p = {axis.adjusted:.2g}, most in {worst} (z = {z:.1f})[/]")
    if inspection.consistent:
        console.print("[green]The weights are consistent with the symmetry that the architecture declares.[/]")
    else:
        console.print("[red]The weights contradict the symmetry that the architecture declares.[/]")


def _row(path: str, kind: Kind, axes: Sequence[AxisFinding]) -> list[str]:
    """Summarise the findings of one axis in all layers."""
    first = axes[0].hypothesis
    name = {
        Kind.ALONE: path,
        Kind.FLAT: f"units of {path}, nesting ignored",
        Kind.INSIDE: f"{first.axis.name} inside {first.axis.parent.name}" if first.axis.parent else f"whole {path}s",
    }[kind]
    places = (
        "all layers pooled" if kind is Kind.INSIDE else f"{len(axes)} layers" if first.layer is not None else "model"
    )
    p_values = [axis.adjusted for axis in axes]
    low, high = min(p_values), max(p_values)
    counts = Counter(axis.finding for axis in axes)
    findings = [f"{finding}" if len(counts) == 1 else f"{finding}: {count}" for finding, count in counts.items()]
    return [
        f"{name} ({places})",
        str(first.units),
        "exchangeable" if first.declared else "ordered",
        f"{max(axis.test.statistic for axis in axes):.1f}",
        f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}",
        "; ".join(findings),
    ]
