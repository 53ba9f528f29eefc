"""Memory does not grow with the number of layers, whatever the format."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.folder_writer import FolderWriter, OutputTensor
from tests.checkpoints.folders import CONFIG

SMALL, LARGE = 4, 16
SIZES = CONFIG | {"hidden_size": 512, "intermediate_size": 2048, "vocab_size": 512, "num_attention_heads": 8}
LAYER = 4 * (2 * 512 * 512 + 2 * 512 * 128 + 3 * 512 * 2048)  # bytes in float32

PROBE = """
import json, sys, resource
from rctheory.checkpoints import torch_store
from rctheory.inspection.inspection import inspect_source

torch_store.MAPPED_BYTES = 4 << 20  # in proportion to the small model

def peak_bytes():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # VmHWM belongs to this program alone; ru_maxrss would carry over the peak of the parent that started it.
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

peaks = []
for source in sys.argv[2:]:
    inspect_source(source, statistics=[sys.argv[1]])
    peaks.append(peak_bytes())
json.dump(peaks, sys.stdout)
"""


def write(folder: Path, layers: int, kind: str, sizes: dict[str, Any] = SIZES) -> Path:
    """Write a model of random weights: bfloat16 in shards of a few layers, or one PyTorch file in float32."""
    config = sizes | {"num_hidden_layers": layers}
    tensors = layout_of(config).tensors
    random = torch.Generator().manual_seed(layers)
    if kind == "torch":
        folder.mkdir()
        torch.save(
            {n: torch.randn(t.shape, generator=random) for n, t in tensors.items()}, folder / "pytorch_model.bin"
        )
        (folder / "config.json").write_text(json.dumps(config))
        return folder
    outputs = [OutputTensor(name, tensor.shape, "BF16") for name, tensor in tensors.items()]
    with FolderWriter(folder, outputs, shard_bytes=2 * LAYER) as writer:
        for output in outputs:
            writer.write(output.name, [torch.randn(output.shape, generator=random)])
        writer.write_json("config.json", config)
    return folder


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_peak_memory_does_not_grow_with_the_layers(tmp_path: Path, kind: str) -> None:
    """Four times the layers after a few: were the layers kept, the peak would rise by twelve of them."""
    folders = [write(tmp_path / str(layers), layers, kind) for layers in (SMALL, LARGE)]
    command = [sys.executable, "-c", PROBE, "screen", *map(str, folders)]
    # Large blocks go back to the system when they are freed: the peak is what is held, not what the allocator keeps.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    small, large = json.loads(run.stdout)
    assert 0 <= large - small < 2 * LAYER


@pytest.mark.parametrize(("statistic", "most"), [("screen", 100_000), ("order", 450_000)])
def test_little_is_kept_of_a_layer(tmp_path: Path, statistic: str, most: int) -> None:
    """A row of the screen is a few hundred bytes; order keeps 2000 numbers a layer for max-T, and norms inside nests.

    With all sums of units and log norms kept, order took 600 kB a layer here. Without a fixed threshold, as users run
    it: small results that lie between blocks would keep the allocator from giving these back. What it keeps beside
    differs between equal runs by up to 8 MB, more than the rows of the screen: the least of three runs.
    """
    narrow = SIZES | {"hidden_size": 256, "intermediate_size": 1024, "vocab_size": 32_000, "num_attention_heads": 4}
    peaks = []
    for layers in (8, 72):
        folder = write(tmp_path / str(layers), layers, "safetensors", narrow)
        command = [sys.executable, "-c", PROBE, statistic, str(folder)]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3)]
        peaks.append(min(json.loads(run.stdout)[0] for run in runs))
    assert peaks[1] - peaks[0] < 64 * most
