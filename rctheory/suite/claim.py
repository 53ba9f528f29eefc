"""One claim of the registry."""

from collections.abc import Mapping
from dataclasses import dataclass

from rctheory.statistics.gates import Gate
from rctheory.suite.links import Link

KINDS = ("exact", "rate", "constant", "statistical")


@dataclass(frozen=True)
class Claim:
    """One claim; its status is never stored here, it is computed.

    Args:
        id: `area.slug`.
        kind: exact, rate, constant or statistical.
        statement: words, with LaTeX between dollar signs.
        assumptions: what the statement needs.
        source: where it comes from.
        uses: ids of the claims it rests on.
        proof: link to a `derive()`.
        experiment: link to an `Experiment`.
        controls: links to experiments with a planted error, which the same gates must refute.
        tests: links to the property tests.
        gates: one for each quantity that the experiment returns.
        on_request: whether it is examined only when it is named, because it needs data that no installation brings.
    """

    id: str
    kind: str
    statement: str
    assumptions: tuple[str, ...]
    source: str
    uses: tuple[str, ...]
    proof: Link | None
    experiment: Link | None
    controls: tuple[Link, ...]
    tests: tuple[Link, ...]
    gates: Mapping[str, Gate]
    on_request: bool = False

    def links(self, *, tests: bool = False) -> dict[str, Link]:
        """Return the links by the place where they stand; those of the tests only when asked."""
        named = {"proof": self.proof, "experiment": self.experiment}
        named |= {f"controls[{i}]": link for i, link in enumerate(self.controls)}
        if tests:
            named |= {f"tests[{i}]": link for i, link in enumerate(self.tests)}
        return {f"claim {self.id}: {key}": link for key, link in named.items() if link is not None}
