"""The pages of a run: `index.html`, self-contained, and `report.md` with its pictures."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from rctheory.report import summary
from rctheory.report.curves import rate_picture
from rctheory.report.drawing import Picture
from rctheory.report.graph import MARKS, claim_graph
from rctheory.report.maps import table_picture
from rctheory.report.mathematics import is_wide, mathml, prose, tidy
from rctheory.suite.codec import write_atomically
from rctheory.suite.evidence import Evidence
from rctheory.suite.experiment import Table
from rctheory.suite.record import ClaimRecord

PAGE, MARKDOWN, FIGURES = "index.html", "report.md", "figures"


@dataclass(frozen=True)
class Section:
    """What the templates need for one claim."""

    record: ClaimRecord
    foundation: summary.Foundation
    pictures: tuple[Picture, ...]
    printed: tuple[Table, ...]


def write_report(evidence: Evidence, folder: Path) -> Path:
    """Make all pages in memory, then write them; return the path of `index.html`."""
    sections = [_section(evidence, record) for record in evidence.claims]
    files = render(evidence, sections)
    (folder / FIGURES).mkdir(exist_ok=True)
    for stale in (folder / FIGURES).glob("*.png"):
        if f"{FIGURES}/{stale.name}" not in files:
            stale.unlink()
    for name, content in files.items():
        write_atomically(folder / name, content)
    return folder / PAGE


def render(evidence: Evidence, sections: list[Section]) -> Mapping[str, str | bytes]:
    """Return the content of every file by its name."""
    templates = page_templates()
    shared = {
        "evidence": evidence,
        "environment": evidence.environment,
        "sections": sections,
        "headline": summary.headline(evidence),
        "marks": MARKS,
        "good": evidence.exit_code == 0,
        "figures": FIGURES,
    }
    page = templates.get_template("index.html.jinja").render(graph=claim_graph(evidence), **shared)
    files: dict[str, str | bytes] = {
        f"{FIGURES}/{picture.name}.png": picture.png for section in sections for picture in section.pictures
    }
    files[MARKDOWN] = templates.get_template("report.md.jinja").render(**shared)
    files[PAGE] = page  # last: a page is never newer than what it shows
    return files


def page_templates() -> Environment:
    """Return the templates with the filters that all pages share."""
    templates = Environment(
        loader=PackageLoader("rctheory.report"),
        autoescape=lambda name: bool(name and name.endswith(".html.jinja")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "number": summary.number,
        "interval": summary.interval,
        "seconds": summary.seconds,
        "signs": summary.signs,
        "caught": summary.caught,
        "prose": prose,
        "mathml": mathml,
        "tidy": tidy,
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
    }
    templates.tests["wide"] = is_wide
    return templates


def _section(evidence: Evidence, record: ClaimRecord) -> Section:
    curves = [rate_picture(record.id, gate, record.controls) for gate in record.gates]
    maps = [table_picture(record.id, i, table) for i, table in enumerate(record.tables)]
    printed = tuple(table for table, picture in zip(record.tables, maps, strict=True) if picture is None)
    pictures = tuple(picture for picture in (*curves, *maps) if picture is not None)
    return Section(record, summary.foundation(evidence, record), pictures, printed)
