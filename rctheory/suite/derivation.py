"""What a proof returns: checked steps, each a SymPy relation with a sentence.

SymPy is imported only to print, so that the library loads without it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Scope(StrEnum):
    """How far a derivation reaches."""

    DERIVED = "derived"
    """Symbolic widths: every sum over neurons is a sum with a symbolic bound."""
    INSTANCE = "instance"
    """Shown for the instances that the steps name, not in general."""


@dataclass(frozen=True)
class Step:
    """One checked step.

    Args:
        sentence: what the step says, in words.
        relation: the SymPy object that says it, usually an unevaluated equation.
        method: how it was checked, e.g. "the difference vanishes after reindexing".
    """

    sentence: str
    relation: Any
    method: str

    def text(self) -> str:
        """Return the relation on one line of plain text."""
        from sympy import sstr
        from sympy.core.relational import Relational

        if not isinstance(self.relation, Relational):
            return str(sstr(self.relation))
        sign = {"==": "="}.get(self.relation.rel_op, self.relation.rel_op)
        return f"{sstr(self.relation.lhs)} {sign} {sstr(self.relation.rhs)}"

    def latex(self) -> str:
        """Return the relation as LaTeX."""
        from sympy import latex

        return str(latex(self.relation))


@dataclass(frozen=True)
class Derivation:
    """The steps of one claim, in order; every step was checked when it was made."""

    claim: str
    scope: Scope
    assumptions: tuple[str, ...]
    steps: tuple[Step, ...]
