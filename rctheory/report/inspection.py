"""The page of an inspection: what was asked, the answers in words, maps over layers and matrices, and every number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import rctheory
from rctheory.inspection.comparing import ModelComparison
from rctheory.inspection.console import contradictions, in_words, model_in_words, summarise, summarise_order
from rctheory.inspection.inspection import LEVEL, Inspection
from rctheory.inspection.statistic import Column, Outcome, Row
from rctheory.report.drawing import Picture
from rctheory.report.inspection_pattern import pattern_picture
from rctheory.report.maps import table_picture
from rctheory.report.pages import page_templates
from rctheory.suite.experiment import Table

NAN = float("nan")
ORDER_MAPS = (
    ("p_values", "p-value", "Exact p-value of order in each tensor alone, before adjustment"),
    ("scores", "value", "Largest z of order in each tensor"),
)


@dataclass(frozen=True)
class Figure:
    """A picture with its twin in numbers; without a picture the table is printed."""

    picture: Picture | None
    table: Table


@dataclass(frozen=True)
class Sentence:
    """A sentence of the page, and whether it is bad news."""

    text: str
    bad: bool = False


@dataclass(frozen=True)
class Chapter:
    """What the template needs for one statistic."""

    outcome: Outcome
    sentences: tuple[Sentence, ...]
    heading: tuple[str, ...]
    summary: tuple[tuple[str, ...], ...]
    figures: tuple[Figure, ...]
    refusals: tuple[str, ...]


def inspection_page(inspection: Inspection) -> str:
    """Return a self-contained HTML page about one model."""
    part = ""
    if inspection.axes is not None:
        part = f", of which {in_words(inspection.inspected)} touch the axes {', '.join(inspection.axes)}"
    meta = f"Architecture {model_in_words(inspection)}{part}; seed {inspection.seed}. {inspection.rounding}".strip()
    title = f"Row-column structure of {inspection.source}"
    tone = {True: "good", False: "bad", None: ""}[inspection.consistent]
    return _page(title, headline(inspection), tone, meta, inspection.outcomes)


def comparison_page(comparison: ModelComparison) -> str:
    """Return a self-contained HTML page about two models."""
    models = (comparison.first, comparison.second)
    said = "; ".join(f"{model.source}: {model_in_words(model)}" for model in models)
    how = f"Layers are matched {comparison.matched}; {comparison.permutations} permutations, seed {comparison.seed}."
    meta = f"{said}. {how}"
    title = f"Unit laws of {models[0].source} and {models[1].source}"
    return _page(title, comparison.verdict, "", meta, (comparison.outcome,))


def _page(title: str, said: str, tone: str, meta: str, outcomes: Sequence[Outcome]) -> str:
    """Fill the template; `tone` is `good`, `bad` or, where nothing was judged, empty."""
    return (
        page_templates()
        .get_template("inspection.html.jinja")
        .render(
            title=title,
            headline=said,
            tone=tone,
            meta=meta,
            chapters=[_chapter(outcome) for outcome in outcomes],
            level=LEVEL,
            version=rctheory.__version__,
        )
    )


def headline(inspection: Inspection) -> str:
    """Say in one line how the weights compare with the declaration."""
    order = inspection.outcome("order")
    if order is None:
        return "Structure of the weights; the symmetry that the architecture declares was not tested"
    if inspection.consistent:
        return "The weights are consistent with the symmetry that the architecture declares"
    against = [row.subject for row in order.rows if row.values["finding"] == "ordered, against the declaration"]
    return f"The weights contradict the symmetry that the architecture declares: {', '.join(against)}"


def _chapter(outcome: Outcome) -> Chapter:
    """Prepare one statistic."""
    order = outcome.statistic.name == "order"
    heading, summary = summarise_order(outcome) if order else summarise(outcome)
    why = dict.fromkeys(f"{row.subject} {row.part}: {row.refusal}" for row in outcome.rows if row.refusal)
    return Chapter(
        outcome,
        _verdicts(outcome, summary) if order else (),
        tuple(heading),
        tuple(tuple(line) for line in summary),
        tuple(_order_figures(outcome) if order else _figures(outcome)),
        tuple(why),
    )


def _verdicts(outcome: Outcome, summary: Sequence[Sequence[str]]) -> tuple[Sentence, ...]:
    """Say what the order tests found, axis by axis."""
    said = {
        "exchangeable, as declared": "no order is seen: its units are interchangeable, as the architecture declares",
        "ordered, as declared": "the order carries information, as the architecture declares",
        "no order seen, none excluded": "the architecture declares an order, but these tests do not see it",
    }
    sentences = []
    for name, _, _, z, p_value, finding in summary:
        if finding in said:
            sentences.append(Sentence(f"{name}: {said[finding]} (largest |z| {z}, adjusted p {p_value})."))
    return (*sentences, *(Sentence(f"Against the declaration: {line}.", bad=True) for line in contradictions(outcome)))


def _figures(outcome: Outcome) -> list[Figure]:
    """Map every shown column over layers and matrices; the correlation pattern has a figure of its own."""
    name = outcome.statistic.name
    shown = [column for column in outcome.statistic.columns if column.shown and column.kind != "text"]
    if name == "correlations" and (picture := pattern_picture(outcome.rows)) is not None:
        return [Figure(picture, _medians(outcome.rows))]
    tables = [*(table for column in shown if (table := _layers(outcome.rows, column))), *_model(outcome.rows, shown)]
    pictures = (table_picture(f"inspect-{name}", number, table) for number, table in enumerate(tables))
    return [Figure(picture, table) for picture, table in zip(pictures, tables, strict=True)]


def _layers(rows: Sequence[Row], column: Column) -> Table | None:
    """Return a column of a statistic as layers x matrices; None where nothing belongs to a layer."""
    p_value = column.kind == "p-value"
    title = f"{column.title[0].upper()}{column.title[1:]}{', before adjustment' if p_value else ''}"
    cells = {
        (row.layer, row.label): value
        for row in rows
        if row.layer is not None and not isnan(value := _cell(row, column.key))
    }
    return _map(title, cells, "p-value" if p_value else "value") if cells else None


def _model(rows: Sequence[Row], columns: Sequence[Column]) -> list[Table]:
    """Return what belongs to no layer as one table, to be printed."""
    model = [row for row in rows if row.layer is None]
    if not model:
        return []
    values = tuple(tuple(_cell(row, column.key) for column in columns) for row in model)
    titles = tuple(column.title for column in columns)
    return [
        Table("Tensors of the model, p-values before adjustment", tuple(r.label for r in model), titles, values, "text")
    ]


def _map(title: str, cells: Mapping[tuple[int, str], float], kind: str) -> Table:
    """Return numbers by (layer, label) as layers x labels; labels of one matrix stand side by side."""
    layers, labels = sorted({layer for layer, _ in cells}), dict.fromkeys(label for _, label in cells)
    matrices = list(dict.fromkeys(label.partition(" ")[0] for label in labels))
    columns = sorted(labels, key=lambda label: (matrices.index(label.partition(" ")[0]), "column" in label))
    values = tuple(tuple(cells.get((layer, label), NAN) for label in columns) for layer in layers)
    return Table(title, tuple(f"layer {layer}" for layer in layers), tuple(columns), values, kind)


def _cell(row: Row, key: str) -> float:
    """Return a number of a row; NaN where there is none."""
    value = row.values.get(key)
    return float(value) if isinstance(value, (int, float)) else NAN


def _order_figures(outcome: Outcome) -> list[Figure]:
    """Map the p-value of every tensor dimension alone, and its score: layers x matrices x {rows, columns}."""
    figures: list[Figure] = []
    for key, kind, title in ORDER_MAPS:
        cells = _by_place(outcome.rows, key)
        if cells:
            table = _map(title, cells, kind)
            figures.append(Figure(table_picture("inspect-order", len(figures), table), table))
    return figures


def _by_place(rows: Sequence[Row], key: str) -> dict[tuple[int, str], float]:
    """Return the numbers of all tensor dimensions of the layers."""
    cells: dict[tuple[int, str], float] = {}
    for row in rows:
        numbers = row.values[key]
        for label, value in numbers.items() if isinstance(numbers, dict) else ():
            layer, short = _place(label)
            if layer is not None:
                cells[layer, short] = value
    return cells


def _place(label: str) -> tuple[int | None, str]:
    """Split the label of an array, `model.layers.3.mlp.gate_proj.weight rows`, at its layer."""
    parts = label.split(".")
    for place, part in enumerate(parts):
        if part.isdecimal():
            return int(part), ".".join(parts[place + 1 :]).replace(".weight", "")
    return None, label


def _medians(rows: Sequence[Row]) -> Table:
    """Return the numbers behind the pattern: medians over layers."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{row.pattern}: {row.part}", []).append(row)
    keys = ("correlation", "low", "high", "p_value")
    values = tuple(tuple(_median([_cell(row, key) for row in members]) for key in keys) for members in groups.values())
    columns = ("correlation", "band, low", "band, high", "p-value")
    return Table("Correlation pattern, medians over layers", tuple(groups), columns, values, "text")


def _median(values: Sequence[float]) -> float:
    finite = sorted(value for value in values if value == value)
    return finite[len(finite) // 2] if finite else NAN
