"""The pages, from made-up evidence: complete, self-contained, and the same every time."""

import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.text import Text

from rctheory.report import maps
from rctheory.report.curves import rate_picture
from rctheory.report.graph import claim_graph
from rctheory.report.maps import table_picture
from rctheory.report.pages import write_report
from rctheory.suite.evidence import load_evidence, save_evidence
from rctheory.suite.record import ProofRecord, ProofStatus, Status
from tests.report.synthetic import STEP, evidence, p_value_map


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report of the made-up evidence, read back from its file as `rctheory report` does."""
    path = tmp_path_factory.mktemp("report")
    save_evidence(path / "evidence.json", evidence())
    write_report(load_evidence(path), path)
    return path


class Reader(HTMLParser):
    """Collects tags, links and text, and checks that tags close in order."""

    VOID = frozenset({"meta", "img", "br", "link", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(folder: Path) -> Reader:
    """Parse index.html."""
    reader = Reader()
    reader.feed((folder / "index.html").read_text())
    assert reader.stack == []
    return reader


def test_the_page_is_self_contained(folder, page):
    for tag, attributes in page.seen:
        assert tag not in ("script", "link", "iframe", "object")
        for key in ("src", "href", "srcset"):
            value = attributes.get(key, "#")
            assert value.startswith(("#", "data:image/png;base64,")), value
    assert not re.search(r"@import|url\(", (folder / "index.html").read_text())


def test_every_link_inside_the_page_has_its_target(page):
    targets = {attributes["id"] for _, attributes in page.seen if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in page.seen if tag == "a"}
    assert links <= targets
    assert {record.id for record in evidence().claims} <= links


def test_contents(page):
    assert "3 of 4 claims supported; refuted: transfer.rate; 1 of 2 planted errors caught." in page.text
    for part in ("−0.501", "[−0.518, −0.484]", "slope −1/2 ± 0.05", "1 of 1", "3.10e−15", "none rejected at"):
        assert part in page.text
    assert "Six widths, doubling." in page.text
    assert "the difference vanishes" in page.text
    tags = [tag for tag, _ in page.seen]
    assert tags.count("img") == 3
    assert tags.count("svg") == 1
    assert tags.count("math") >= 5  # statements, in two places, and steps
    assert "Transfer costs" in page.text
    assert "& <b>" in page.text  # escaped


def test_markdown_shows_its_pictures(folder):
    text = (folder / "report.md").read_text()
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) == 3
    assert all((folder / name).is_file() for name in pictures)
    assert "| width.lln | ✓ supported | slope |" in text
    assert r"$$\operatorname{Var}" in text
    assert "\n\n\n\n" not in text


def test_pictures_are_png_of_sensible_size(folder):
    for path in (folder / "figures").glob("*.png"):
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", data[16:24])
        assert 400 < width < 1300
        assert 300 < height < 1300
        assert b"Software" not in data


def test_the_report_is_small_and_rebuilt_byte_for_byte(folder, tmp_path):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1_000_000
    write_report(load_evidence(folder / "evidence.json"), tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()


def test_pictures_of_an_older_report_do_not_stay(folder, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.png").write_bytes(b"")
    write_report(replace(evidence(), claims=evidence().claims[:1]), tmp_path)
    assert not (tmp_path / "figures" / "old.png").exists()


@pytest.mark.parametrize("status", list(Status))
def test_every_status_makes_a_page(tmp_path, status):
    whole = evidence()
    first = replace(
        whole.claims[0], status=status, estimate=float("nan"), message="weights <are> NaN", traceback="line 1"
    )
    write_report(replace(whole, claims=(first,)), tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert f'class="status {status.value}"' in text
    assert "weights &lt;are&gt; NaN" in text


def test_a_failed_proof_shows_where_it_fails(tmp_path):
    whole = evidence()
    proof = ProofRecord(ProofStatus.FAILED, steps=(STEP,), message="step 2 does not hold")
    write_report(replace(whole, claims=(replace(whole.claims[0], proof=proof),)), tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert "step 2 does not hold" in text
    assert "does not hold</span>" in text


def test_the_graph_marks_what_rests_on_unsupported_claims():
    whole = evidence()
    broken = replace(whole.claims[0], status=Status.REFUTED)
    text = claim_graph(replace(whole, claims=(broken, *whole.claims[1:])))
    assert "width.lln: supported; rests on sum.exact" in text
    assert text.count("stroke-dasharray") == 1


def test_the_graph_routes_long_lines_around_claims_and_drops_implied_ones():
    claim = evidence().claims[0]
    uses = {
        "a.top": ("a.left", "a.right", "a.low"),
        "a.left": ("a.mid",),
        "a.mid": ("a.low",),
        "a.right": ("a.low",),
        "a.low": (),
    }
    claims = tuple(replace(claim, id=name, uses=below) for name, below in uses.items())
    svg = claim_graph(replace(evidence(), claims=claims))
    assert svg.count("<path") == 5  # of six: top to low is implied
    assert svg.count("<rect") == 5
    (bent,) = (path for path in re.findall(r'd="([^"]+)"', svg) if "V" in path)  # right to low crosses the row of mid
    lane = int(re.search(r"(\d+),\d+ V", bent).group(1))
    left, width = map(int, re.search(r'<rect x="(\d+)" y="\d+" width="(\d+)"[^>]*/><text[^>]*>✓ a.mid', svg).groups())
    assert not left <= lane <= left + width


def test_pictures_only_where_there_is_something_to_draw():
    exact, rate, axes, _ = evidence().claims
    assert rate_picture("a", exact.gates[0], ()) is None
    assert "geometric mean of the sizes" in rate_picture("a", rate.gates[0], rate.controls).caption
    assert table_picture("a", 0, exact.tables[0]) is None
    assert "Hatched" in table_picture("a", 0, axes.tables[0]).caption
    assert table_picture("a", 0, replace(p_value_map(), kind="text")) is None
    full = replace(p_value_map(8, 9), kind="value")
    assert table_picture("a", 0, full) is not None


def test_numbers_that_span_decades_have_a_log_colour_scale():
    def caption(low, high):
        values = tuple(tuple(low + (high - low) * (i + j) / 15 for j in range(9)) for i in range(8))
        return table_picture("a", 0, replace(p_value_map(8, 9), kind="value", values=values)).caption

    assert "Log colour scale." in caption(2.0, 76.0)
    assert "Log" not in caption(2.0, 39.0)
    assert "Log" not in caption(0.0, 76.0)


def test_a_map_without_any_value_is_still_a_map():
    table = p_value_map(10, 9)
    empty = tuple(tuple(float("nan") for _ in row) for row in table.values)
    assert table_picture("a", 0, replace(table, values=empty)).png
    assert table_picture("a", 0, replace(table, values=empty, kind="value")).png


@pytest.mark.parametrize("columns", [5, 9])
def test_a_title_longer_than_its_map_is_written_in_full(monkeypatch, columns):
    drawn = []

    def keep(figure, _colours):
        figure.draw_without_rendering()
        drawn.append(figure)
        return b"picture"

    monkeypatch.setattr(maps, "png", keep)
    title = "interaction, its share of the variance if it has one factor (negative: rows repel)"
    title += ", a row for each layer and a column for each of its matrices"
    assert table_picture("a", 0, replace(p_value_map(10, columns), title=title)).png == b"picture"
    (figure,) = drawn
    (written,) = [text for text in figure.findobj(Text) if title in text.get_text().replace("\n", " ")]
    box = written.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= figure.axes[0].get_window_extent().y1
