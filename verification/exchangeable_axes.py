"""Claim `weights.exchangeable-axes`: real Llama weights show exactly the nested symmetry that is declared for them.

If the units of an axis are exchangeable, the order in which they are stored carries nothing. Every axis of the packaged
model is tested with an exact permutation test: those declared exchangeable must not be rejected, those declared ordered
must be, family-wise over the whole claim.
"""

import math
from functools import lru_cache, partial

from rctheory.checkpoints.sources import open_checkpoint, require_packaged
from rctheory.inspection.hypotheses import Hypothesis, Kind, hypotheses
from rctheory.inspection.inspection import ignore_progress
from rctheory.inspection.norms import collect_norms
from rctheory.statistics.gates import PValues
from rctheory.statistics.permutation import Arrays, PermutationTest, lag_one_tests
from rctheory.suite.experiment import Context, Experiment, Measurement, Table
from verification.real_weights import p_value_map

MODEL = "smollm2"
SORTED_AXIS = "layers.0.ffn"
SORTED_MATRIX = "model.layers.0.mlp.gate_proj.weight rows"


@lru_cache(maxsize=1)
def _hypotheses() -> tuple[Hypothesis, ...]:
    """Stream the model once in a process, for the experiment and its control."""
    with open_checkpoint(MODEL) as checkpoint:
        return tuple(hypotheses(checkpoint.layout, collect_norms(checkpoint, ignore_progress)))


def _chosen(layers: int) -> list[Hypothesis]:
    """Return the hypotheses of the model as a whole and of its first layers."""
    return [h for h in _hypotheses() if h.layer is None or h.layer < layers]


@lru_cache(maxsize=1)
def _tests(layers: int, permutations: int, seed: int) -> dict[str, PermutationTest]:
    """Test every chosen hypothesis, once in a process."""
    return lag_one_tests({h.name: h.sets for h in _chosen(layers)}, permutations=permutations, seed=seed)


def _plan(context: Context) -> tuple[int, int]:
    """Return how many layers and permutations a tier takes; with h axes a rejection needs 100 h - 1 permutations."""
    return context.choose(smoke=(8, 4999), ci=(30, 19999), full=(30, 99999))


def _measure(context: Context) -> Measurement:
    """Test the weights as they are."""
    layers, permutations = _plan(context)
    context.report_progress(f"reading {MODEL}")
    tested = _chosen(layers)
    context.report_progress(f"testing {len(tested)} axes, {permutations} permutations each")
    return _report(tested, _tests(layers, permutations, context.seed), layers, permutations)


def _measure_sorted(context: Context) -> Measurement:
    """Sort the rows of one gate matrix by their norm and leave the other tensors of that axis alone.

    Sorting rows sorts their norms and changes no column norm, so the planted error is planted in what was gathered.
    """
    layers, permutations = _plan(context)
    context.report_progress(f"reading {MODEL}")
    tested = _chosen(layers)
    tests = _tests(layers, permutations, context.seed)
    broken = next(h for h in tested if h.name == SORTED_AXIS)
    sets: list[Arrays] = [
        {label: array.sort(dim=-1).values if label == SORTED_MATRIX else array for label, array in arrays.items()}
        for arrays in broken.sets
    ]
    context.report_progress(f"testing {SORTED_AXIS} with the rows of one matrix sorted")
    tests = tests | lag_one_tests({SORTED_AXIS: sets}, permutations=permutations, seed=context.seed)
    return _report(tested, tests, layers, permutations)


def _report(tested: list[Hypothesis], tests: dict[str, PermutationTest], layers: int, permutations: int) -> Measurement:
    """Sort the p-values into the two families and draw the maps."""
    families: dict[bool, dict[str, float]] = {True: {}, False: {}}
    for h in tested:
        families[h.declared][h.name] = tests[h.name].p_value
    model = next(h for h in tested if h.layer is None and h.kind is Kind.ALONE)
    per_layer = [abs(z) for h in tested if h.layer is not None and h.declared for z in tests[h.name].scores.values()]
    largest = max(*per_layer, tests[model.name].statistic)
    weakest = min(tests[h.name].statistic for h in tested if not h.declared)
    remarks = (
        f"{MODEL}: {layers} layers, {len(tested)} axes, {permutations} permutations each; one permutation of an axis "
        "for all tensors that touch it, embedding and norm gains included.",
        f"Largest |z| on residual and feed-forward axes {largest:.2f}; smallest on an ordered axis {weakest:.2f}.",
        "The packaged weights are quantised in blocks of 32 along each row, which could tie neighbouring columns: "
        "the tests see no such order.",
    )
    quantities = {"exchangeable": PValues(families[True]), "ordered": PValues(families[False])}
    title = "Exact p-values of the log norms of rows and columns, each alone"
    alone = p_value_map(title, [tests[h.name] for h in tested])
    maps = (_p_value_map(tested, tests, layers), alone, _score_map(tested, tests, layers))
    return Measurement(quantities, maps, remarks)


def _p_value_map(tested: list[Hypothesis], tests: dict[str, PermutationTest], layers: int) -> Table:
    """Draw the exact p-value of every axis; axes of the model as a whole stand in the first row."""
    columns: dict[str, list[float]] = {}
    for h in tested:
        inside = f" inside {h.axis.parent.name}" if h.axis.parent else " permuted whole"
        title = {Kind.ALONE: h.axis.name, Kind.FLAT: "head axis, flat", Kind.INSIDE: h.axis.name + inside}[h.kind]
        column = columns.setdefault(title, [math.nan] * (layers + 1))
        column[0 if h.layer is None else h.layer + 1] = tests[h.name].p_value
    rows = ("model", *(f"layer {layer}" for layer in range(layers)))
    values = tuple(zip(*columns.values(), strict=True))
    return Table("Exact p-values of exchangeability, before Holm's adjustment", rows, tuple(columns), values, "p-value")


def _score_map(tested: list[Hypothesis], tests: dict[str, PermutationTest], layers: int) -> Table:
    """Draw the z-score of the lag-1 autocorrelation of log norms, for every tensor dimension of every layer."""
    columns: dict[str, list[float]] = {}
    for h in tested:
        for label, z in tests[h.name].scores.items() if h.kind is not Kind.INSIDE else ():
            prefix, _, rest = label.removeprefix("model.layers.").partition(".")
            if prefix.isdecimal() and int(prefix) < layers:
                columns.setdefault(rest.replace(".weight", ""), [math.nan] * layers)[int(prefix)] = z
    rows = tuple(f"layer {layer}" for layer in range(layers))
    values = tuple(zip(*columns.values(), strict=True))
    return Table("z of the lag-1 autocorrelation of log norms, inside its permutations", rows, tuple(columns), values)


_INSTALLED = partial(require_packaged, MODEL)
EXPERIMENT = Experiment(
    "exact permutation tests of every axis of a trained Llama-architecture model", _measure, _INSTALLED
)
SORTED_ROWS = Experiment(
    "the rows of one feed-forward matrix sorted by norm, the others left alone", _measure_sorted, _INSTALLED
)
