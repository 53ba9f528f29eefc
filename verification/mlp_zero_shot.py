"""Claim `mlp.zero-shot`: shrink and grow a network trained on real digits by sampling its units, without training."""

import torch

from rctheory.dynamics import Network, accuracy
from rctheory.measures import DESIGNS
from rctheory.statistics.gates import Curve, Estimate, Quantity
from rctheory.statistics.rates import Point, effective_width
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.digits import digits, trained_network
from verification.transfers import resample


def _measure(context: Context, *, tied: bool = True) -> Measurement:
    """Train a large and a small network; shrink the large one, grow the small one, by independent draws."""
    large, small, grown_width = context.choose(smoke=(512, 128, 1024), ci=(1024, 128, 2048), full=(4096, 128, 8192))
    draws = context.choose(smoke=48, ci=96, full=256)
    context.report_progress(f"training at widths {large} and {small}")
    source, seedling = (trained_network(n, context.seed, context.device) for n in (large, small))
    _, held_out = digits()
    x, labels = held_out.x.to(context.device), held_out.labels.to(context.device)

    context.report_progress(f"shrinking {large}, {draws} draws a width")
    points, rows = _shrink(source, x, labels, [large // 2**k for k in range(1, 6)], draws, context.seed, tied=tied)
    context.report_progress(f"growing {small} to {grown_width}")
    grown = [
        accuracy(resample(seedling, grown_width, DESIGNS["iid"], context.seed + draw, tied=tied), x, labels)
        for draw in range(8)
    ]
    names = tuple(f"{large} to {m}" for m in rows)
    table = Table(
        "Held-out accuracy after shrinking", names, ("mean over draws", "worst draw"), tuple(rows.values()), "text"
    )
    quantities: dict[str, Quantity] = {
        "slope": Curve(tuple(points), "effective width 1 / (1/m - 1/n)", "RMS change of the outputs"),
        "accuracy": Estimate(accuracy(source, x, labels)),
        "grown_accuracy": Estimate(min(grown)),
    }
    before = accuracy(seedling, x, labels)
    remark = f"held-out accuracy at width {small}: {before:.4f}; grown to {grown_width}: {min(grown):.4f} at worst of 8"
    return Measurement(quantities, (table,), (remark,))


def _shrink(
    source: Network,
    x: torch.Tensor,
    labels: torch.Tensor,
    widths: list[int],
    draws: int,
    seed: int,
    *,
    tied: bool,
) -> tuple[list[Point], dict[int, tuple[float, float]]]:
    """Return the RMS change of the outputs, and mean and worst accuracy, at every smaller width."""
    n = source.widths[1]
    outputs = source.outputs(x)
    points, rows = [], {}
    for m in sorted(widths):
        squares, scores = [], []
        for draw in range(draws):
            # One root seed per draw: each axis then has its own stream under it.
            shrunk = resample(source, m, DESIGNS["without-replacement"], seed + draw, tied=tied)
            squares.append(float((shrunk.outputs(x) - outputs).square().mean()))
            scores.append(accuracy(shrunk, x, labels))
        points.append(Point.rms(m, squares, effective_width(m, n)))
        rows[m] = (sum(scores) / draws, min(scores))
    return points, rows


EXPERIMENT = Experiment("digits, two hidden layers: shrink 1024 to 32 and grow 128 to 2048, zero-shot", _measure)
UNTIED_AXIS = Experiment(
    "rows of a layer drawn independently of the next layer's columns", lambda context: _measure(context, tied=False)
)
