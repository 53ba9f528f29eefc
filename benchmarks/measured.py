"""Time and memory of a piece of Python in a process of its own: nothing that ran before counts."""

import json
import subprocess
import sys
from typing import Any

_TEMPLATE = """
import json, resource, sys, time

def peak_bytes():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # VmHWM belongs to this program alone; ru_maxrss would carry over the peak of the parent that started it.
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

{setup}
before, start, start_cpu = peak_bytes(), time.perf_counter(), time.process_time()
{work}
seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
result = {{"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_bytes() - before, **extra}}
print(json.dumps(result), file=sys.__stdout__)
"""


def measure(setup: str, work: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """Run `setup`, then `work`, in a new process.

    Args:
        setup: imports and what else shall not count; it leaves a dictionary `extra` for the result.
        work: what is measured; it may add to `extra`.
        arguments: `sys.argv[1:]` of the process.
        python: its interpreter.

    Returns:
        `extra` with `seconds` on the clock, `cpu_seconds` over all threads, and `peak_bytes`: resident memory at its
        highest, beyond what it was after `setup`.
    """
    program = _TEMPLATE.format(setup=setup, work=work)
    run = subprocess.run([python, "-c", program, *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{python} failed:\n{run.stderr.strip()[-2000:]}")
    return json.loads(run.stdout.strip().splitlines()[-1])
