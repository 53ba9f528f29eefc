"""Claims `weights.exchangeable-bert` and `weights.exchangeable-gpt`: the declared symmetry, in two more families.

As for Llama: every axis that is declared exchangeable must pass an exact permutation test, every order that is declared
must be seen by one. Without rotary positions keys are a free gauge as well as values, and whole heads are exchangeable;
positions are learned one by one, and they must not be.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

from rctheory.architectures.axes import Role
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.checkpoints.sources import open_checkpoint, require_packaged
from rctheory.inspection.hypotheses import Hypothesis, Kind, hypotheses
from rctheory.inspection.inspection import ignore_progress
from rctheory.inspection.norms import collect_norms
from rctheory.statistics.gates import PValues
from rctheory.statistics.order import ORDER_STATISTICS, OrderStatistic, Runs
from rctheory.statistics.permutation import Arrays, PermutationTest, order_tests
from rctheory.suite.experiment import Context, Experiment, Measurement, Table, Tier
from verification.gpt import held_out_loss, initial_gpt, trained_gpt
from verification.real_weights import BERT, open_gpt, p_value_map

Sets = tuple[Arrays, ...]
COORDINATES = 64  # of a position: residual coordinates are alike, so some of them say enough
SORTED_AXIS = "layers.0.ffn"
SORTED_MATRIX = "bert.encoder.layer.0.intermediate.dense.weight rows"


@dataclass(frozen=True)
class Case:
    """The hypotheses of one model, by name, those declared exchangeable and those declared ordered."""

    title: str
    exchangeable: Mapping[str, Sets]
    ordered: Mapping[str, Sets]
    statistics: tuple[OrderStatistic, ...]
    permutations: int
    seed: int


def _case(title: str, checkpoint: Checkpoint, layers: int, context: Context, *, pooled: bool) -> Case:
    """Gather the hypotheses of the model as a whole and of its first layers.

    Positions are tested with some of their coordinates: their vectors, not only their norms, must follow an order.
    `pooled` makes one hypothesis of the heads of all layers.
    """
    layout = checkpoint.layout
    found = hypotheses(layout, collect_norms(checkpoint, ignore_progress))
    chosen = [h for h in found if h.layer is None or h.layer < layers]
    ordered: dict[str, Sets] = {}
    for hypothesis in (h for h in chosen if not h.declared):
        sets: Sets = hypothesis.sets
        if hypothesis.axis.role is Role.POSITION:
            tensors = [touch.tensor for touch in layout.touches(hypothesis.name)]
            sets = ({tensor: checkpoint.tensor(tensor).T[None, :COORDINATES] for tensor in tensors},)
        ordered[hypothesis.name] = sets
    flat = [h for h in chosen if h.kind is Kind.FLAT]
    if pooled:
        ordered = {n: sets for n, sets in ordered.items() if n not in {h.name for h in flat}}
        ordered["heads of all layers (flat)"] = _pool(flat)
    head_dim = next(i.size for i in layout.axes.values() if i.axis.role is Role.HEAD_DIM)
    statistics = (*ORDER_STATISTICS, *(s for s in (Runs(head_dim),) if s not in ORDER_STATISTICS))
    exchangeable = {h.name: h.sets for h in chosen if h.declared}
    permutations = context.choose(smoke=1999, ci=9999, full=99999)
    return Case(title, exchangeable, ordered, statistics, permutations, context.seed)


def _pool(flat: Sequence[Hypothesis]) -> Sets:
    """Make blocks of the layers: heads are permuted inside each layer, all layers are judged together."""
    pooled: list[dict[str, list[torch.Tensor]]] = [{} for _ in flat[0].sets]
    for hypothesis in flat:
        for parts, arrays in zip(pooled, hypothesis.sets, strict=True):
            for label, array in arrays.items():
                parts.setdefault(re.sub(r"\.\d+\.", ".{layer}.", label), []).append(array)
    return tuple({label: torch.cat(arrays) for label, arrays in parts.items()} for parts in pooled)


@lru_cache(maxsize=1)
def _bert(tier: Tier, seed: int) -> tuple[Case, dict[str, PermutationTest]]:
    """Read and test the packaged model, once in a process."""
    context = Context(seed=seed, tier=tier)
    layers = context.choose(smoke=3, ci=6, full=6)
    with open_checkpoint(BERT) as checkpoint:
        case = _case(f"{BERT}, {layers} layers", checkpoint, layers, context, pooled=False)
    return case, _test(case, {**case.exchangeable, **case.ordered})


def _test(case: Case, sets: Mapping[str, Sequence[Arrays]]) -> dict[str, PermutationTest]:
    """Test some hypotheses of a case."""
    return order_tests(sets, statistics=case.statistics, permutations=case.permutations, seed=case.seed)


def _measure_bert(context: Context, *, sort: bool = False) -> Measurement:
    """Test BERT as it is, or with the rows of one matrix sorted by norm and the rest of its axis left alone."""
    context.report_progress(f"reading and testing {BERT}")
    case, tests = _bert(context.tier, context.seed)
    if sort:
        # Sorting rows sorts their norms and changes no column norm.
        broken = [
            {label: a.sort(dim=-1).values if label == SORTED_MATRIX else a for label, a in arrays.items()}
            for arrays in case.exchangeable[SORTED_AXIS]
        ]
        tests = tests | _test(case, {SORTED_AXIS: broken})
    return _report(case, tests)


def _measure_gpt(context: Context, *, trained: bool = True) -> Measurement:
    """Test the GPT-2 that is trained here, or the same before its first step."""
    context.report_progress("training a GPT-2")
    model = trained_gpt(context) if trained else initial_gpt(context)
    size, loss = model.size, held_out_loss(model)
    title = f"GPT-2 of {size.layers} layers of width {size.width}, held-out loss {loss:.2f} nats for each character"
    context.report_progress("testing its axes")
    with open_gpt(model) as checkpoint:
        case = _case(title, checkpoint, size.layers, context, pooled=True)
    return _report(case, _test(case, {**case.exchangeable, **case.ordered}))


def _report(case: Case, tests: Mapping[str, PermutationTest]) -> Measurement:
    """Sort the p-values into the two families and print them."""
    quantities = {
        "exchangeable": PValues({name: tests[name].p_value for name in case.exchangeable}),
        "ordered": PValues({name: tests[name].p_value for name in case.ordered}),
    }
    names = (*case.exchangeable, *case.ordered)
    largest = max(tests[name].statistic for name in case.exchangeable)
    smallest = min(tests[name].statistic for name in case.ordered)
    table = Table(
        f"Exact p-values of exchangeability, before Holm's adjustment: {case.title}",
        tuple(f"{name}, {'exchangeable' if name in case.exchangeable else 'ordered'}" for name in names),
        ("p-value", "largest |z|"),
        tuple((tests[name].p_value, tests[name].statistic) for name in names),
        "text",
    )
    remarks = (
        f"{case.title}: {len(names)} axes, {case.permutations} permutations each, "
        f"{len(case.statistics)} statistics of order.",
        f"Largest |z| on an exchangeable axis {largest:.2f}, smallest on an ordered one {smallest:.2f}.",
    )
    title = f"Exact p-values of the log norms of rows and columns: {case.title}"
    return Measurement(quantities, (table, p_value_map(title, tests.values())), remarks)


_INSTALLED = partial(require_packaged, BERT)
BERT_AXES = Experiment("exact permutation tests of every axis of a trained BERT", _measure_bert, _INSTALLED)
SORTED_ROWS = Experiment(
    "the rows of one feed-forward matrix sorted by norm, the others left alone",
    partial(_measure_bert, sort=True),
    _INSTALLED,
)
GPT_AXES = Experiment("exact permutation tests of every axis of a GPT-2 trained on English text", _measure_gpt)
UNTRAINED = Experiment("the same model before its first step: no order anywhere", partial(_measure_gpt, trained=False))
