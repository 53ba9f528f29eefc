"""`rctheory claims`: what a suite claims."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from rctheory.cli.runs import SuiteFolder

if TYPE_CHECKING:
    from rctheory.suite.claim import Claim


def claims(
    claim: Annotated[str | None, typer.Argument(metavar="ID", help="Show this claim in full.")] = None,
    suite: SuiteFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the claims of a suite, or show one in full: statement, gates, proof, experiment, controls."""
    from rctheory.suite.claims import load_suite

    selected = load_suite(suite).select([claim] if claim else [])
    if as_json:
        data = [_as_dict(item) for item in selected]
        typer.echo(json.dumps(data[0] if claim and len(data) == 1 else data, indent=1, ensure_ascii=False))
    elif claim:
        typer.echo("\n\n".join(_in_full(item) for item in selected))
    else:
        width = max(len(item.id) for item in selected)
        for item in selected:
            mark = "  (on request)" if item.on_request else ""
            typer.echo(f"{item.id:<{width}}  {item.kind:<11}  {item.statement}{mark}")


def _as_dict(claim: "Claim") -> dict[str, object]:
    return {
        "id": claim.id,
        "kind": claim.kind,
        "statement": claim.statement,
        "assumptions": list(claim.assumptions),
        "source": claim.source,
        "uses": list(claim.uses),
        "proof": str(claim.proof) if claim.proof else None,
        "experiment": str(claim.experiment) if claim.experiment else None,
        "controls": [str(link) for link in claim.controls],
        "tests": [str(link) for link in claim.tests],
        "gates": {name: gate.expected() for name, gate in claim.gates.items()},
        "on_request": claim.on_request,
    }


def _in_full(claim: "Claim") -> str:
    lines = [f"{claim.id} ({claim.kind})", f"  {claim.statement}"]
    for key, value in _as_dict(claim).items():
        if key in ("id", "kind", "statement") or not value:
            continue
        if value is True:
            value = "examined only when it is named: `rctheory verify` without names leaves it out"
        entries = [f"{k}: {v}" for k, v in value.items()] if isinstance(value, dict) else value
        if isinstance(entries, list):
            lines += [f"  {key + ':':<12} {entries[0]}", *(f"  {'':<12} {entry}" for entry in entries[1:])]
        else:
            lines.append(f"  {key + ':':<12} {entries}")
    return "\n".join(lines)
