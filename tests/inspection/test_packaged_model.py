"""The packaged Llama model: its symmetry, and the memory that reading it takes."""

import json
import subprocess
import sys

import pytest

PROBE = """
import json, resource, sys
import gguf, scipy, torch
import rctheory.inspection.inspection as inspection

def peak_bytes():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    # VmHWM belongs to this program alone; ru_maxrss would carry over the peak of the parent that started it.
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

result = inspection.inspect_source("smollm2").as_dict() if sys.argv[1] == "inspect" else None
json.dump({"peak": peak_bytes(), "result": result}, sys.stdout)
"""

LARGEST_TENSOR = 49152 * 576 * 4  # bytes of the embedding in float32


def probe(what: str) -> dict[str, object]:
    """Run the probe in a program of its own."""
    command = [sys.executable, "-c", PROBE, what]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def inspected() -> dict[str, object]:
    """Inspect the packaged model once."""
    return probe("inspect")


def test_peak_memory_is_clearly_under_three_times_the_largest_tensor(inspected: dict[str, object]) -> None:
    """Beyond the interpreter and the libraries; the matrix and one copy of it are two, work of blocks the rest."""
    beyond = inspected["peak"] - probe("import")["peak"]
    assert 0 < beyond < 2.8 * LARGEST_TENSOR


def test_the_weights_have_the_declared_symmetry(inspected: dict[str, object]) -> None:
    """Family-wise 1%: residual, every feed-forward axis, values inside heads exchangeable; heads and keys ordered."""
    result = inspected["result"]
    findings = {axis["subject"]: axis["finding"] for axis in result["statistics"]["order"]["rows"]}
    exchangeable = {"residual", "group", "group/head", "group/value_dim", *(f"layers.{k}.ffn" for k in range(30))}
    ordered = {"group/key_dim", *(f"layers.{k}.group (flat)" for k in range(30))}
    assert {a for a, finding in findings.items() if finding == "exchangeable, as declared"} == exchangeable
    assert {a for a, finding in findings.items() if finding == "ordered, as declared"} == ordered
    assert result["consistent"]
