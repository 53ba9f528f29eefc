"""Data along rows or along columns of the activations? One training pass of a wide network, side by side in one run.

Run: `python benchmarks/data_layout.py [--width 1024] [--data 8] [--seeds 16] [--repeats 15]`. Prints one JSON object:
medians in milliseconds per seed, and their ratio.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch


def _median_ms(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Time forward, backward and update of one middle layer in both layouts."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("width", 1024), ("data", 8), ("seeds", 16), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    n, data, seeds = options.width, options.data, options.seeds
    weight = torch.randn(seeds, n, n)
    rows = torch.randn(seeds, data, n)
    columns = rows.transpose(-1, -2).contiguous()

    def along_rows() -> None:
        rows @ weight.transpose(-1, -2)
        rows @ weight
        weight.baddbmm_(rows.transpose(-1, -2), rows, alpha=-1e-6)

    def along_columns() -> None:
        weight @ columns
        weight.transpose(-1, -2) @ columns
        weight.baddbmm_(columns, columns.transpose(-1, -2), alpha=-1e-6)

    ms = {"rows": _median_ms(along_rows, options.repeats), "columns": _median_ms(along_columns, options.repeats)}
    per_seed = {name: value / seeds for name, value in ms.items()}
    result = {"width": n, "data": data, "threads": torch.get_num_threads(), "ms_per_seed": per_seed}
    print(json.dumps({**result, "columns_over_rows": ms["columns"] / ms["rows"]}, indent=2))


if __name__ == "__main__":
    main()
