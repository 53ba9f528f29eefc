"""How long does `rctheory inspect` take on the packaged Llama model? Beside WeightWatcher, in one run.

Run: `python benchmarks/inspect_speed.py [--model smollm2] [--repeats 5] [--peer PYTHON] [--fit]`. These are measured in
turn, each in a process of its own, imports not counted:

* one-pass screen: moments of every tensor;
* everything: every statistic that is on by default, among them all that have p-values;
* fit, with `--fit`, once: the fitted law of every matrix, which has no p-value and takes minutes;
* WeightWatcher 0.7.7: `analyze()`, that is spectra and power laws, of the same matrices without the embedding, given to
  it in memory as linear layers. PYTHON is an interpreter that has it (`pip install weightwatcher==0.7.7`) beside
  rctheory; it is no dependency of this project.

Prints one JSON object: median seconds on the clock and over all threads, ratios, and peak memory in largest tensors
(in float32).
"""

import argparse
import json
import statistics
import subprocess
import sys
from functools import partial
from typing import Any

import torch
from measured import measure

from rctheory.checkpoints.sources import open_checkpoint
from rctheory.inspection.registry import STATISTICS

INSPECT = "from rctheory.inspection.inspection import inspect_source\nimport rctheory.inspection.stream\nextra = {}"
SCREEN = "inspect_source(sys.argv[1], statistics=['screen'])"
EVERYTHING = "inspect_source(sys.argv[1], statistics=sys.argv[2].split(','))"
PEER = """
import contextlib, io, logging, warnings
warnings.simplefilter("ignore")
with contextlib.redirect_stdout(io.StringIO()):
    import weightwatcher
logging.disable(logging.CRITICAL)
from torch import nn
from rctheory.checkpoints.sources import open_checkpoint
model = nn.ModuleDict()
with open_checkpoint(sys.argv[1]) as checkpoint:
    for name, tensor in checkpoint.layout.tensors.items():
        if len(tensor.shape) == 2 and tensor.layer is not None:
            layer = nn.Linear(tensor.shape[1], tensor.shape[0], bias=False)
            layer.weight.data = checkpoint.tensor(name)
            model[name.replace(".", "_")] = layer
extra = {"matrices": len(model), "version": weightwatcher.__version__}
"""
ANALYZE = """
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    extra["rows"] = len(weightwatcher.WeightWatcher(model=model).analyze())
"""


def _has_peer(python: str) -> bool:
    """Return whether an interpreter finds WeightWatcher."""
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('weightwatcher') is None)"
    return not subprocess.run([python, "-c", probe], check=False).returncode


def main() -> None:
    """Measure all three in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    chosen = [s for s in STATISTICS if s.default or any(column.kind == "p-value" for column in s.columns)]
    names = ",".join(statistic.name for statistic in chosen)
    kinds = {
        "screen": partial(measure, INSPECT, SCREEN, options.model),
        "everything": partial(measure, INSPECT, EVERYTHING, options.model, names),
    }
    runs: dict[str, list[dict[str, Any]]] = {}
    if options.fit:
        runs["fit"] = [measure(INSPECT, EVERYTHING, options.model, "fit")]
    if _has_peer(options.peer):
        kinds["weightwatcher"] = partial(measure, PEER, ANALYZE, options.model, python=options.peer)
    else:
        how = "pip install weightwatcher==0.7.7 there, or name an interpreter that has it with --peer"
        print(f"WeightWatcher is not installed for {options.peer}, and left out; {how}", file=sys.stderr)
    with open_checkpoint(options.model) as checkpoint:
        largest = max(4 * torch.Size(tensor.shape).numel() for tensor in checkpoint.layout.tensors.values())
    runs |= {kind: [] for kind in kinds}
    for _ in range(options.repeats):
        for kind, run in kinds.items():
            runs[kind].append(run())
    seconds = {kind: statistics.median(run["seconds"] for run in measured) for kind, measured in runs.items()}
    peaks = {
        kind: statistics.median(run["peak_bytes"] for run in measured) / largest for kind, measured in runs.items()
    }
    result: dict[str, Any] = {
        "model": options.model,
        "statistics": names,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "cpu_seconds": {kind: statistics.median(run["cpu_seconds"] for run in runs[kind]) for kind in runs},
        "peak_over_largest_tensor": peaks,
    }
    if "weightwatcher" in runs:
        result["weightwatcher"] = {key: runs["weightwatcher"][0][key] for key in ("version", "matrices", "rows")}
        result["weightwatcher_over"] = {kind: seconds["weightwatcher"] / seconds[kind] for kind in runs}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
