"""JUnit XML of a run, for servers of continuous integration."""

from pathlib import Path
from xml.etree import ElementTree as ET

from rctheory.suite.codec import write_atomically
from rctheory.suite.evidence import Evidence
from rctheory.suite.record import ClaimRecord, ControlRecord, ControlStatus, Status


def write_junit(path: Path, evidence: Evidence) -> None:
    """Write one test case for each claim and for each of its controls."""
    suite = ET.Element("testsuite", name="rctheory")
    for record in evidence.claims:
        _claim_case(suite, record)
        for control in record.controls:
            _control_case(suite, record, control)
    suite.set("tests", str(len(suite)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", f"{evidence.environment.seconds:.3f}")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    write_atomically(path, ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _claim_case(suite: ET.Element, record: ClaimRecord) -> None:
    own = record.seconds - sum(control.seconds for control in record.controls)
    case = ET.SubElement(suite, "testcase", classname="claims", name=record.id, time=f"{max(own, 0.0):.3f}")
    if record.status in (Status.REFUTED, Status.INCONCLUSIVE):
        measured = f"{record.gate}: {record.estimate}, expected {record.expected}" if record.gate else ""
        message = record.proof.message or measured
        ET.SubElement(case, "failure", type=record.status.value, message=_clean(message))
    elif record.status is Status.ERROR:
        ET.SubElement(case, "error", message=_clean(record.message)).text = _clean(record.traceback)
    elif record.status is Status.NOT_RUN:
        ET.SubElement(case, "skipped", message="the run was interrupted")


def _control_case(suite: ET.Element, record: ClaimRecord, control: ControlRecord) -> None:
    time = f"{control.seconds:.3f}"
    case = ET.SubElement(suite, "testcase", classname=f"controls.{record.id}", name=control.id, time=time)
    if control.status is ControlStatus.GREEN:
        ET.SubElement(case, "failure", type="green", message=_clean(f"stayed green: {control.title}"))
    elif control.status is ControlStatus.ERROR:
        ET.SubElement(case, "error", message=_clean(control.message))


def _clean(text: str) -> str:
    """Drop the characters that XML 1.0 cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff"))
