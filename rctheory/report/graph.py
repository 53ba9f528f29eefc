"""The graph of claims as inline SVG: what rests on what, with computed status."""

import html

from rctheory.report.summary import foundation
from rctheory.suite.evidence import Evidence
from rctheory.suite.record import ClaimRecord, Status

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 186, 34, 18, 52, 8
MARKS = {
    Status.SUPPORTED: "✓",
    Status.INCONCLUSIVE: "?",
    Status.REFUTED: "✗",
    Status.ERROR: "!",
    Status.NOT_RUN: "–",
}


def claim_graph(evidence: Evidence) -> str:
    """Draw claims in layers, foundations at the bottom; a dashed border marks one that rests on unsupported claims."""
    levels = _levels(evidence)
    rows = max(levels.values(), default=0) + 1
    layers = [[record for record in evidence.claims if levels[record.id] == level] for level in range(rows)]
    most = max((len(layer) for layer in layers), default=1)
    width = most * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    height = rows * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    places = {}
    for level, layer in enumerate(layers):
        start = (width - len(layer) * (WIDTH + GAP_X) + GAP_X) / 2
        for i, record in enumerate(layer):
            places[record.id] = (start + i * (WIDTH + GAP_X), height - MARGIN - HEIGHT - level * (HEIGHT + GAP_Y))
    edges = "".join(_edge(places[used], places[r.id]) for r in evidence.claims for used in r.uses if used in places)
    nodes = "".join(_node(evidence, record, places[record.id]) for record in evidence.claims)
    label = "Claims and what they rest on"
    return (
        f'<svg class="graph" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" '
        f'aria-label="{label}">{edges}{nodes}</svg>'
    )


def _levels(evidence: Evidence) -> dict[str, int]:
    """Return the length of the longest chain below each claim."""
    by_id = {record.id: record for record in evidence.claims}
    levels: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in levels:
            levels[name] = 1 + max((level(used) for used in by_id[name].uses if used in by_id), default=-1)
        return levels[name]

    for name in by_id:
        level(name)
    return levels


def _edge(low: tuple[float, float], high: tuple[float, float]) -> str:
    """Draw a curve from the top of what is used to the bottom of what uses it."""
    x1, y1, x2, y2 = low[0] + WIDTH / 2, low[1], high[0] + WIDTH / 2, high[1] + HEIGHT
    bend = GAP_Y * 0.6
    return f'<path d="M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 - bend:.0f} {x2:.0f},{y2 + bend:.0f} {x2:.0f},{y2:.0f}"/>'


def _node(evidence: Evidence, record: ClaimRecord, place: tuple[float, float]) -> str:
    weak = foundation(evidence, record).unsupported
    dash = ' stroke-dasharray="4 3"' if weak else ""
    title = f"{record.id}: {record.status.value}" + (f"; rests on {', '.join(weak)}" if weak else "")
    x, y = place
    return (
        f'<a href="#{html.escape(record.id)}"><g class="{record.status.value}"><title>{html.escape(title)}</title>'
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="5"{dash}/>'
        f'<text x="{x + WIDTH / 2:.0f}" y="{y + HEIGHT / 2 + 4:.0f}">{MARKS[record.status]} {html.escape(record.id)}'
        "</text></g></a>"
    )
