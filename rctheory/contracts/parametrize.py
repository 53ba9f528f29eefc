"""Contracts as tests of pytest."""

from collections.abc import Callable, Sequence
from typing import Any

from rctheory.contracts.checks import checks
from rctheory.contracts.subject import Subject
from rctheory.errors import MissingExtraError


def parametrize_contract(subjects: Sequence[Subject]) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes one test of each clause of each subject.

    The decorated function takes a `check` and calls it. Known failures are strict: a test that passes all the same is
    a failure, so that none of them stays longer than its reason.

        @parametrize_contract([SUBJECT])
        def test_contract(check):
            check()

    Args:
        subjects: what is checked.

    Raises:
        MissingExtraError: pytest is not installed.
        ContractError: a known failure that makes no sense.
    """
    try:
        import pytest
    except ImportError as error:
        raise MissingExtraError.of("pytest", "contracts") from error
    from rctheory.errors import ContractError

    cases = [
        pytest.param(
            check,
            id=f"{subject.name}-{check.clause}",
            marks=[pytest.mark.xfail(reason=check.known_failure, strict=True, raises=ContractError)]
            if check.known_failure
            else [],
        )
        for subject in subjects
        for check in checks(subject)
    ]
    return pytest.mark.parametrize("check", cases)
