"""The graph of claims as inline SVG: what rests on what, with computed status."""

import html
from collections.abc import Mapping
from itertools import pairwise

from rctheory.report.summary import foundation
from rctheory.suite.evidence import Evidence
from rctheory.suite.record import ClaimRecord, Status

HEIGHT, GAP_X, GAP_Y, MARGIN, LANE = 34, 18, 48, 8, 12
CHARACTER = 7.9  # width of a letter at the size of the style sheet, generously
MARKS = {
    Status.SUPPORTED: "✓",
    Status.INCONCLUSIVE: "?",
    Status.REFUTED: "✗",
    Status.ERROR: "!",
    Status.NOT_RUN: "–",
}
Uses = Mapping[str, tuple[str, ...]]
Place = tuple[float, float]


def claim_graph(evidence: Evidence) -> str:
    """Draw foundations at the bottom; a dashed border marks a claim that rests on unsupported ones."""
    uses = _reduced({record.id: record.uses for record in evidence.claims})
    rows = _rows(uses)
    lanes = {(user, used): _lane(user, used, rows) for user in uses for used in uses[user]}
    layers = _ordered(rows, lanes)
    box = max((CHARACTER * len(name) for name in uses), default=0.0) + 36
    places, width = _places(layers, dict.fromkeys(uses, box))
    height = len(layers) * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    edges = "".join(_edge([places[item] for item in lane]) for lane in lanes.values())
    nodes = "".join(_node(evidence, record, places[record.id], box) for record in evidence.claims)
    return (
        f'<svg class="graph" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" '
        f'aria-label="Claims and what they rest on">{edges}{nodes}</svg>'
    )


def _reduced(uses: Uses) -> Uses:
    """Keep the claims of this run only, and drop every line that a longer way implies."""
    known = {name: tuple(used for used in below if used in uses) for name, below in uses.items()}

    def reach(name: str) -> set[str]:
        return set(known[name]).union(*(reach(used) for used in known[name]))

    return {
        name: tuple(used for used in below if not any(used in reach(other) for other in below if other != used))
        for name, below in known.items()
    }


def _rows(uses: Uses) -> dict[str, int]:
    """Return the row of each claim, counted from the top: one below the lowest claim that uses it."""
    users = {name: [user for user in uses if name in uses[user]] for name in uses}

    def row(name: str) -> int:
        return 1 + max((row(user) for user in users[name]), default=-1)

    return {name: row(name) for name in uses}


def _lane(user: str, used: str, rows: Mapping[str, int]) -> list[str]:
    """Return the stops of a line: its ends, and a free lane in each row that it crosses."""
    crossed = [f"{user}>{used}@{row}" for row in range(rows[user] + 1, rows[used])]
    return [user, *crossed, used]


def _ordered(rows: Mapping[str, int], lanes: Mapping[tuple[str, str], list[str]]) -> list[list[str]]:
    """Order claims and lanes of each row by the mean place of what is joined to them above."""
    layers: list[list[str]] = [[] for _ in range(max(rows.values(), default=0) + 1)]
    for name, row in rows.items():
        layers[row].append(name)
    above: dict[str, list[str]] = {}
    for (user, _), lane in lanes.items():
        for step, (high, low) in enumerate(pairwise(lane)):
            above.setdefault(low, []).append(high)
            if low != lane[-1]:
                layers[rows[user] + 1 + step].append(low)
    for upper, lower in pairwise(layers):
        place = {item: (i + 0.5) / len(upper) for i, item in enumerate(upper)}
        lower.sort(key=lambda item: sum(place[high] for high in above[item]) / len(above[item]))
    return layers


def _places(layers: list[list[str]], boxes: Mapping[str, float]) -> tuple[dict[str, Place], float]:
    """Return the top middle of every box and lane, and the width of the picture."""
    wide = {item: boxes.get(item, LANE) for layer in layers for item in layer}
    totals = [sum(wide[item] + GAP_X for item in layer) - GAP_X for layer in layers]
    width = max(totals, default=0) + 2 * MARGIN
    places = {}
    for row, (layer, total) in enumerate(zip(layers, totals, strict=True)):
        left = (width - total) / 2
        for item in layer:
            places[item] = (left + wide[item] / 2, float(MARGIN + row * (HEIGHT + GAP_Y)))
            left += wide[item] + GAP_X
    return places, width


def _edge(stops: list[Place]) -> str:
    """Draw a smooth line down through the stops, straight where it crosses a row."""
    x, y = stops[0][0], stops[0][1] + HEIGHT
    path, bend = f"M{x:.0f},{y:.0f}", GAP_Y * 0.55
    for x2, y2 in stops[1:]:
        path += f" C{x:.0f},{y + bend:.0f} {x2:.0f},{y2 - bend:.0f} {x2:.0f},{y2:.0f}"
        x, y = x2, y2 + HEIGHT
        if (x2, y2) != stops[-1]:
            path += f" V{y:.0f}"
    return f'<path d="{path}"/>'


def _node(evidence: Evidence, record: ClaimRecord, place: Place, width: float) -> str:
    weak = foundation(evidence, record).unsupported
    dash = ' stroke-dasharray="4 3"' if weak else ""
    title = f"{record.id}: {record.status.value}" + (f"; rests on {', '.join(weak)}" if weak else "")
    x, y = place
    return (
        f'<a href="#{html.escape(record.id)}"><g class="{record.status.value}"><title>{html.escape(title)}</title>'
        f'<rect x="{x - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="5"{dash}/>'
        f'<text x="{x:.0f}" y="{y + HEIGHT / 2 + 4:.0f}">{MARKS[record.status]} {html.escape(record.id)}'
        "</text></g></a>"
    )
