"""Every declared architecture keeps its contract."""

from rctheory.contracts import Check, parametrize_contract
from tests.contracts.subjects import all_subjects


@parametrize_contract(all_subjects())
def test_contract(check: Check) -> None:
    check()
