"""Claim `weights.neuron-coupling`: what a feed-forward neuron reads and what it writes are tied in size.

A neuron is a row of one matrix and a column of the next: its latent should show in both. The log norms of the two are
correlated over the neurons of each layer, with exact permutation p-values: the neurons of one matrix are permuted
against those of the other. Where up and down projections meet with a gate beside them, scaling the one by c and the
other by 1/c changes nothing: a gauge that decay of the weights fixes where both norms are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from statistics import median

import numpy as np
import torch
from torch import Tensor

from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.inspection.moments import log_norms
from rctheory.numerics import chunks, generator, numpy_generator
from rctheory.statistics.gates import Estimate, PValues, Quantity
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.gpt import initial_gpt, trained_gpt
from verification.real_weights import BERT, LLAMA, open_gpt, require_both

GPT = "GPT-2"
READS = {
    LLAMA: ("model.layers.{layer}.mlp.up_proj.weight", 0),
    BERT: ("bert.encoder.layer.{layer}.intermediate.dense.weight", 0),
    GPT: ("transformer.h.{layer}.mlp.c_fc.weight", 1),
}
WRITES = {
    LLAMA: ("model.layers.{layer}.mlp.down_proj.weight", 1),
    BERT: ("bert.encoder.layer.{layer}.output.dense.weight", 1),
    GPT: ("transformer.h.{layer}.mlp.c_proj.weight", 0),
}
GATES = {LLAMA: ("model.layers.{layer}.mlp.gate_proj.weight", 0)}


@dataclass(frozen=True)
class Norms:
    """Log norms of the neurons of some layers, (layers, n): of what they read, write, and of their gates."""

    model: str
    layers: tuple[int, ...]
    reads: Tensor
    writes: Tensor
    gates: Tensor | None = None


def correlate(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation of every row of two tensors (layers, n)."""
    return (_standardise(first) * _standardise(second)).sum(dim=-1)


def permuted(first: Tensor, second: Tensor, permutations: int, seed: int) -> Tensor:
    """Return |correlation| for the observed order and B permutations of the neurons of `second`, (B + 1, layers).

    One permutation serves all layers, so that the largest over layers is a statistic of the same kind.
    """
    x, y = (_standardise(values).T.contiguous().numpy() for values in (first, second))
    n, layers = x.shape
    random = numpy_generator(seed, "coupling", "permutations", n)
    found = np.empty((permutations + 1, layers))
    found[0] = np.einsum("nl,nl->l", x, y)
    for part in chunks(permutations, 8 * n * layers, 1 << 25):
        order = random.permuted(np.tile(np.arange(n), (len(part), 1)), axis=1)
        found[part.start + 1 : part.stop + 1] = np.einsum("nl,bnl->bl", x, y[order])
    return torch.from_numpy(np.abs(found))


def p_value(statistics: Tensor) -> float:
    """Return (1 + #{k >= 1 : T^k >= T^0}) / (B + 1), for T (B + 1,) with the observed one first."""
    slack = 1e-12 * statistics[0]
    return float((statistics >= statistics[0] - slack).double().mean())


def _standardise(values: Tensor) -> Tensor:
    """Centre every row and scale it to a unit sum of squares, in float64."""
    centred = values.double() - values.double().mean(dim=-1, keepdim=True)
    return centred / centred.square().sum(dim=-1, keepdim=True).sqrt()


def _norms(checkpoint: Checkpoint, place: tuple[str, int], layers: Sequence[int]) -> Tensor:
    """Return log norms (layers, n) of the units of one dimension of one matrix of every layer."""
    pattern, dimension = place
    tensors = (checkpoint.tensor(pattern.replace("{layer}", str(layer))) for layer in layers)
    return torch.stack([log_norms(W.double().square().sum(dim=1 - dimension)) for W in tensors])


def _gather(model: str, checkpoint: Checkpoint, layers: Sequence[int]) -> Norms:
    """Read the log norms of the neurons of some layers."""
    gates = _norms(checkpoint, GATES[model], layers) if model in GATES else None
    reads, writes = (_norms(checkpoint, places[model], layers) for places in (READS, WRITES))
    return Norms(model, tuple(layers), reads, writes, gates)


@lru_cache(maxsize=2)
def _packaged(model: str, layers: tuple[int, ...]) -> Norms:
    """Read a packaged model, once in a process."""
    with open_checkpoint(model) as checkpoint:
        return _gather(model, checkpoint, layers)


