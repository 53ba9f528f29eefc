"""`order`: does the order of the units of an axis carry anything, against what the architecture declares?"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from rctheory.architectures.layout import Layout
from rctheory.errors import UsageError
from rctheory.inspection.choice import restrict
from rctheory.inspection.hypotheses import Hypothesis, Kind, hypotheses
from rctheory.inspection.moments import Moments
from rctheory.inspection.norms import UnitNorms
from rctheory.inspection.statistic import Column, Options, Row, UnitStatistic
from rctheory.inspection.stream import THREADS
from rctheory.statistics.multiplicity import max_t
from rctheory.statistics.permutation import PermutationTest, order_tests

LEVEL = 0.01
PERMUTATIONS = 1999  # a p-value of 1/2000 in each of several families: far below the level


class Finding(StrEnum):
    """What the weights say of a declaration."""

    EXCHANGEABLE = "exchangeable, as declared"
    ORDERED = "ordered, as declared"
    CONTRADICTED = "ordered, against the declaration"
    UNDECIDED = "no order seen, none excluded"


@dataclass(frozen=True)
class AxisFinding:
    """One tested axis: the hypothesis, its test, and its p-value adjusted over all tested axes."""

    hypothesis: Hypothesis
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

    def measure(self, layout: Layout, moments: Mapping[str, Moments], options: Options) -> tuple[Row, ...]:
        """Return one row for each axis, in the order of the declaration."""
        return tuple(finding.as_row() for finding in find_order(layout, moments, options))


def find_order(layout: Layout, moments: Mapping[str, Moments], options: Options) -> tuple[AxisFinding, ...]:
    """Test the chosen axes of a layout.

    Inside a family (`Hypothesis.family`) p-values are adjusted by step-down max-T, which knows how much the tests
    depend on each other; between families, by Holm's procedure.

    Raises:
        UsageError: too few permutations for any rejection.

    Source: claim `weights.exchangeable-axes`.
    """
    norms = {
        (name, dimension): moments[name].log_norms(dimension)
        for name, tensor in layout.tensors.items()
        for dimension in range(len(tensor.nests))
    }
    tested = _chosen(layout, norms, options.axes)
    families = {h.name: h.family for h in tested}
    permutations = enough(options.permutations, len(set(families.values())))
    sets = {h.name: h.sets for h in tested}
    tests = order_tests(sets, permutations=permutations, seed=options.seed, threads=THREADS)
    adjusted = max_t({name: test.replicates for name, test in tests.items()}, families)
    return tuple(AxisFinding(h, tests[h.name], adjusted[h.name]) for h in tested)


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


def _chosen(layout: Layout, norms: UnitNorms, axes: frozenset[str]) -> list[Hypothesis]:
    """Return the hypotheses about the chosen axis instances; what is pooled over layers is pooled over chosen ones."""
    if axes >= layout.axes.keys():
        return hypotheses(layout, norms)
    found = []
    for axis in dict.fromkeys(layout.axes[name].axis for name in layout.axes if name in axes):
        instances = frozenset(name for name in axes if layout.axes[name].axis == axis)
        about = (h for h in hypotheses(restrict(layout, instances), norms) if h.axis == axis)
        found += [h for h in about if h.layer is None or axis.instance(h.layer) in instances]
    return found
