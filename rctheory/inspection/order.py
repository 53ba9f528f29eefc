"""`order`: does the order of the units of an axis carry anything, against what the architecture declares?"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate
from math import ceil
from threading import Lock

import torch
from torch import Tensor

from rctheory.architectures.layout import Layout, TensorLayout
from rctheory.errors import UsageError
from rctheory.inspection.choice import restrict
from rctheory.inspection.hypotheses import Kind, Plan, Source, arranged, block_shape, plans
from rctheory.inspection.moments import Moments
from rctheory.inspection.statistic import Column, Options, Row, UnitRun, UnitStatistic
from rctheory.statistics.multiplicity import max_t
from rctheory.statistics.permutation import Member, PermutationTest, RunningTests

LEVEL = 0.01
PERMUTATIONS = 1999  # a p-value of 1/2000 in each of several families: far below the level
LAYERS_TOGETHER = 8  # more would save draws of permutations, fewer memory


class Finding(StrEnum):
    """What the weights say of a declaration."""

    EXCHANGEABLE = "exchangeable, as declared"
    ORDERED = "ordered, as declared"
    CONTRADICTED = "ordered, against the declaration"
    UNDECIDED = "no order seen, none excluded"


@dataclass(frozen=True)
class AxisFinding:
    """One tested axis: the hypothesis, its test, and its p-value adjusted over all tested axes."""

    hypothesis: Plan
    test: PermutationTest
    adjusted: float

    @property
    def finding(self) -> Finding:
        """Return what the adjusted p-value says at the family-wise level `LEVEL`."""
        if self.adjusted <= LEVEL:
            return Finding.CONTRADICTED if self.hypothesis.declared else Finding.ORDERED
        return Finding.EXCHANGEABLE if self.hypothesis.declared else Finding.UNDECIDED

    @property
    def title(self) -> str:
        """Return what is permuted, in words: `value_dim inside group`."""
        axis = self.hypothesis.axis
        if self.hypothesis.kind is Kind.FLAT:
            return f"units of {axis.path}, nesting ignored"
        if self.hypothesis.kind is Kind.INSIDE:
            return f"{axis.name} inside {axis.parent.name}" if axis.parent else f"whole {axis.path}s"
        return axis.path

    def as_row(self) -> Row:
        """Return the finding as a row of the statistic."""
        hypothesis, test = self.hypothesis, self.test
        return Row(
            hypothesis.name,
            self.title,
            hypothesis.layer,
            "",
            {
                "role": str(hypothesis.axis.role),
                "kind": str(hypothesis.kind),
                "units": hypothesis.units,
                "declared_exchangeable": hypothesis.declared,
                "z": test.statistic,
                "most_in": max(test.scores, key=lambda label: abs(test.scores[label])),
                "scores": dict(test.scores),
                "p_values": dict(test.p_values),
                "p_value": test.p_value,
                "p_value_adjusted": self.adjusted,
                "finding": str(self.finding),
            },
        )


class Order(UnitStatistic):
    """Exact permutation tests of every axis, over everything that touches it."""

    name = "order"
    question = (
        "Does the order in which neurons, heads or coordinates are stored carry anything? It must not where the "
        "architecture declares them exchangeable; exact permutation tests of log norms."
    )
    columns = (
        Column("role", "role", "text"),
        Column("kind", "how units are permuted", "text"),
        Column("units", "units", "count"),
        Column("declared_exchangeable", "declared exchangeable", "text"),
        Column("z", "largest |z|", shown=False),
        Column("most_in", "most in", "text"),
        Column("p_value", "p-value", "p-value"),
        Column("finding", "the weights are", "text"),
    )

    def begin(self, layout: Layout, options: Options) -> "OrderRun":
        """Start with the chosen axes of a layout; one row comes of each, in the order of the declaration.

        Raises:
            UsageError: too few permutations for any rejection.
        """
        return OrderRun(layout, options)


class OrderRun(UnitRun):
    """Tests of the chosen axes of a layout, done while its tensors come.

    The log norms of a few layers are tested as soon as these layers are complete, and let go of. What is kept to the
    end grows with the layers, but with no power of the width beyond them: the largest |z| of every permutation for each
    axis instance, which `max_t` takes, and one log norm for every unit of an axis that nests, whose layers are pooled.

    Inside a family (`Plan.family`) p-values are adjusted by step-down max-T, which knows how much the tests depend on
    each other; between families, by Holm's procedure.

    Source: claim `weights.exchangeable-axes`.
    """

    def __init__(self, layout: Layout, options: Options) -> None:
        """Plan the tests, and make room for what is kept."""
        self._layout, self._plans = layout, _chosen(layout, options.axes)
        self._families = {plan.name: plan.family for plan in self._plans}
        permutations = enough(options.permutations, len(set(self._families.values())))
        labels = {plan.name: [label for arrays in plan.sources for label in arrays] for plan in self._plans}
        self._tests = RunningTests(labels, permutations=permutations, seed=options.seed)
        self._pooled: dict[tuple[str, str], Tensor] = {}
        self._uses: dict[str, list[_Use]] = {}
        for number, use in enumerate(self._every_use()):
            self._uses.setdefault(use.source.tensor, []).append(replace(use, number=number))
        self._missing = Counter(_window(tensor) for tensor in layout.tensors.values())
        self._waiting: dict[int | None, list[tuple[int, Member]]] = {}
        self._lock, self._scoring = Lock(), Lock()

    def add(self, tensor: TensorLayout, moments: Moments) -> None:
        """Take in the log norms of a tensor; test those of its layers if it is the last of them."""
        norms: dict[int, Tensor] = {}
        members: list[tuple[int, Member]] = []
        for use in self._uses.get(tensor.name, ()):
            dimension = use.source.dimension
            if dimension not in norms:
                norms[dimension] = moments.log_norms(dimension)
            array = arranged(self._layout, use.source, norms[dimension])
            if use.source.place is None:
                members.append((use.number, (use.plan, use.label, array)))
            else:
                self._pooled[use.plan, use.label][use.start : use.start + len(array)] = array
        window = _window(tensor)
        with self._lock:
            self._waiting.setdefault(window, []).extend(members)
            self._missing[window] -= 1
            complete = [] if self._missing[window] else self._waiting.pop(window)
        if complete:
            with self._scoring:  # one at a time: the scores of all orders are what takes memory here
                # In the order of the plans: what is scored together does not depend on which thread came first.
                self._tests.add(member for _, member in sorted(complete, key=lambda item: item[0]))

    def rows(self) -> tuple[Row, ...]:
        """Test what is pooled over layers, and adjust all p-values together."""
        for plan in self._plans:  # one at a time, and gone before the next: pooled arrays are as large as what is kept
            labels = [label for name, label in self._pooled if name == plan.name]
            self._tests.add((plan.name, label, self._pooled.pop((plan.name, label))) for label in labels)
        replicates = {plan.name: self._tests.replicates(plan.name) for plan in self._plans}
        adjusted = max_t(replicates, self._families)
        return tuple(
            AxisFinding(plan, self._tests.test(plan.name), adjusted[plan.name]).as_row() for plan in self._plans
        )

    def _every_use(self) -> Iterator["_Use"]:
        """Yield what every array is made of, in the order of the plans; make room for pooled ones."""
        for plan in self._plans:
            for arrays in plan.sources:
                for label, sources in arrays.items():
                    if sources[0].place is None:
                        yield _Use(plan.name, label, sources[0])
                        continue
                    shapes = [block_shape(self._layout, source) for source in sources]
                    blocks = sum(shape[0] for shape in shapes)
                    self._pooled[plan.name, label] = torch.zeros(blocks, *shapes[0][1:], dtype=torch.float64)
                    for start, source in zip(accumulate((s[0] for s in shapes), initial=0), sources, strict=False):
                        yield _Use(plan.name, label, source, start)


@dataclass(frozen=True)
class _Use:
    """One source of an array of a plan: at which block it starts, and its number among all."""

    plan: str
    label: str
    source: Source
    start: int = 0
    number: int = 0


def _window(tensor: TensorLayout) -> int | None:
    """Return which layers a tensor is tested with; those of the model make a window of their own."""
    return None if tensor.layer is None else tensor.layer // LAYERS_TOGETHER


def enough(permutations: int | None, families: int) -> int:
    """Return the number of permutations; of m families one can reach the level when m / (B + 1) <= LEVEL.

    Raises:
        UsageError: fewer were asked for.
    """
    fewest = ceil(families / LEVEL) - 1
    if permutations is None:
        return max(PERMUTATIONS, fewest)
    if permutations < fewest:
        found = f"{permutations} permutations for {families} families of axes"
        raise UsageError(found, f"at least {fewest}: with fewer no axis can be rejected", "ask for more permutations")
    return permutations


def _chosen(layout: Layout, axes: frozenset[str]) -> list[Plan]:
    """Return the plans for the chosen axis instances; what is pooled over layers is pooled over chosen ones."""
    if axes >= layout.axes.keys():
        return plans(layout)
    found = []
    for axis in dict.fromkeys(layout.axes[name].axis for name in layout.axes if name in axes):
        instances = frozenset(name for name in axes if layout.axes[name].axis == axis)
        about = (plan for plan in plans(restrict(layout, instances)) if plan.axis == axis)
        found += [plan for plan in about if plan.layer is None or axis.instance(plan.layer) in instances]
    return found
