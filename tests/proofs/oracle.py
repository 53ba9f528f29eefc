"""What the float64 oracles of all derivations share: the argument of a claim, the verdict on a step, a wrong step."""

import importlib
import tomllib
from dataclasses import replace
from functools import cache
from types import ModuleType

from sympy import Eq, Le, Limit, Rational

from proofs.chain import REGISTRY, Chain, Checked

REGISTERED: dict[str, str] = {
    claim: table["proof"].partition(":")[0]
    for claim, table in tomllib.loads(REGISTRY.read_text(encoding="utf-8")).items()
    if "proof" in table
}
"""Module of the proof of every claim that has one."""


def module(claim: str) -> ModuleType:
    """Return the module of the proof of a claim."""
    return importlib.import_module(REGISTERED[claim])


@cache
def argument(claim: str) -> Chain:
    """Return the argument of a claim, with its definitions; made once."""
    return module(claim).argue()


def require(claim: str, checked: Checked, gap: float, scale: float, *, limits: float = 1e-6) -> None:
    """Fail unless the gap of a relation says that it holds: to 1e-10 of its scale, or `limits` where it has a limit."""
    relation = checked.relation
    if isinstance(relation, Eq):
        holds = abs(gap) <= (limits if relation.has(Limit) else 1e-10) * scale
    else:
        holds = gap <= 1e-10 * scale if isinstance(relation, Le) else abs(gap) > 1e-3
    assert holds, f"step {checked.number} of {claim}: {relation}, gap {gap}"


def falsified(chain: Chain) -> list[Checked]:
    """Return every equality of an argument with twice its right-hand side, plus 17/10: none of them holds."""
    return [
        replace(checked, relation=Eq(checked.relation.lhs, 2 * checked.relation.rhs + Rational(17, 10), evaluate=False))
        for checked in chain.checked
        if isinstance(checked.relation, Eq)
    ]
