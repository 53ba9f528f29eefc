"""The page of an inspection: every statistic, its maps with their numbers, nothing from outside the file."""

import re
from pathlib import Path

import pytest
import torch

from rctheory.inspection.inspection import Inspection, inspect_source
from rctheory.report.inspection import headline, inspection_page
from rctheory.report.inspection_pattern import pattern_picture
from tests.checkpoints.folders import save_folder, tiny_weights

GATE = "model.layers.1.mlp.gate_proj.weight"


@pytest.fixture(scope="module")
def inspection(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """Inspect a small model with everything that runs by default."""
    return inspect_source(str(save_folder(tmp_path_factory.mktemp("model"), tiny_weights())), permutations=999)


def test_every_statistic_has_a_chapter_with_its_question(inspection: Inspection) -> None:
    page = inspection_page(inspection)
    for outcome in inspection.outcomes:
        assert f'<section id="{outcome.statistic.name}">' in page
        assert outcome.statistic.question.split(":")[0] in page
    assert '<p class="headline good">The weights are consistent with the symmetry' in page
    assert "ffn (2 layers): no order is seen" in page


def test_the_page_is_self_contained_and_every_picture_has_its_numbers(inspection: Inspection) -> None:
    page = inspection_page(inspection)
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)', page)
    assert page.count("<figure>") == page.count("<details><summary>")
    assert page.count("<figure>") == 1  # the correlation pattern; maps of two layers are small enough to print


def test_a_contradiction_is_the_headline(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights[GATE] = weights[GATE][weights[GATE].norm(dim=1).argsort()]
    found = inspect_source(str(save_folder(tmp_path, weights)), permutations=999, statistics=["order"])
    assert headline(found).endswith("contradict the symmetry that the architecture declares: layers.1.ffn")
    assert '<p class="problem">Against the declaration: layers.1.ffn' in inspection_page(found)


def test_without_the_order_no_verdict_is_given(tmp_path: Path) -> None:
    found = inspect_source(str(save_folder(tmp_path, tiny_weights())), statistics=["screen"])
    assert found.consistent is None
    page = inspection_page(found)
    assert "was not tested" in page
    assert '<p class="headline">' in page  # neither green nor red


def test_names_are_escaped(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "<b>&", tiny_weights())
    page = inspection_page(inspect_source(str(folder), statistics=["screen"]))
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def test_the_pattern_is_the_same_bytes_for_the_same_numbers(inspection: Inspection) -> None:
    rows = inspection.outcome("correlations").rows
    first, again = pattern_picture(rows), pattern_picture(rows)
    assert first.png == again.png
    assert pattern_picture([]) is None


def test_a_constant_matrix_is_refused_not_drawn_as_a_number(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights[GATE] = torch.ones_like(weights[GATE])
    found = inspect_source(str(save_folder(tmp_path, weights)), permutations=999)
    refused = {row.subject for outcome in found.outcomes for row in outcome.rows if row.refusal}
    assert GATE in refused
    assert "refusals</summary>" in inspection_page(found)
