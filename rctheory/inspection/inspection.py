"""Which axes of a checkpoint carry an order, against what its architecture declares."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, prod
from typing import Any

from rctheory.checkpoints.sources import open_checkpoint
from rctheory.errors import UsageError
from rctheory.inspection.hypotheses import Hypothesis, hypotheses
from rctheory.inspection.norms import collect_norms
from rctheory.statistics.multiplicity import holm
from rctheory.statistics.permutation import PermutationTest, lag_one_tests

LEVEL = 0.01
PERMUTATIONS = 19999


class Finding(StrEnum):
    """What the weights say of a declaration."""

    EXCHANGEABLE = "exchangeable, as declared"
    ORDERED = "ordered, as declared"
    CONTRADICTED = "ordered, against the declaration"
    UNDECIDED = "no order seen, none excluded"


@dataclass(frozen=True)
class AxisFinding:
    """One tested axis: the hypothesis, its test, and its p-value after Holm's adjustment over all tested axes."""

    hypothesis: Hypothesis
    test: PermutationTest
    adjusted: float

    @property
    def finding(self) -> Finding:
        """Return what the adjusted p-value says at the family-wise level `LEVEL`."""
        if self.adjusted <= LEVEL:
            return Finding.CONTRADICTED if self.hypothesis.declared else Finding.ORDERED
        return Finding.EXCHANGEABLE if self.hypothesis.declared else Finding.UNDECIDED

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        hypothesis, test = self.hypothesis, self.test
        return {
            "axis": hypothesis.name,
            "role": str(hypothesis.axis.role),
            "layer": hypothesis.layer,
            "kind": str(hypothesis.kind),
            "units": hypothesis.units,
            "declared_exchangeable": hypothesis.declared,
            "p_value": test.p_value,
            "p_adjusted": self.adjusted,
            "z": dict(test.scores),
            "finding": str(self.finding),
        }


@dataclass(frozen=True)
class Inspection:
    """The symmetry that a checkpoint shows, axis by axis.

    Args:
        source: what was inspected.
        architecture: name of its declaration.
        layers: number of layers.
        parameters: number of stored weights.
        permutations: random permutations of each test.
        seed: root seed.
        axes: one finding for each tested axis.
    """

    source: str
    architecture: str
    layers: int
    parameters: int
    permutations: int
    seed: int
    axes: tuple[AxisFinding, ...]

    @property
    def consistent(self) -> bool:
        """Return whether no axis contradicts the declaration."""
        return all(axis.finding is not Finding.CONTRADICTED for axis in self.axes)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "source": self.source,
            "architecture": self.architecture,
            "layers": self.layers,
            "parameters": self.parameters,
            "permutations": self.permutations,
            "seed": self.seed,
            "level": LEVEL,
            "consistent": self.consistent,
            "axes": [axis.as_dict() for axis in self.axes],
        }


def ignore_progress(_message: str) -> None:
    """Drop a progress message."""


def inspect_source(
    source: str,
    *,
    seed: int = 0,
    permutations: int | None = None,
    report_progress: Callable[[str], None] = ignore_progress,
) -> Inspection:
    """Test every axis of a checkpoint for exchangeability.

    The checkpoint is read once, a block of rows at a time. The p-values are exact; those of one inspection are adjusted
    together (Holm, family-wise level 1%).

    Args:
        source: as `open_checkpoint` takes it.
        seed: root seed of the permutations.
        permutations: random permutations of each axis; by default 19999, or more where many axes need more.
        report_progress: takes one short message; may be called often.

    Raises:
        CheckpointError: the checkpoint cannot be read, or contradicts its declaration.
        UsageError: too few permutations for any rejection at that level.

    Source: claim `weights.exchangeable-axes`.
    """
    with open_checkpoint(source) as checkpoint:
        layout = checkpoint.layout
        norms = collect_norms(checkpoint, report_progress)
    tested = hypotheses(layout, norms)
    permutations = _enough(permutations, len(tested))
    report_progress(f"testing {len(tested)} axes with {permutations} permutations each")
    tests = lag_one_tests({h.name: h.sets for h in tested}, permutations=permutations, seed=seed)
    parameters = sum(prod(tensor.shape) for tensor in layout.tensors.values())
    adjusted = holm([tests[h.name].p_value for h in tested])
    axes = tuple(AxisFinding(h, tests[h.name], p) for h, p in zip(tested, adjusted, strict=True))
    return Inspection(source, layout.architecture, layout.layers, parameters, permutations, seed, axes)


def _enough(permutations: int | None, axes: int) -> int:
    """Return the number of permutations; one test can reach the level among `axes` when axes / (B + 1) <= LEVEL."""
    fewest = ceil(axes / LEVEL) - 1
    if permutations is None:
        return max(PERMUTATIONS, fewest)
    if permutations < fewest:
        found = f"{permutations} permutations for {axes} axes"
        raise UsageError(found, f"at least {fewest}: with fewer no axis can be rejected", "ask for more permutations")
    return permutations
