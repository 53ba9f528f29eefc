"""The evidence file: strict JSON, one schema, exact on the way there and back."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rctheory.errors import EvidenceError
from rctheory.suite.codec import dump_json, encode, write_atomically
from rctheory.suite.evidence import load_evidence, save_evidence
from tests.report.synthetic import evidence


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the made-up evidence."""
    path = tmp_path / "evidence.json"
    save_evidence(path, evidence())
    return path


def strict(text: str) -> object:
    """Parse JSON without the tokens that JSON does not have."""

    def refuse(token: str) -> None:
        raise AssertionError(token)

    return json.loads(text, parse_constant=refuse)


def test_round_trip_is_exact(file):
    assert dump_json(load_evidence(file)) == dump_json(evidence())
    assert load_evidence(file.parent).claims[1] == evidence().claims[1]


def test_the_keys_that_others_rely_on(file):
    data = strict(file.read_text())
    assert set(data) == {"schema", "environment", "claims"}
    assert {"versions", "device", "threads", "seed", "tier", "commit", "platform"} <= set(data["environment"])
    claim = data["claims"][1]
    needed = {"id", "kind", "status", "expected", "estimate", "interval", "points", "controls", "proof", "seconds"}
    assert needed <= set(claim)
    assert {"n", "error", "se", "seeds", "scale"} == set(claim["points"][0])
    assert {"id", "status", "title", "estimate"} <= set(claim["controls"][0])
    assert {"slope", "intercept", "covariance"} <= set(claim["gates"][0]["fit"])


def test_numbers_that_are_not_finite_are_strings(file):
    assert encode([math.nan, math.inf, -math.inf, 1.5]) == ["nan", "inf", "-inf", 1.5]
    empty = load_evidence(file).claims[2].tables[0].values[1][0]
    assert math.isnan(empty)


def test_numbers_of_numpy_and_torch_become_plain():
    assert encode((np.float32(0.5), np.int64(3), torch.tensor(2.0), np.bool_(True))) == [0.5, 3, 2.0, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("schema"), "schema None"),
        (lambda data: data.update(schema="rctheory.evidence/9"), "schema 'rctheory.evidence/9'"),
        (lambda data: data.pop("environment"), "no key 'environment'"),
        (lambda data: data.update(more=1), "unknown key 'more'"),
        (lambda data: data["claims"][0].update(status="green"), r"claims\[0\].status = 'green'.*supported"),
        (lambda data: data["claims"][0].update(estimate="big"), r"claims\[0\].estimate = 'big'"),
        (lambda data: data["claims"][0].update(estimate=True), r"claims\[0\].estimate = True"),
        (lambda data: data["claims"][1].update(interval=[1.0]), r"claims\[1\].interval has 1 entries; expected 2"),
        (lambda data: data["claims"][1]["points"][0].update(n=1.5), r"points\[0\].n = 1.5"),
        (lambda data: data["claims"][1]["points"][0].pop("se"), r"points\[0\] has no key 'se'"),
        (lambda data: data.update(claims={}), "claims is dict; expected an array"),
        (lambda data: data["environment"].update(versions=[]), "versions is list; expected an object"),
    ],
)
def test_what_contradicts_the_schema_is_named(file, change, message):
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(EvidenceError, match=message) as caught:
        load_evidence(file)
    assert "\n" not in str(caught.value)


def test_nan_tokens_truncated_files_and_absent_ones_are_refused(file, tmp_path):
    text = file.read_text()
    file.write_text(text.replace('"seed": 0', '"seed": NaN'))
    with pytest.raises(EvidenceError, match="token NaN"):
        load_evidence(file)
    file.write_text(text[: len(text) // 2])
    with pytest.raises(EvidenceError, match="does not parse"):
        load_evidence(file)
    file.write_text("[]")
    with pytest.raises(EvidenceError, match="schema None"):
        load_evidence(file)
    with pytest.raises(EvidenceError, match="no evidence at"):
        load_evidence(tmp_path / "nowhere")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]
