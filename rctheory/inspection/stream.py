"""One pass over a checkpoint: tensors are read by a few threads, measured at once, and let go.

A tensor is read once. Its moments are gathered block by block and let go of when the statistics of units have taken
them in; it is kept whole only where a statistic needs that, and
beyond its own statistics only until the last matrix that shares neurons with it has come. Random numbers are named
by the tensor, so the result does not depend on which thread comes first.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from math import frexp, prod

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.checkpoints.checkpoint import Checkpoint
from rctheory.errors import NumericsError, ShapeError
from rctheory.inspection.moments import Moments
from rctheory.inspection.neighbours import neuron_pairs, reading_order, short_name
from rctheory.inspection.statistic import (
    Matrix,
    MatrixStatistic,
    Options,
    Pair,
    PairStatistic,
    Row,
    Statistic,
    UnitRun,
    UnitStatistic,
)
from rctheory.numerics import single_threaded_kernels

FLOAT = 4
THREADS = 2
POLL_SECONDS = 0.2
FAR = 24  # powers of two from 1: fourth powers of the weights, and products of two, are in the range of float32


@dataclass(frozen=True)
class Progress:
    """How far an inspection is: what it does, and of reading how many of how many bytes of weights in float32."""

    message: str
    done: int = 0
    total: int = 0


@dataclass
class Gathered:
    """What one pass leaves behind: the rows of each statistic, matrices before pairs, and moments where asked for."""

    moments: dict[str, Moments] = field(default_factory=dict)
    runs: dict[str, UnitRun] = field(default_factory=dict)
    rows: dict[str, list[tuple[tuple[int, int], tuple[Row, ...]]]] = field(default_factory=dict)

    def of(self, statistic: Statistic) -> tuple[Row, ...]:
        """Return the rows of a statistic in reading order."""
        if statistic.name in self.runs:
            return self.runs[statistic.name].rows()
        found = sorted(self.rows.get(statistic.name, []), key=lambda item: item[0])
        return tuple(row for _, rows in found for row in rows)


def gather(
    checkpoint: Checkpoint,
    layout: Layout,
    statistics: Sequence[Statistic],
    options: Options,
    report_progress: Callable[[Progress], None],
    *,
    keep_moments: bool = False,
) -> Gathered:
    """Read the tensors of a layout once and measure them.

    Args:
        checkpoint: where they are stored.
        layout: the part of the checkpoint's layout that is inspected.
        statistics: those chosen; unit statistics ask for no more than moments.
        options: seed and permutations.
        report_progress: called from this thread a few times a second.
        keep_moments: leave the moments of every tensor behind; else they are let go of with their tensor.

    Raises:
        UsageError: a statistic cannot be had with these options.
        CheckpointError: a tensor cannot be read, or has NaN or infinite entries.
    """
    work = _Pass(checkpoint, layout, statistics, options, keep_moments)
    order = reading_order(layout)
    budget = max(_bytes(tensor) for tensor in order)
    with (
        single_threaded_kernels(),
        threadpool_limits(limits=1),  # the BLAS of NumPy and SciPy has threads of its own
        ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        running: dict[Future[None], int] = {}
        try:
            for place, tensor in enumerate(order):
                # Tensors in flight are at most as large as the largest: a second one waits when it would not fit.
                while running and (len(running) > THREADS or sum(running.values()) + _bytes(tensor) > budget):
                    _collect(running, work, report_progress)
                running[pool.submit(work.measure, place, tensor)] = _bytes(tensor)
            while running:
                _collect(running, work, report_progress)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return work.gathered


class _Pass:
    """The state of one pass, shared by its threads."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        layout: Layout,
        statistics: Sequence[Statistic],
        options: Options,
        keep_moments: bool,
    ) -> None:
        self.checkpoint, self.options = checkpoint, options
        self.of_matrices = sorted(
            (s for s in statistics if isinstance(s, MatrixStatistic)), key=lambda statistic: not statistic.of_log_sizes
        )
        self.of_pairs = [s for s in statistics if isinstance(s, PairStatistic)]
        self.pairs = list(enumerate(neuron_pairs(layout))) if self.of_pairs else []
        self.waiting = Counter(name for _, pair in self.pairs for name in _names(pair))
        self.held: dict[str, Matrix] = {}
        self.total = sum(_bytes(tensor) for tensor in layout.tensors.values())
        self.done = 0
        # Made before anything is read: what is kept should not lie between blocks that come and go.
        kept = {name: Moments.of(tensor.shape) for name, tensor in layout.tensors.items()} if keep_moments else {}
        runs = {s.name: s.begin(layout, options) for s in statistics if isinstance(s, UnitStatistic)}
        self.gathered = Gathered(kept, runs)
        self.lock = threading.Lock()

    def measure(self, place: int, tensor: TensorLayout) -> None:
        """Read one tensor, measure it, and measure the pairs that it completes."""
        moments = self.gathered.moments.get(tensor.name) or Moments.of(tensor.shape)
        self._measure_whole(place, tensor, moments)
        # The tensor itself is gone, unless others wait for it: what this takes does not come on top of it.
        for run in self.gathered.runs.values():
            run.add(tensor, moments)

    def _measure_whole(self, place: int, tensor: TensorLayout, moments: Moments) -> None:
        """Read one tensor; measure it, and the pairs that it completes, where a statistic wants it whole."""
        whole = len(tensor.shape) == 2 and bool(self.of_matrices or tensor.name in self.waiting)
        values = self._read(tensor, moments, whole)
        if values is None:
            return
        matrix = Matrix(tensor, values, _take_unit(values, moments.rms))
        for statistic in self.of_matrices:
            if not statistic.of_log_sizes and tensor.name not in self.waiting:
                matrix.let_go()
            measure = partial(statistic.measure_matrix, matrix, self.options)
            self._store(statistic, (0, place), _guarded(tensor.name, tensor, measure))
        with self.lock:
            completed = []
            if tensor.name in self.waiting:
                self.held[tensor.name] = matrix
                names = self.held.keys()
                completed = [(k, p) for k, p in self.pairs if tensor.name in _names(p) and {*_names(p)} <= names]
        for number, pair in completed:
            self._measure_pair(number, pair)

    def _read(self, tensor: TensorLayout, moments: Moments, whole: bool) -> Tensor | None:
        """Gather the moments of a tensor; return it whole if that is wanted."""
        values = torch.empty(tensor.shape) if whole else None
        start = 0
        for block in self.checkpoint.blocks(tensor.name):
            moments.add(block, start)
            if values is not None:
                values[start : start + len(block)] = block
            start += len(block)
            with self.lock:
                self.done += FLOAT * block.numel()
        return values

    def _measure_pair(self, number: int, pair: Pair) -> None:
        """Measure two matrices that are both here, then let go of those that no other pair waits for."""
        first, second = (self.held[name] for name in _names(pair))
        for statistic in self.of_pairs:
            measure = partial(statistic.measure_pair, pair, first, second, self.options)
            self._store(statistic, (1, number), _guarded(" and ".join(_names(pair)), pair.first.tensor, measure))
        with self.lock:
            for name in _names(pair):
                self.waiting[name] -= 1
                if not self.waiting[name]:
                    del self.held[name]

    def _store(self, statistic: Statistic, place: tuple[int, int], rows: tuple[Row, ...]) -> None:
        with self.lock:
            self.gathered.rows.setdefault(statistic.name, []).append((place, rows))


