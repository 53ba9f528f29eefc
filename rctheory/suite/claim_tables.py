"""From the tables of claims.toml to claims: every key known, every value of its kind, every reference in place."""

import difflib
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from rctheory.errors import RegistryError
from rctheory.statistics.gates import Gate, RateGate
from rctheory.suite.claim import KINDS, Claim
from rctheory.suite.gate_tables import parse_gate
from rctheory.suite.links import Link, near_names

_WORD = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_ID = re.compile(rf"{_WORD}\.{_WORD}")
_TEXT = ("kind", "statement", "source")
_LISTS = ("assumptions", "uses", "controls", "tests")
_KEYS = (*_TEXT, *_LISTS, "proof", "experiment", "gates", "on_request")


def parse_claims(tables: Mapping[str, object]) -> dict[str, Claim]:
    """Check and convert all tables of a file.

    Raises:
        RegistryError: the first mistake, in one line.
    """
    if not tables:
        raise RegistryError("claims.toml holds no claim", "at least one table", 'add one, such as ["area.slug"]')
    claims = {name: _parse_claim(name, table) for name, table in tables.items()}
    for claim in claims.values():
        for used in claim.uses:
            if used not in claims:
                near = difflib.get_close_matches(used, claims, n=3)
                found = f"claim {claim.id}: uses names {used!r}, which is no claim"
                raise RegistryError(found, "the id of a claim of this file", near_names(near, "correct the id"))
    try:
        TopologicalSorter({claim.id: claim.uses for claim in claims.values()}).prepare()
    except CycleError as error:
        found = f"uses form a cycle: {' -> '.join(reversed(error.args[1]))}"
        raise RegistryError(found, "claims that rest on earlier claims only", "cut the cycle") from None
    return claims


def _parse_claim(name: str, table: object) -> Claim:
    if not _ID.fullmatch(name):
        remedy = f'rename it; quotes keep the point together: ["{name}.slug"]' if "." not in name else "rename it"
        raise RegistryError(f"claim id {name!r}", "area.slug in small letters, digits and hyphens", remedy)
    if not isinstance(table, Mapping):
        raise RegistryError(f"claim {name} is a {type(table).__name__}", "a table", f'write ["{name}"] on a line')
    for key in table:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.5)
            found = f"claim {name}: unknown key {key!r}"
            raise RegistryError(found, f"keys among {', '.join(_KEYS)}", near_names(near, "remove it"))
    text = {key: _text(name, table, key) for key in _TEXT}
    if text["kind"] not in KINDS:
        found = f"claim {name}: kind = {text['kind']!r}"
        raise RegistryError(found, f"one of {', '.join(KINDS)}", "choose one of these")
    if text["statement"].count("$") % 2:
        found = f"claim {name}: statement has an odd number of dollar signs"
        raise RegistryError(found, "LaTeX between $...$", "close the formula")
    lists = {key: _strings(name, table, key) for key in _LISTS}
    claim = Claim(
        id=name,
        kind=text["kind"],
        statement=text["statement"],
        assumptions=lists["assumptions"],
        source=text["source"],
        uses=lists["uses"],
        proof=_link(name, table, "proof"),
        experiment=_link(name, table, "experiment"),
        controls=tuple(Link.parse(item, f"claim {name}: controls") for item in lists["controls"]),
        tests=tuple(Link.parse(item, f"claim {name}: tests") for item in lists["tests"]),
        gates=_gates(name, table),
        on_request=_flag(name, table, "on_request"),
    )
    _check_complete(claim)
    return claim


def _text(name: str, table: Mapping[str, object], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        found = f"claim {name}: no {key}" if value is None else f"claim {name}: {key} = {value!r}"
        raise RegistryError(found, "a text that is not empty", f"write {key} = '...'")
    return value


def _strings(name: str, table: Mapping[str, object], key: str) -> tuple[str, ...]:
    """Read a list of distinct texts; a list that is left out is empty."""
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise RegistryError(f"claim {name}: {key} = {value!r}", "a list of texts", f"write {key} = ['...']")
    if len(set(value)) != len(value):
        raise RegistryError(f"claim {name}: {key} names something twice", "distinct entries", "remove the copy")
    return tuple(value)


def _link(name: str, table: Mapping[str, object], key: str) -> Link | None:
    return Link.parse(_text(name, table, key), f"claim {name}: {key}") if key in table else None


def _flag(name: str, table: Mapping[str, object], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise RegistryError(f"claim {name}: {key} = {value!r}", "true or false", f"write {key} = true, or remove it")
    return value


def _gates(name: str, table: Mapping[str, object]) -> dict[str, Gate]:
    gates = table.get("gates", {})
    if not isinstance(gates, Mapping):
        raise RegistryError(f"claim {name}: gates = {gates!r}", "one table for each gate", f'write ["{name}".gates.x]')
    return {key: parse_gate(f"claim {name}: gates.{key}", gate) for key, gate in gates.items()}


def _check_complete(claim: Claim) -> None:
    """Refuse a claim that nothing shows, and an experiment that nothing judges or guards."""

    def refuse(found: str, expected: str, remedy: str) -> RegistryError:
        return RegistryError(f"claim {claim.id}: {found}", expected, remedy)

    if claim.proof is None and claim.experiment is None:
        raise refuse("neither proof nor experiment", "at least one of them", "link what shows the claim")
    if claim.experiment is None:
        if claim.controls or claim.gates:
            raise refuse("controls or gates without an experiment", "an experiment to judge", "link the experiment")
        return
    if not claim.controls:
        raise refuse("an experiment without a control", "a planted error that turns it red", "link one in controls")
    if claim.experiment in claim.controls:
        raise refuse("the experiment is its own control", "an experiment with a planted error", "link another one")
    if not claim.gates:
        raise refuse("an experiment without gates", "a gate for each quantity", f'add ["{claim.id}".gates.x]')
    if claim.kind == "rate" and not any(isinstance(gate, RateGate) for gate in claim.gates.values()):
        raise refuse("kind rate without a rate gate", "a gate with rate and margin", "declare it or change the kind")
