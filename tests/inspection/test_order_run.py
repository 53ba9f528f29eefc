"""Statistics of units while tensors come: what they keep, and that the order of the tensors changes nothing."""

import random
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.architectures.registry import layout_of
from rctheory.checkpoints.sources import open_checkpoint
from rctheory.inspection.hypotheses import hypotheses
from rctheory.inspection.inspection import ignore_progress
from rctheory.inspection.moments import Moments
from rctheory.inspection.neighbours import reading_order
from rctheory.inspection.norms import norms_of
from rctheory.inspection.order import LAYERS_TOGETHER, OrderRun
from rctheory.inspection.statistic import Options, Row, UnitRun, UnitStatistic
from rctheory.inspection.stream import THREADS, gather
from rctheory.statistics.multiplicity import max_t
from rctheory.statistics.permutation import order_tests
from tests.checkpoints.folders import CONFIG, save_folder, tiny_weights
from tests.helpers import stream

LAYERS = 2 * LAYERS_TOGETHER + 1
PERMUTATIONS = 499


class Watcher(UnitStatistic, UnitRun):
    """Counts the moments that are alive whenever a tensor comes."""

    name, question, columns = "watcher", "", ()

    def __init__(self) -> None:
        self.seen: list[weakref.ref[Moments]] = []
        self.alive: list[int] = []

    def begin(self, layout: Layout, options: Options) -> UnitRun:
        return self

    def add(self, tensor: TensorLayout, moments: Moments) -> None:
        self.seen.append(weakref.ref(moments))
        self.alive.append(sum(reference() is not None for reference in self.seen))

    def rows(self) -> tuple[Row, ...]:
        return ()


def random_moments(layout: Layout) -> dict[str, Moments]:
    """Draw every tensor and return its moments."""
    normal = stream(0)
    moments = {name: Moments.of(tensor.shape) for name, tensor in layout.tensors.items()}
    for of in moments.values():
        of.add(torch.randn(of.shape, generator=normal), 0)
    return moments


def run(layout: Layout, moments: dict[str, Moments], names: Sequence[str]) -> OrderRun:
    """Give a run all tensors, in an order of their names."""
    running = OrderRun(layout, Options(frozenset(layout.axes), 3, PERMUTATIONS))
    for name in names:
        running.add(layout.tensors[name], moments[name])
    return running


def test_the_sums_of_a_tensor_are_let_go_of_once_all_statistics_have_seen_it(tmp_path: Path) -> None:
    watcher = Watcher()
    with open_checkpoint(save_folder(tmp_path, tiny_weights())) as checkpoint:
        layout = checkpoint.layout
        gathered = gather(checkpoint, layout, [watcher], Options(frozenset(layout.axes)), ignore_progress)
    assert len(watcher.alive) == len(layout.tensors)
    assert max(watcher.alive) <= THREADS
    assert not gathered.moments


def test_tests_of_layers_as_they_come_are_those_of_all_layers_at_once() -> None:
    layout = layout_of(CONFIG | {"num_hidden_layers": LAYERS})
    moments = random_moments(layout)
    tested = hypotheses(layout, norms_of(moments))
    tests = order_tests({h.name: h.sets for h in tested}, permutations=PERMUTATIONS, seed=3)
    adjusted = max_t({name: test.replicates for name, test in tests.items()}, {h.name: h.family for h in tested})
    rows = {row.subject: row.values for row in run(layout, moments, list(layout.tensors)).rows()}
    assert list(rows) == [h.name for h in tested]
    for name, test in tests.items():
        assert rows[name]["p_value"] == test.p_value
        assert rows[name]["p_values"] == test.p_values
        assert rows[name]["p_value_adjusted"] == adjusted[name]
        scores = rows[name]["scores"]
        assert list(scores) == list(test.scores)
        np.testing.assert_allclose(list(scores.values()), list(test.scores.values()), rtol=1e-4, atol=1e-5)


def test_the_order_in_which_tensors_come_changes_no_bit() -> None:
    layout = layout_of(CONFIG | {"num_hidden_layers": LAYERS})
    moments, names = random_moments(layout), list(layout.tensors)
    first = run(layout, moments, names).rows()
    random.Random(0).shuffle(names)
    assert run(layout, moments, names).rows() == first


def test_log_norms_are_kept_of_a_few_layers_alone() -> None:
    layout = layout_of(CONFIG | {"num_hidden_layers": LAYERS})
    moments = random_moments(layout)
    running = OrderRun(layout, Options(frozenset(layout.axes), 3, PERMUTATIONS))
    waiting = []
    for tensor in reading_order(layout):
        running.add(tensor, moments[tensor.name])
        waiting.append(sum(window is not None for window in running._waiting))
    assert max(waiting) == 1
    assert not running._waiting
