"""Claim `weights.correlation-pattern`: weights that share a row or a column are correlated in size, others are not.

The pattern of the row-column ansatz, on the logarithms of sizes: the scale of a row and the scale of a column reach all
of their entries, and two entries that share neither have nothing in common. Where heads nest, neighbouring rows share
their head: there the last part does not hold, and is not claimed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from rctheory.architectures.layout import TensorLayout
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.numerics import generator
from rctheory.statistics.arrays import between_correlations, within_correlations
from rctheory.statistics.arrays.scales import log_sizes
from rctheory.statistics.gates import Estimate, PValues, Quantity
from rctheory.statistics.multiplicity import holm
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.gpt import initial_gpt, trained_gpt
from verification.real_weights import BERT, LLAMA, matrices, open_gpt, require_both
from verification.real_weights_coupling import GPT, READS, WRITES

LEVEL = 0.01  # family-wise over the matrices of the GPT-2
KINDS = ("row", "column", "nothing", "neuron", "neuron and column")
Planted = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Pattern:
    """Correlations of log sizes in one model: by matrix and by what two entries share, value and p-value."""

    model: str
    found: dict[tuple[str, str, str], tuple[float, float]]
    nested: frozenset[str]

    def p_values(self, *kinds: str, nested: bool = True) -> dict[str, float]:
        """Return p-values by matrix and kind; `nested` takes in matrices that run over heads."""
        return {
            f"{self.model} {name}, {kind}": p
            for (name, _, kind), (_, p) in self.found.items()
            if kind in kinds and (nested or name not in self.nested)
        }

    def table(self) -> Table:
        """Return the mean over layers for every kind of matrix."""
        patterns = tuple(dict.fromkeys(pattern for _, pattern, _ in self.found))
        cells = [
            [[value for (_, p, k), (value, _) in self.found.items() if (p, k) == (pattern, kind)] for kind in KINDS]
            for pattern in patterns
        ]
        values = tuple(tuple(fmean(cell) if cell else float("nan") for cell in row) for row in cells)
        rows = tuple(pattern.partition("{layer}.")[2].replace(".weight", "") for pattern in patterns)
        title = f"{self.model}: correlation of log sizes of two weights that share a row, a column, nothing, a neuron"
        return Table(title, rows, KINDS, values)


def keep(W: Tensor, _stream: torch.Generator) -> Tensor:
    """Return W as it is."""
    return W


def shuffle(W: Tensor, stream: torch.Generator) -> Tensor:
    """Permute all entries of W."""
    return W.flatten()[torch.randperm(W.numel(), generator=stream)].reshape(W.shape)


def sort(W: Tensor, _stream: torch.Generator) -> Tensor:
    """Sort rows and columns by their norms: entries that share nothing then have neighbouring scales."""
    return W[W.norm(dim=1).argsort()][:, W.norm(dim=0).argsort()]


def _examine(model: str, checkpoint: Checkpoint, layers: Sequence[int], seed: int, plant: Planted) -> Pattern:
    """Correlate inside every matrix of some layers, and between what neurons read and write."""
    found: dict[tuple[str, str, str], tuple[float, float]] = {}
    chosen = [tensor for tensor in matrices(checkpoint.layout) if tensor.layer in layers]
    for tensor in chosen:
        stream = generator(seed, "pattern", "plant", tensor.name)
        correlations = within_correlations(log_sizes(plant(checkpoint.tensor(tensor.name), stream)))
        for kind, correlation in correlations.items():
            found[tensor.name, tensor.pattern, kind] = float(correlation.value), float(correlation.p_value)
    for layer in layers:
        sides = []
        for pattern, dimension in (READS[model], WRITES[model]):
            W = checkpoint.tensor(pattern.replace("{layer}", str(layer)))
            sides.append(log_sizes(W if dimension == 0 else W.T))
        for kind, correlation in between_correlations(*sides, columns_shared=True).items():
            name = READS[model][0]
            found[name.replace("{layer}", str(layer)), name, kind] = (
                float(correlation.value),
                float(correlation.p_value),
            )
    return Pattern(model, found, frozenset(tensor.name for tensor in chosen if _runs_over_heads(tensor)))


def _runs_over_heads(tensor: TensorLayout) -> bool:
    """Return whether a dimension is a nest of several axes."""
    return any(len(nest) > 1 for nest in tensor.nests)


def _measure(context: Context, plant: Planted = keep) -> Measurement:
    """Examine all three models, and the third before its training."""
    every = tuple(range(30))
    layers = context.choose(smoke=(5,), ci=every if plant is keep else every[::6], full=every)
    patterns = []
    for model, chosen in ((LLAMA, layers), (BERT, tuple(range(context.choose(smoke=1, ci=6, full=6))))):
        context.report_progress(f"examining {model}")
        with open_checkpoint(model) as checkpoint:
            patterns.append(_examine(model, checkpoint, chosen, context.seed, plant))
    context.report_progress("training and examining a GPT-2")
    for gpt in (trained_gpt(context), initial_gpt(context)):
        with open_gpt(gpt) as checkpoint:
            patterns.append(_examine(GPT, checkpoint, range(gpt.size.layers), context.seed, plant))
    *trained, untrained = patterns
    llama, bert, small = trained
    adjusted = holm(list(small.p_values("row", "column").values()))
    quantities: dict[str, Quantity] = {
        "shared": PValues(llama.p_values("row", "column") | bert.p_values("row", "column")),
        "gpt": Estimate(fmean(p <= LEVEL for p in adjusted)),
        "nothing": PValues({k: p for found in trained for k, p in found.p_values("nothing", nested=False).items()}),
        "untrained": PValues(untrained.p_values(*KINDS)),
    }
    remark = (
        "Where heads nest, `nothing` means a shared head: neighbouring rows of queries, keys and values lie in one."
    )
    return Measurement(quantities, tuple(found.table() for found in trained), (remark,))


EXPERIMENT = Experiment("correlations of log sizes in every matrix of Llama, BERT and GPT-2", _measure, require_both)
SHUFFLED = Experiment("all entries of every matrix shuffled", partial(_measure, plant=shuffle), require_both)
SORTED = Experiment("rows and columns of every matrix sorted by norm", partial(_measure, plant=sort), require_both)
