"""`rctheory prove`: the derivations, step by step."""

import dataclasses
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rctheory.cli.runs import SuiteFolder
from rctheory.errors import RegistryError

if TYPE_CHECKING:
    from rctheory.suite.record import ControlRecord, ProofRecord


class Format(StrEnum):
    """How to print a derivation."""

    TEXT = "text"
    LATEX = "latex"
    JSON = "json"


def prove(
    claims: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Claim ids or patterns; all if none.")
    ] = None,
    suite: SuiteFolder = None,
    form: Annotated[Format, typer.Option("--format", help="How to print the steps.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    controls: Annotated[
        bool, typer.Option("--controls", help="Plant the known errors as well: each must break the derivation.")
    ] = False,
) -> None:
    """Derive claims symbolically and print every step; a step that does not hold stops with exit code 1."""
    from rctheory.suite.claims import load_suite
    from rctheory.suite.codec import encode
    from rctheory.suite.proving import prove as derive
    from rctheory.suite.proving import run_plants
    from rctheory.suite.record import ProofStatus

    form = Format.JSON if as_json else form
    registry = load_suite(suite)
    selected = registry.select(claims or [])
    for claim in selected:
        if claims and claim.proof is None:
            raise RegistryError(f"claim {claim.id} has no proof", "a claim with a proof", "see `rctheory claims`")
    output: list[dict[str, object]] = []
    failed = False
    with registry.importable():
        proved = [claim for claim in selected if claim.proof and claim.proof.resolve(f"claim {claim.id}: proof")]
        for claim in proved:
            proof = derive(claim)
            plants = run_plants(claim) if controls else ()
            fields = {field.name: encode(getattr(proof, field.name)) for field in dataclasses.fields(proof)}
            output.append({"claim": claim.id, **fields, "controls": encode(plants)})
            if form is not Format.JSON:
                typer.echo(_page(claim.id, claim.statement, proof, plants, latex=form is Format.LATEX))
            failed |= proof.status is ProofStatus.FAILED or any(plant.status.value != "caught" for plant in plants)
            if proof.status is ProofStatus.FAILED:
                typer.echo(f"FAILED {claim.id}: {proof.message}", err=True)
                break
    if form is Format.JSON:
        typer.echo(json.dumps(output, indent=1, ensure_ascii=False, allow_nan=False))
    raise typer.Exit(1 if failed else 0)


def _page(name: str, statement: str, proof: "ProofRecord", plants: "tuple[ControlRecord, ...]", *, latex: bool) -> str:
    """Return one derivation as text, or as a LaTeX section."""
    if latex:
        lines = [f"\\section*{{{name}}}", statement]
        for step in proof.steps:
            lines += [f"{step.sentence} ({step.method})", f"\\[ {step.latex} \\]"]
        return "\n".join(lines) + "\n"
    lines = [f"{name}: {proof.status.value} in {proof.seconds:.1f} s", f"  {statement}"]
    lines += [f"  assume: {assumption}" for assumption in proof.assumptions]
    for i, step in enumerate(proof.steps, 1):
        lines += [f"  {i}. {step.sentence}", f"       {step.text}", f"       [{step.method}]"]
    for plant in plants:
        lines.append(f"  planted: {plant.title}: {plant.status.value} ({plant.message})")
    return "\n".join(lines) + "\n"
