"""Dense or factored? Train two wide hidden layers both ways in one run; then the factored engine alone, far wider.

Run: `python benchmarks/factored_engine.py [--width 4096] [--alone 1000000] [--data 8] [--steps 20] [--threads 2]`.
Prints one JSON object: seconds of training, their ratio, the largest difference of the trained outputs, and the peak
memory of the whole process after the wide run (0 for `--alone` skips it).
"""

import argparse
import json
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rctheory.dynamics import Network, factored, train
from verification.problems import regression

Trainer = Callable[..., Network]


def _timed(trainer: Trainer, network: Network, x: Tensor, y: Tensor, steps: int) -> tuple[float, Network]:
    start = time.perf_counter()
    trained = trainer(network, x, y, step=2.0 / steps, steps=steps)
    return time.perf_counter() - start, trained


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux


def main() -> None:
    """Compare the engines on the standard problem without residual, in float32."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("width", 4096), ("alone", 1_000_000), ("data", 8), ("steps", 20), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    problem = regression(residual=0.0)
    copies = -(-options.data // len(problem.x))
    x, y = (part.repeat(copies, 1)[: options.data].float() for part in (problem.x, problem.y))

    widths = (options.width,) * 2
    short, trained = _timed(
        factored.train, factored.sample(problem.ansatz, widths, [0], dtype=torch.float32), x, y, options.steps
    )
    long, twin = _timed(train, problem.ansatz.sample(widths, [0], dtype=torch.float32), x, y, options.steps)
    gap = float((trained.outputs(x) - twin.outputs(x)).abs().max())
    result = {
        "width": options.width,
        "data": options.data,
        "steps": options.steps,
        "threads": options.threads,
        "seconds": {"dense": long, "factored": short},
        "dense_over_factored": long / short,
        "largest_difference": gap,
    }
    del trained, twin
    if options.alone:
        wide = factored.sample(problem.ansatz, (options.alone,) * 2, [0], dtype=torch.float32)
        seconds, _ = _timed(factored.train, wide, x, y, options.steps)
        result["alone"] = {"width": options.alone, "seconds": seconds, "peak_gigabytes": _peak_gigabytes()}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
