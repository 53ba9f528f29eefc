"""Does the memory of `rctheory inspect` grow with the model? Two sharded bf16 Llama folders, side by side in one run.

Run: `python benchmarks/inspect_memory.py [--small 14] [--large 118] [--width 1024] [--statistics screen,order]
[--folder DIR] [--repeats 3]`. Both folders have the same largest tensor, the embedding; they differ in the number of
layers alone (by default 0.5 and 4 GB). Their weights are random; they are written to a temporary folder in DIR, which
is removed afterwards. Prints one JSON object: bytes on disk, seconds, bytes per second (of files that have just been
written, so they come from memory if there is enough), and peak memory beyond the imports, in bytes and in largest
tensors (in float32).

What still grows with the layers is small beside any tensor, and is this, for one layer of a Llama model of width d with
d key and value units (float64): names, places and rows of results, some 30 kB whatever the width; of `order` the 2000
statistics of each of two axes that max-T compares over all layers, 32 kB; and a log norm for each unit of the axes that
nest, whose layers are pooled in one test, at most 80 d bytes, a few times that while they are tested.
That is less than what is measured: 58 MB with 14 layers of width 1024, 81 MB with 60 (the largest tensor has 131 MB).
The rest has not been traced; at width 256 the peak levels off, at 48, 65 and 66 MB with 8, 72 and 144 layers.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from measured import measure

from rctheory.architectures.layout import Layout
from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.folder_writer import FolderWriter, OutputTensor

ROWS = 4096  # rows of a tensor that are drawn at a time
SETUP = """
from rctheory.inspection.inspection import inspect_source
import rctheory.inspection.stream
extra = {}
"""
WORK = """
inspect_source(sys.argv[1], statistics=sys.argv[2].split(",") if sys.argv[2] else None)
"""


def _write(folder: Path, layers: int, width: int) -> Layout:
    """Write a Llama folder of standard normal weights."""
    config: dict[str, Any] = {
        "model_type": "llama",
        "hidden_size": width,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 256,
        "intermediate_size": 4 * width,
        "vocab_size": 32000,
        "num_hidden_layers": layers,
        "tie_word_embeddings": True,
    }
    layout = layout_of(config)
    outputs = [OutputTensor(name, tensor.shape, "BF16") for name, tensor in layout.tensors.items()]
    random = torch.Generator().manual_seed(layers)
    with FolderWriter(folder, outputs, shard_bytes=500_000_000) as writer:
        for output in outputs:
            rows, *rest = output.shape
            sizes = [min(ROWS, rows - start) for start in range(0, rows, ROWS)]
            writer.write(output.name, (torch.randn(size, *rest, generator=random) for size in sizes))
        writer.write_json("config.json", config)
    return layout


def main() -> None:
    """Write both folders and inspect them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("small", 14), ("large", 118), ("width", 1024), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--statistics", default="screen,order", help="names, comma between; empty: the default ones")
    parser.add_argument("--folder", type=Path, default=None, help="where there is room")
    options = parser.parse_args()
    result: dict[str, Any] = {"statistics": options.statistics, "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory(dir=options.folder) as parent:
        runs: dict[int, list[dict[str, Any]]] = {options.small: [], options.large: []}
        largest = 0
        for layers in runs:
            layout = _write(Path(parent) / str(layers), layers, options.width)
            largest = max(4 * torch.Size(tensor.shape).numel() for tensor in layout.tensors.values())
        for _ in range(options.repeats):
            for layers, measured in runs.items():
                measured.append(measure(SETUP, WORK, str(Path(parent) / str(layers)), options.statistics))
        for layers, measured in runs.items():
            n_bytes = sum(path.stat().st_size for path in (Path(parent) / str(layers)).glob("*.safetensors"))
            seconds = statistics.median(run["seconds"] for run in measured)
            peak = statistics.median(run["peak_bytes"] for run in measured)
            result[f"{layers} layers"] = {
                "bytes": n_bytes,
                "seconds": seconds,
                "bytes_per_second": n_bytes / seconds,
                "peak_bytes": peak,
                "peak_over_largest_tensor": peak / largest,
            }
    small, large = (result[f"{layers} layers"] for layers in runs)
    result["ratios"] = {key: large[key] / small[key] for key in ("bytes", "seconds", "peak_bytes")}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
