"""JUnit XML: one case for each claim and control."""

from xml.etree import ElementTree as ET

from rctheory.suite.junit import write_junit
from rctheory.suite.session import Session


def cases(toy, session: Session) -> dict[str, ET.Element]:
    """Run and read back."""
    path = toy.folder / "junit.xml"
    write_junit(path, session.run())
    suite = ET.parse(path).getroot().find("testsuite")
    found = {case.get("name"): case for case in suite.findall("testcase")}
    assert int(suite.get("tests")) == len(suite)
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(key)) == len(suite.findall(f"testcase/{tag}"))
    return found


def test_outcomes(toy):
    toy.claim("toy.good").claim("toy.bad", "BAD", control="TOLD").claim("toy.crash", "CRASH").claim(
        "toy.open", "DOUBTFUL"
    )
    found = cases(toy, toy.session())
    assert len(found["toy.good"]) == 0
    assert found["toy.bad"].find("failure").get("type") == "refuted"
    assert "error: 1.0, expected <= 1e-06" in found["toy.bad"].find("failure").get("message")
    assert found["toy.open"].find("failure").get("type") == "inconclusive"
    assert "ZeroDivisionError" in found["toy.crash"].find("error").text
    assert found[f"{toy.module}:TOLD"].find("failure").get("type") == "green"


def test_what_was_not_run_is_skipped_and_control_characters_are_dropped(toy):
    toy.claim("toy.one")
    session = toy.session()
    path = toy.folder / "junit.xml"
    write_junit(path, session.evidence)
    assert ET.parse(path).getroot().find("testsuite/testcase/skipped") is not None
    toy.proof("toy.square", factor="3")
    module = next(toy.folder.glob("toy_proof_*.py"))
    module.write_text(module.read_text().replace("is not", "is\\x00 not"))
    assert "the square of x + 1 is not" in cases(toy, toy.session())["toy.square"].find("failure").get("message")
