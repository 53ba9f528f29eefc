"""What an experiment is given, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch

from rctheory import numerics
from rctheory.statistics.gates import Quantity
from rctheory.suite.tier import Tier

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Context", "Experiment", "Measurement", "Table", "Tier"]
T = TypeVar("T")


def _ignore(_message: str) -> None:
    """Drop a progress message."""


@dataclass(frozen=True)
class Context:
    """The circumstances of one run of an experiment.

    Args:
        seed: root seed; every random number comes from a stream named under it.
        tier: how much work to do.
        device: where to compute.
        report_progress: takes one short message; may be called often.
    """

    seed: int = 0
    tier: Tier = Tier.CI
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    report_progress: Callable[[str], None] = _ignore

    def choose(self, *, smoke: T, ci: T, full: T) -> T:
        """Return the value for the tier."""
        return {Tier.SMOKE: smoke, Tier.CI: ci, Tier.FULL: full}[self.tier]

    def generator(self, *names: str | int) -> torch.Generator:
        """Return torch's CPU generator of a named stream."""
        return numerics.generator(self.seed, *names)

    def numpy_generator(self, *names: str | int) -> "np.random.Generator":
        """Return NumPy's generator of a named stream."""
        return numerics.numpy_generator(self.seed, *names)


@dataclass(frozen=True)
class Table:
    """A matrix of numbers for the report, drawn as a map or printed; NaN marks an empty cell.

    `kind` is `p-value` (log colour scale from 1 down), `value`, or `text` for a table that is printed, not drawn.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    kind: str = "value"


@dataclass(frozen=True)
class Measurement:
    """What an experiment measured: one quantity for each gate of its claim, tables for the page, remarks."""

    quantities: Mapping[str, Quantity]
    tables: tuple[Table, ...] = ()
    remarks: tuple[str, ...] = ()


def _nothing() -> None:
    """Require nothing."""


@dataclass(frozen=True)
class Experiment:
    """A simulation that measures the quantities of one claim.

    The same class carries the controls: an experiment with a planted error, judged by the same gates, that must come
    out refuted.

    Args:
        title: one line that says what is simulated (for a control: what is planted).
        run: from a context to a measurement; deterministic given the context.
        requires: raises an RcError when what the experiment needs (a packaged model, a data set) is missing; called
            before any work is done.
    """

    title: str
    run: Callable[[Context], Measurement]
    requires: Callable[[], object] = _nothing
