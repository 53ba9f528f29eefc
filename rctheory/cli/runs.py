"""`rctheory verify` runs a suite; `rctheory report` makes its pages."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from rctheory.errors import UsageError
from rctheory.suite.tier import Tier

RUN = Path("reports/run")
Claims = Annotated[
    list[str] | None,
    typer.Argument(metavar="CLAIM", help="Claim ids or patterns like 'closure.*'; all but those on request if none."),
]
SuiteFolder = Annotated[
    Path | None,
    typer.Option(
        "--suite", metavar="DIR", help="Folder with a claims.toml [default: this folder if it has one, else built in]."
    ),
]
TierName = Annotated[Tier, typer.Option(help="How much work: a minute, minutes on two cores, or a GPU.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes [default: one a core]; 0 stays in this process.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:K.")]
Seed = Annotated[int | None, typer.Option(help="Root of every random number [default: 0].")]
VarySeed = Annotated[bool, typer.Option("--vary-seed", help="Draw a new seed; it is printed and recorded.")]
Controls = Annotated[
    bool | None,
    typer.Option("--controls/--no-controls", help="Run planted errors as well [default: all tiers but smoke]."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the evidence.")]
JUnit = Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML as well.")]
Resume = Annotated[bool, typer.Option("--resume", help="Keep the finished claims of the evidence in --out.")]


def verify(
    claims: Claims = None,
    suite: SuiteFolder = None,
    tier: TierName = Tier.CI,
    workers: Workers = None,
    device: Device = "auto",
    seed: Seed = None,
    vary_seed: VarySeed = False,
    controls: Controls = None,
    out: Out = RUN,
    junit: JUnit = None,
    resume: Resume = False,
) -> None:
    """Examine the claims of a suite: proofs, experiments, and planted errors that must turn them red.

    Exit codes:

    * 0: every claim is supported and every planted error was caught
    * 1: a claim is refuted or failed to run, or a planted error stayed green
    * 2: bad usage or input
    * 3: something is inconclusive
    * 130: interrupted; the finished claims are kept, go on with --resume
    """
    if vary_seed and seed is not None:
        raise UsageError("--seed together with --vary-seed", "one of them", "leave one out")
    from rctheory.cli.display import print_outcome, watch
    from rctheory.numerics import choose_device
    from rctheory.suite.claims import load_suite
    from rctheory.suite.junit import write_junit
    from rctheory.suite.session import Options, Session

    registry = load_suite(suite)
    selected = registry.select(claims or [])
    left_out = [] if claims else [claim.id for claim in selected if claim.on_request]
    selected = [claim for claim in selected if claim.id not in left_out]
    if not selected:
        raise UsageError("only claims that run on request", "the claims to run", f"name them: {', '.join(left_out)}")
    options = Options(
        out=out,
        tier=tier,
        seed=secrets.randbits(31) if vary_seed else seed or 0,
        device=choose_device(device),
        controls=tier is not Tier.SMOKE if controls is None else controls,
        workers=workers,
        resume=resume,
    )
    session = Session(registry, selected, options)
    _prepare_folders(out, junit)
    if left_out:
        typer.echo(f"left out, examined only when named: {', '.join(left_out)}")
    interrupted = watch(session)
    if junit:
        write_junit(junit, session.evidence)
    print_outcome(session, interrupted)
    raise typer.Exit(130 if interrupted else session.evidence.exit_code)


def _prepare_folders(out: Path, junit: Path | None) -> None:
    """Refuse, before any work, places that cannot take what the run will write."""
    from rctheory.suite.environment import prepare_folder

    prepare_folder(out)
    if junit:
        if junit.is_dir():
            raise UsageError(f"--junit {junit} is a folder", "a file", "name a file in it")
        prepare_folder(junit.parent)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its evidence.json.")] = RUN,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the pages [default: that of the run].")
    ] = None,
) -> None:
    """Make the pages of a run from its evidence alone: index.html (self-contained), report.md and pictures."""
    from rctheory.report.pages import write_report
    from rctheory.suite.environment import prepare_folder
    from rctheory.suite.evidence import load_evidence

    evidence = load_evidence(run)
    folder = out or (run if run.is_dir() else run.parent)
    page = write_report(evidence, prepare_folder(folder))
    typer.echo(f"report: {page}")
