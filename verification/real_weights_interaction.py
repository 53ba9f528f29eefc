"""Claim `weights.interaction`: trained weights are more than row effects, column effects and independent noise.

The four-cycle test, calibrated by sign flips, is put to every matrix of every layer of three models. Before its first
step a network shows nothing; entries shuffled inside their columns, or given random signs, show nothing either.

Value projections are an exception that was found, not predicted. An infinite row-column array has a four-cycle mean of
at least zero (it is the sum of the fourth powers of the singular values of its mean kernel). In many a value head it is
below: rows repel, as orthonormal rows of length n do with a mean of -1/n. That is a bond of finitely many rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from statistics import median

import torch
from torch import Tensor

from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.numerics import generator
from rctheory.statistics.arrays import interaction
from rctheory.statistics.gates import Estimate, PValues, Quantity
from rctheory.statistics.multiplicity import holm
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.gpt import initial_gpt, trained_gpt
from verification.real_weights import BERT, LLAMA, layer_map, matrices, open_gpt, require_both

LEVEL = 0.01  # family-wise over the matrices of a model
REPELLING = -3.0  # z under which rows are more nearly orthogonal than independent noise


@dataclass(frozen=True)
class Found:
    """The tests of one model: by matrix its statistic z, its p-value and the share of variance."""

    model: str
    names: tuple[str, ...]
    patterns: tuple[str, ...]
    layers: tuple[int, ...]
    z: tuple[float, ...]
    p_values: tuple[float, ...]
    effects: tuple[float, ...]

    def rejected(self, *, values: bool) -> float:
        """Return the share of matrices in which the test sees an interaction, of value projections or of the others.

        Holm's adjustment is over all matrices of the model.
        """
        chosen = [
            p <= LEVEL
            for p, pattern in zip(holm(self.p_values), self.patterns, strict=True)
            if is_value(pattern) == values
        ]
        return sum(chosen) / len(chosen)


def is_value(pattern: str) -> bool:
    """Return whether a matrix is a value projection."""
    return "v_proj" in pattern or "value" in pattern


Planted = Callable[[Tensor, torch.Generator], Tensor]


def keep(W: Tensor, _stream: torch.Generator) -> Tensor:
    """Return W as it is."""
    return W


def shuffle_columns(W: Tensor, stream: torch.Generator) -> Tensor:
    """Permute the entries of every column by a permutation of its own: columns keep their laws, rows mean nothing."""
    return W.gather(0, torch.rand(W.shape, generator=stream).argsort(dim=0))


def flip_signs(W: Tensor, stream: torch.Generator) -> Tensor:
    """Give every entry a random sign: all sizes stay."""
    return W * (torch.randint(0, 2, W.shape, generator=stream) * 2 - 1)


def _test(model: str, checkpoint: Checkpoint, layers: Sequence[int], seed: int, plant: Planted) -> Found:
    """Test the matrices of some layers."""
    chosen = [tensor for tensor in matrices(checkpoint.layout) if tensor.layer in layers]
    outcomes = []
    for tensor in chosen:
        W = plant(checkpoint.tensor(tensor.name), generator(seed, "interaction", "plant", tensor.name))
        outcome = interaction(W, seed=seed)
        outcomes.append((float(outcome.statistic), float(outcome.p_value), float(outcome.effect)))
    z, p_values, effects = zip(*outcomes, strict=True)
    numbers = tuple(tensor.layer for tensor in chosen if tensor.layer is not None)
    return Found(model, tuple(t.name for t in chosen), tuple(t.pattern for t in chosen), numbers, z, p_values, effects)


@lru_cache(maxsize=8)
def _packaged(model: str, layers: tuple[int, ...], seed: int, plant: Planted) -> Found:
    """Read and test a packaged model, once in a process."""
    with open_checkpoint(model) as checkpoint:
        return _test(model, checkpoint, layers, seed, plant)


def _measure(context: Context, plant: Planted = keep) -> Measurement:
    """Test all three models, and the third before its training."""
    every = tuple(range(30))
    few = every[::6]  # enough to see what was planted
    layers = context.choose(smoke=(5,), ci=every if plant is keep else few, full=every)
    context.report_progress(f"testing {LLAMA}")
    llama = _packaged(LLAMA, layers, context.seed, plant)
    context.report_progress(f"testing {BERT}")
    bert = _packaged(BERT, tuple(range(context.choose(smoke=1, ci=6, full=6))), context.seed, plant)
    context.report_progress("training and testing a GPT-2")
    gpt = {}
    for name, model in (("GPT-2", trained_gpt(context)), ("GPT-2 at step 0", initial_gpt(context))):
        with open_gpt(model) as checkpoint:
            gpt[name] = _test(name, checkpoint, range(model.size.layers), context.seed, plant)
    trained, untrained = gpt.values()
    quantities: dict[str, Quantity] = {
        "llama": Estimate(llama.rejected(values=False)),
        "bert": Estimate(bert.rejected(values=False)),
        "gpt": Estimate(trained.rejected(values=False)),
        "untrained": PValues(dict(zip(untrained.names, untrained.p_values, strict=True))),
    }
    models = (llama, bert, trained, untrained)
    return Measurement(quantities, tuple(_effect_map(found) for found in models), tuple(map(_remark, models)))


def _effect_map(found: Found) -> Table:
    """Draw the effect of every matrix."""
    title = f"{found.model}: interaction, its share of the variance if it has one factor (negative: rows repel)"
    return layer_map(title, found.patterns, found.layers, found.effects)


def _remark(found: Found) -> str:
    """Say how often the test sees an interaction, and how often the contrary."""
    effects = sorted(found.effects)
    values = [z for z, pattern in zip(found.z, found.patterns, strict=True) if is_value(pattern)]
    others, of_values = (100 * found.rejected(values=kind) for kind in (False, True))
    repelling = sum(z < REPELLING for z in found.z)
    return (
        f"{found.model}: interaction in {others:.0f}% of the matrices other than value projections, in "
        f"{of_values:.0f}% of these {len(values)}; effects {effects[0]:.3f} to {effects[-1]:.3f}, median "
        f"{median(effects):.3f}. Rows are more orthogonal than independent noise (z < {REPELLING:g}) in {repelling} of "
        f"the {len(found.z)} matrices, {sum(z < REPELLING for z in values)} of them value projections."
    )


EXPERIMENT = Experiment(
    "the calibrated four-cycle on every matrix of Llama, BERT and GPT-2 weights", _measure, require_both
)
SHUFFLED = Experiment("entries shuffled inside their columns", partial(_measure, plant=shuffle_columns), require_both)
SIGNS = Experiment("random signs for all entries", partial(_measure, plant=flip_signs), require_both)
