"""An inspection for people: what was asked, the answer with its size, and where it is strongest."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rctheory.inspection.comparing import Model, ModelComparison
from rctheory.inspection.inspection import LEVEL, Finding, Inspection
from rctheory.inspection.statistic import Column, Outcome, Row

CAPTION = "median over layers (smallest … largest); of p-values, adjusted over the whole table, how many are that small"


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print what every statistic shows, and whether the weights are what the architecture declares."""
    part = f", {in_words(inspection.inspected)} of them inspected" if inspection.axes is not None else ""
    console.print(f"[bold]{escape(inspection.source)}[/]: {model_in_words(inspection)}{part}")
    if inspection.rounding:
        console.print(escape(inspection.rounding))
    for outcome in inspection.outcomes:
        console.print(f"\n[bold]{outcome.statistic.name}[/]: {escape(outcome.statistic.question)}")
        if outcome.statistic.name == "order":
            _print_table(*summarise_order(outcome), console)
            for line in contradictions(outcome):
                console.print(f"[red]{escape(line)}[/]")
        else:
            _print_table(*summarise(outcome), console, CAPTION)
        for note in (*outcome.notes, *refused(outcome)):
            console.print(escape(note))
    if inspection.consistent is True:
        console.print("[green]The weights are consistent with the symmetry that the architecture declares.[/]")
    elif inspection.consistent is False:
        console.print("[red]The weights contradict the symmetry that the architecture declares.[/]")


def model_in_words(model: Inspection | Model) -> str:
    """Return architecture and size: `llama, 30 layers, 134.5 million weights`."""
    layers = f", {model.layers} layers" if model.layers > 1 else ""
    return f"{model.architecture}{layers}, {in_words(model.parameters)} weights"


def in_words(count: int) -> str:
    """Return a large number as people say it."""
    return f"{count / 1e6:.1f} million" if count >= 1e6 else f"{count:,}".replace(",", " ")


def print_comparison(comparison: ModelComparison, console: Console) -> None:
    """Print which axes of two models follow different laws, and how far apart they are."""
    for model in (comparison.first, comparison.second):
        console.print(f"[bold]{escape(model.source)}[/]: {model_in_words(model)}")
    outcome = comparison.outcome
    console.print(f"\n[bold]{outcome.statistic.name}[/]: {escape(outcome.statistic.question)}")
    console.print(f"Layers are matched {comparison.matched}; {comparison.permutations} permutations.")
    _print_table(*summarise(outcome), console, CAPTION)
    console.print(f"{comparison.verdict}.")


def summarise_order(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Return headings, and one line for each kind of axis."""
    lines = []
    for title, rows in _groups(outcome.rows).items():
        p_values = _numbers(rows, "p_value_adjusted")
        counts = Counter(str(row.values["finding"]) for row in rows)
        lines.append(
            [
                f"{title} ({_places(rows)})",
                str(rows[0].values["units"]),
                "exchangeable" if rows[0].values["declared_exchangeable"] else "ordered",
                f"{max(_numbers(rows, 'z')):.1f}",
                _range(min(p_values), max(p_values), ".2g"),
                "; ".join(finding if len(counts) == 1 else f"{finding}: {n}" for finding, n in counts.items()),
            ]
        )
    return ["axis", "units", "declared", "largest |z|", "adjusted p", "the weights are"], lines


def summarise(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Return headings, and one line for what is called the same in all layers: median, range, small p-values."""
    columns = [column for column in outcome.statistic.columns if column.shown and column.kind != "text"]
    lines = [
        [label, _places(rows), *(_cell(rows, column) for column in columns)]
        for label, rows in _groups([row for row in outcome.rows if row.values]).items()
    ]
    return ["where", "layers", *(_heading(column) for column in columns)], lines


def refused(outcome: Outcome) -> list[str]:
    """Return a line for what was refused, and for one example of why."""
    rows = [row for row in outcome.rows if row.refusal]
    if not rows:
        return []
    return [f"Refused in {len(rows)} of {len(outcome.rows)} rows; {rows[0].subject}: {rows[0].refusal}."]


def contradictions(outcome: Outcome) -> list[str]:
    """Return a line for each axis whose order the declaration denies."""
    lines = []
    for row in outcome.rows:
        if row.values["finding"] == Finding.CONTRADICTED:
            (p_value,), place = _numbers([row], "p_value_adjusted"), str(row.values["most_in"])
            scores = row.values["scores"]
            z = scores[place] if isinstance(scores, dict) else 0.0
            lines.append(f"{row.subject}: p = {p_value:.2g}, most in {place} (z = {z:.1f})")
    return lines


def _print_table(headings: Sequence[str], lines: Sequence[Sequence[str]], console: Console, caption: str = "") -> None:
    """Print a table of text; numbers stand right."""
    table = Table(*headings, caption=caption or None, caption_justify="left")
    for number, head in enumerate(table.columns):
        left = number == 0 or head.header == "the weights are"
        head.overflow, head.justify, head.no_wrap = "fold", "left" if left else "right", number == 0
    for line in lines:
        table.add_row(*(escape(cell) for cell in line))
    console.print(table)


def _heading(column: Column) -> str:
    """Return the heading of a column."""
    return f"{column.title} ≤ {LEVEL:g}" if column.kind == "p-value" else column.title


def _cell(rows: Sequence[Row], column: Column) -> str:
    """Summarise one column over the layers; a dash where there is nothing."""
    if column.kind == "p-value":
        p_values = _numbers(rows, f"{column.key}_adjusted")
        return f"{sum(p <= LEVEL for p in p_values)} of {len(p_values)}" if p_values else "–"
    values = _numbers(rows, column.key)
    if not values:
        return "–"
    low, high = min(values), max(values)
    if column.kind == "count":
        return f"{low:g}" if low == high else f"{median(values):g} ({low:g} … {high:g})"
    return f"{low:.3g}" if low == high else f"{median(values):.3g} ({low:.2g} … {high:.2g})"


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by what they are called in every layer."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.summary_label, []).append(row)
    return groups


def _places(rows: Sequence[Row]) -> str:
    """Say where the rows are: `30 layers`, `layers pooled`, `model`."""
    layers = {row.layer for row in rows if row.layer is not None}
    if layers:
        return f"{len(layers)} layers" if len(layers) > 1 else f"layer {min(layers)}"
    return "layers pooled" if rows[0].values.get("kind") == "inside" else "model"


def _numbers(rows: Sequence[Row], key: str) -> list[float]:
    """Return the numbers under a key, of the rows that have one."""
    found = (row.values.get(key) for row in rows)
    return [float(value) for value in found if isinstance(value, (int, float)) and not isinstance(value, bool)]


def _range(low: float, high: float, form: str) -> str:
    first, last = f"{low:{form}}", f"{high:{form}}"
    return first if first == last else f"{first} to {last}"