def _guarded(subject: str, tensor: TensorLayout, measure: Callable[[], Iterable[Row]]) -> tuple[Row, ...]:
    """Return the rows of a statistic; where a subject is too small for it, one row that says so."""
    try:
        return tuple(measure())
    except (ShapeError, NumericsError) as error:
        why = f"{error.found}; expected {error.expected}"
        return (Row(subject, short_name(tensor), tensor.layer, "", {}, why),)


def _take_unit(values: Tensor, rms: float) -> float:
    """Divide values by a power of two near their size, in place, where they are far from 1; return it."""
    exponent = frexp(rms)[1]
    if abs(exponent) <= FAR:
        return 1.0
    for half in (exponent // 2, exponent - exponent // 2):  # at once it would not fit a float32
        values.mul_(2.0**-half)
    return 2.0**exponent


def _collect(running: dict[Future[None], int], work: _Pass, report_progress: Callable[[Progress], None]) -> None:
    """Wait for a tensor to be finished, or for the time to tell how far it is; errors of the threads are raised."""
    finished, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
    for future in finished:
        del running[future]
        future.result()
    report_progress(Progress("reading", work.done, work.total))


def _names(pair: Pair) -> tuple[str, str]:
    return pair.first.tensor.name, pair.second.tensor.name


def _bytes(tensor: TensorLayout) -> int:
    return FLOAT * prod(tensor.shape)
