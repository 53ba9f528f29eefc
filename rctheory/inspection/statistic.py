"""What a statistic over a checkpoint is: what it needs, which rows it returns, and how they are summarised.

A statistic is a small object. A new one is a class with its `columns` and a method that measures, and one entry in
`registry.STATISTICS`: the command line, the JSON, the tables of the console and the maps of the page follow from
its columns.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from rctheory.architectures.axes import AxisInstance
from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.inspection.moments import Moments
from rctheory.statistics.arrays.scales import log_sizes

Value = float | int | str | bool | None | Mapping[str, float]
ColumnKind = Literal["p-value", "value", "count", "text"]


@dataclass(frozen=True)
class Column:
    """One named number of the rows of a statistic.

    Args:
        key: its key in JSON.
        title: its heading.
        kind: `p-value` (adjusted over the whole statistic), `value` (an effect size or another number), `count`, or
            `text`.
        shown: it belongs to the summary on the console, and has a map of its own on the page; all columns are in JSON.
    """

    key: str
    title: str
    kind: ColumnKind = "value"
    shown: bool = True


@dataclass(frozen=True)
class Row:
    """What a statistic says about one subject.

    Args:
        subject: the tensor, pair of tensors or axis.
        pattern: what the subject is called in every layer, short: `mlp.gate_proj`.
        layer: its layer; None for a subject of the model.
        part: which part of the subject, such as `rows`; empty for the whole.
        values: a value for each column; None where there is none.
        refusal: why a value is missing, where one is.
        summarised_as: the label under which rows are summarised together, where that is not `label`.
    """

    subject: str
    pattern: str
    layer: int | None
    part: str
    values: Mapping[str, Value]
    refusal: str = ""
    summarised_as: str = ""

    @property
    def summary_label(self) -> str:
        """Return the label under which this row is summarised with others."""
        return self.summarised_as or self.label

    @property
    def label(self) -> str:
        """Return the pattern with its part: `mlp.gate_proj rows`."""
        return f"{self.pattern} {self.part}".strip()

    def as_dict(self) -> dict[str, Value]:
        """Return plain values for JSON."""
        place = {"subject": self.subject, "pattern": self.pattern, "layer": self.layer, "part": self.part}
        return {**place, **self.values, **({"refusal": self.refusal} if self.refusal else {})}


@dataclass(frozen=True)
class Options:
    """What every statistic is told.

    Args:
        axes: names of the axis instances that were chosen.
        seed: root of all random numbers.
        permutations: of each axis, where the user says so.
    """

    axes: frozenset[str]
    seed: int = 0
    permutations: int | None = None


@dataclass
class Matrix:
    """A whole two-dimensional tensor: where it belongs, and its `values` (m, n) in float32.

    The weights are `unit` times the values, a power of two: 1 but where powers of the weights would leave float32.
    """

    layout: TensorLayout
    values: Tensor
    unit: float = 1.0
    _log_sizes: Tensor | None = None

    @property
    def log_sizes(self) -> Tensor:
        """Return log |w| as `scales.log_sizes` does, computed once for all statistics."""
        if self._log_sizes is None:
            self._log_sizes = log_sizes(self.values)
        return self._log_sizes

    def let_go(self) -> None:
        """Let go of what can be computed again."""
        self._log_sizes = None


@dataclass(frozen=True)
class Side:
    """One end of a pair: a tensor, the dimension that runs over the shared axis, and the nest of that dimension."""

    tensor: TensorLayout
    dimension: int

    @property
    def nest(self) -> tuple[AxisInstance, ...]:
        """Return the nest of the shared dimension."""
        return self.tensor.nests[self.dimension]


@dataclass(frozen=True)
class Pair:
    """Two matrices that share neurons: one dimension of each runs over them, and `axis` is the innermost of both."""

    axis: AxisInstance
    first: Side
    second: Side


@dataclass(frozen=True)
class Outcome:
    """What one statistic returned: `rows` with adjusted p-values beside the raw ones, and `notes` for people."""

    statistic: "Statistic"
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "question": self.statistic.question,
            "columns": {column.key: column.title for column in self.statistic.columns},
            "notes": list(self.notes),
            "rows": [row.as_dict() for row in self.rows],
        }


class Statistic(ABC):
    """One statistic.

    `name` is what `--statistics` takes, `question` one line that says what it answers and how to read the answer;
    `columns` are its numbers. `default` statistics run when none are named.
    """

    name: ClassVar[str]
    question: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    default: ClassVar[bool] = True

    def notes(self, rows: Sequence[Row], options: Options) -> Iterable[str]:
        """Return sentences about all rows together."""
        return ()


class UnitRun(ABC):
    """One run of a unit statistic over a checkpoint. Tensors come one at a time, from several threads, in no order.

    What it keeps of a tensor should be few numbers: sums of its units are let go of after `add`.
    """

    @abstractmethod
    def add(self, tensor: TensorLayout, moments: Moments) -> None:
        """Take in one tensor."""

    @abstractmethod
    def rows(self) -> tuple[Row, ...]:
        """Return the rows, once all tensors have come."""


class UnitStatistic(Statistic):
    """A statistic that needs only the moments of units, gathered while tensors are read."""

    @abstractmethod
    def begin(self, layout: Layout, options: Options) -> UnitRun:
        """Start a run over a layout, restricted to what was chosen."""


class MatrixStatistic(Statistic):
    """A statistic of one whole matrix at a time.

    Those `of_log_sizes` come first: a large matrix and its log sizes are not kept beside the copies of the others.
    """

    of_log_sizes: ClassVar[bool] = False

    @abstractmethod
    def measure_matrix(self, matrix: Matrix, options: Options) -> Iterable[Row]:
        """Return the rows of one matrix."""


class PairStatistic(Statistic):
    """A statistic of two matrices that share neurons; it may be one of single matrices as well."""

    @abstractmethod
    def measure_pair(self, pair: Pair, first: Matrix, second: Matrix, options: Options) -> Iterable[Row]:
        """Return the rows of one pair; the matrices are those of its two sides, as they are stored."""
