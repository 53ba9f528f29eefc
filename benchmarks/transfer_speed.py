"""How long does a transfer take, and in how much memory? Beside `cp` of its output and cloning in memory, in one run.

Run: `python benchmarks/transfer_speed.py [--model smollm2] [--repeats 5] [--folder DIR]`. The model is widened to twice
its residual stream, groups and feed-forward units. Measured in turn, each in a process of its own, imports not counted:

* transfer: from a float32 safetensors folder;
* packaged: from the quantised file of the package, without its tokenizer;
* tokenizer: what transformers needs to convert the tokenizer of that file, which is the rest of such a transfer;
* cloning: as HyperCloning does it, all tensors loaded, tiled in memory by their names, saved with `save_file`;
* cp: a plain copy of the files that the transfer has written.

Files come from memory if there is enough, for all alike, and nothing waits for the disk. Prints one JSON object: median
seconds on the clock and over all threads, ratios to `cp`, and peak memory in largest tensors of the output.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measured import measure

from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.transfer.apply import apply_transfer
from rctheory.transfer.transfer_plan import draw_transfer

IMPORTS = """
from pathlib import Path
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.transfer import apply, companions
from rctheory.transfer.transfer_plan import draw_transfer
import rctheory.architectures.registry, rctheory.checkpoints.gguf_store, torch
extra = {}
torch.ones(1) / 2
"""
TRANSFER = """
with open_checkpoint(sys.argv[1]) as checkpoint:
    sizes = checkpoint.layout.sizes
    plan = draw_transfer(checkpoint.layout, {axis: 2 * sizes[axis] for axis in ("residual", "group", "ffn")})
    apply.apply_transfer(checkpoint, plan, Path(sys.argv[2]))
"""
WITHOUT_TOKENIZER = IMPORTS + "companions._tokenizer_of_gguf = lambda path, writer: []\n"
TOKENIZER_SETUP = IMPORTS + "import transformers\nfrom transformers import AutoTokenizer\n"
TOKENIZER = """
from types import SimpleNamespace
with open_checkpoint(sys.argv[1]) as checkpoint:
    Path(sys.argv[2]).mkdir()
    companions._tokenizer_of_gguf(checkpoint.path, SimpleNamespace(folder=Path(sys.argv[2])))
"""
PEER_SETUP = """
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
extra = {}

def clone(name, weight):
    # Every unit twice: [W W; W W] / 2 for maps, heads of a group together, inputs of the embedding not at all.
    if "embed_tokens" in name:
        return weight.repeat(1, 2)
    if weight.ndim == 1:
        return weight.repeat(2) / (2 if name == "model.norm.weight" else 1)
    return weight.repeat(2, 2) / 2
"""
PEER = """
state = load_file(str(Path(sys.argv[1]) / "model.safetensors"))
Path(sys.argv[2]).mkdir()
wide = {name: clone(name, weight) for name, weight in state.items()}
save_file(wide, str(Path(sys.argv[2]) / "model.safetensors"), metadata={"format": "pt"})
"""
CP_SETUP = "import resource, subprocess\nfrom pathlib import Path\nextra = {}"
CP = """
subprocess.run(["cp", str(Path(sys.argv[1]) / "model.safetensors"), sys.argv[2]], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
extra["cpu_seconds"] = used.ru_utime + used.ru_stime
"""


def main() -> None:
    """Measure all in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where there is room for 10 GB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as parent:
        work = Path(parent)
        with open_checkpoint(options.model) as checkpoint:
            apply_transfer(checkpoint, draw_transfer(checkpoint.layout, {}), work / "source", dtype="F32")
        source, out = str(work / "source"), str(work / "out")
        kinds = {
            "transfer": partial(measure, IMPORTS, TRANSFER, source, out),
            "packaged": partial(measure, WITHOUT_TOKENIZER, TRANSFER, options.model, out),
            "tokenizer": partial(measure, TOKENIZER_SETUP, TOKENIZER, options.model, out),
            "cloning": partial(measure, PEER_SETUP, PEER, source, out),
            "cp": partial(measure, CP_SETUP, CP, str(work / "kept"), out),
        }
        runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        for _ in range(options.repeats):
            for kind, run in kinds.items():
                runs[kind].append(run())
                _remove(Path(out), work / "kept" if kind == "transfer" else None)
            n_bytes = sum(path.stat().st_size for path in (work / "kept").glob("*.safetensors"))
            config = json.loads((work / "kept" / "config.json").read_text())
            shutil.rmtree(work / "kept")
        largest = max(4 * torch.Size(tensor.shape).numel() for tensor in layout_of(config).tensors.values())
    seconds = {kind: statistics.median(run["seconds"] for run in measured) for kind, measured in runs.items()}
    cpu_seconds = {kind: statistics.median(run["cpu_seconds"] for run in runs[kind]) for kind in runs}
    result = {
        "model": options.model,
        "bytes": n_bytes,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "over_cp": {kind: seconds[kind] / seconds["cp"] for kind in runs},
        "cpu_over_cp": {kind: cpu_seconds[kind] / cpu_seconds["cp"] for kind in runs},
        "peak_over_largest_tensor": {
            kind: statistics.median(run["peak_bytes"] for run in runs[kind]) / largest for kind in runs if kind != "cp"
        },
    }
    print(json.dumps(result, indent=2))


def _remove(path: Path, kept: Path | None) -> None:
    """Remove what was written, or keep it."""
    if kept is not None:
        path.rename(kept)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
