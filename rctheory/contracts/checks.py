"""The clauses of the contract, and one check of each for a subject."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rctheory.contracts.sampling import check_rate, check_unbiased
from rctheory.contracts.shapes import check_growth, check_names, check_shapes
from rctheory.contracts.subject import Subject
from rctheory.contracts.symmetry import check_gradient, check_order, check_relabelling
from rctheory.contracts.widening import check_exact_widening, check_undoing
from rctheory.errors import ContractError, RcError

CLAUSES: dict[str, Callable[[Subject], None]] = {
    "names": check_names,
    "shapes": check_shapes,
    "growth": check_growth,
    "relabelling": check_relabelling,
    "order": check_order,
    "gradient": check_gradient,
    "widening": check_exact_widening,
    "undoing": check_undoing,
    "sampling": check_unbiased,
    "rate": check_rate,
}
"""Every clause by its name, the cheap ones first."""


@dataclass(frozen=True)
class Check:
    """One clause for one subject; call it.

    Args:
        clause: name of the clause.
        subject: what is checked.
    """

    clause: str
    subject: Subject

    @property
    def name(self) -> str:
        """Return `subject: clause`."""
        return f"{self.subject.name}: {self.clause}"

    @property
    def known_failure(self) -> str:
        """Return why this clause is known to fail; empty where it holds."""
        return self.subject.known_failures.get(self.clause, "")

    def __call__(self) -> None:
        """Check.

        Raises:
            ContractError: what was found, what was expected, and the call that shows it.
        """
        call = f"next(c for c in checks(subject) if c.name == {self.name!r})()"
        try:
            CLAUSES[self.clause](self.subject)
        except RcError as error:
            remedy = f"{error.remedy}; to see it again: {call}"
            raise ContractError(f"{self.name}: {error.found}", error.expected, remedy) from error
        except Exception as error:  # whatever a model of an outsider raises when it does not fit its declaration
            found = f"{self.name}: {type(error).__name__} {error}"
            raise ContractError(found, "a model that runs", f"to see it again: {call}") from error


def checks(subject: Subject) -> Iterator[Check]:
    """Yield one check for each clause.

    Raises:
        ContractError: a known failure of a clause that does not exist, or without a reason.
    """
    for clause, reason in subject.known_failures.items():
        if clause not in CLAUSES or not reason:
            found = f"a known failure of {clause!r} with reason {reason!r} in subject {subject.name}"
            raise ContractError(found, f"a reason for one of {', '.join(CLAUSES)}", "correct known_failures")
    for clause in CLAUSES:
        yield Check(clause, subject)