def _models(context: Context) -> list[Norms]:
    """Return Llama, BERT, GPT-2 trained and before its first step."""
    context.report_progress(f"reading {LLAMA} and {BERT}")
    llama = _packaged(LLAMA, context.choose(smoke=(5, 29), ci=tuple(range(30)), full=tuple(range(30))))
    bert = _packaged(BERT, tuple(range(6)))
    context.report_progress("training a GPT-2")
    gpt = []
    for model in (trained_gpt(context), initial_gpt(context)):
        with open_gpt(model) as checkpoint:
            gpt.append(_gather(GPT, checkpoint, range(model.size.layers)))
    return [llama, bert, *gpt]


def _measure(context: Context, *, permute: bool = False) -> Measurement:
    """Correlate what neurons read and write; `permute` renames the neurons of the writing matrices alone."""
    found = _models(context)
    if permute:
        found = [_rename(norms, context.seed) for norms in found]
    llama, bert, trained, untrained = found
    permutations = context.choose(smoke=1999, ci=9999, full=99999)
    context.report_progress(f"{permutations} permutations of the neurons of every layer")
    statistics = [permuted(norms.reads, norms.writes, permutations, context.seed) for norms in found]
    coupled = {
        f"{norms.model} layer {layer}": p_value(statistic[:, place])
        for norms, statistic in ((llama, statistics[0]), (trained, statistics[2]))
        for place, layer in enumerate(norms.layers)
    }
    coupled[f"{BERT}, all layers"] = p_value(statistics[1].amax(dim=1))
    silent = {f"layer {layer}": p_value(statistics[3][:, place]) for place, layer in enumerate(untrained.layers)}
    quantities: dict[str, Quantity] = {
        "coupled": PValues(coupled),
        "untrained": PValues(silent),
        "llama_correlation": Estimate(median(correlate(llama.reads, llama.writes).tolist())),
        "gpt_correlation": Estimate(median(correlate(trained.reads, trained.writes).tolist())),
    }
    tables = tuple(_table(norms, statistic) for norms, statistic in zip(found, statistics, strict=True))
    return Measurement(quantities, tables, (_gauge(llama), _gauge(bert), _gauge(trained)))


def _rename(norms: Norms, seed: int) -> Norms:
    """Permute the neurons of the writing matrix of every layer."""
    stream = generator(seed, "coupling", "rename", norms.model)
    order = torch.rand(norms.writes.shape, generator=stream).argsort(dim=-1)
    return replace(norms, writes=norms.writes.gather(1, order))


def _table(norms: Norms, statistics: Tensor) -> Table:
    """Print the correlations of every layer."""
    columns = {"read / write": correlate(norms.reads, norms.writes)}
    if norms.gates is not None:
        columns["gate / read"] = correlate(norms.gates, norms.reads)
        columns["gate / write"] = correlate(norms.gates, norms.writes)
    columns["p-value of read / write"] = torch.tensor([p_value(column) for column in statistics.T])
    rows = tuple(f"layer {layer}" for layer in norms.layers)
    values = tuple(tuple(row) for row in torch.stack(list(columns.values()), dim=1).tolist())
    return Table(
        f"{norms.model}: correlation of log norms over feed-forward neurons", rows, tuple(columns), values, "text"
    )


def _gauge(norms: Norms) -> str:
    """Say how nearly equal the two norms of a neuron are."""
    ratio = norms.writes - norms.reads
    by_layer = sorted(correlate(norms.reads, norms.writes).tolist())
    inside, alone = (float(values.std(dim=-1).mean()) for values in (ratio, norms.reads))
    return (
        f"{norms.model}: correlation of what a neuron reads and writes {by_layer[0]:.3f} to {by_layer[-1]:.3f} over "
        f"layers, median {median(by_layer):.3f}; log(write / read) {float(ratio.mean()):.3f} with sd {inside:.3f} "
        f"inside a layer, log read alone {alone:.3f}."
    )


EXPERIMENT = Experiment(
    "log norms of what feed-forward neurons read and write, in Llama, BERT and GPT-2", _measure, require_both
)
RENAMED = Experiment(
    "the neurons of the writing matrices renamed, the others left alone", partial(_measure, permute=True), require_both
)
