"""What `verify` shows: a live table on a terminal, plain lines in a pipe, and the outcome."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rctheory.report.summary import caught, headline, interval, number, seconds
from rctheory.statistics.verdicts import Verdict
from rctheory.suite.evidence import FILE_NAME
from rctheory.suite.executors import Event, Finished, Progress, Started
from rctheory.suite.record import ClaimRecord, ControlStatus, Status
from rctheory.suite.session import Session

STYLES = {
    Status.SUPPORTED: "green",
    Status.INCONCLUSIVE: "yellow",
    Status.REFUTED: "bold red",
    Status.ERROR: "bold red",
    Status.NOT_RUN: "dim",
}
PIPE_WIDTH = 150


def make_console() -> Console:
    """Return a console on stdout; in a pipe, wide enough for a table."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def watch(session: Session) -> bool:
    """Run a session and show its progress; return whether it was interrupted."""
    console = make_console()
    environment = session.environment
    kept = len(session.evidence.claims) - len(session.pending)
    where = f"{environment.workers} processes" if environment.workers else "this process"
    console.print(
        f"{len(session.pending)} claims to examine{f', {kept} kept' if kept else ''}; tier {environment.tier}, "
        f"seed {environment.seed}, {environment.device}, {where}, threads {environment.threads}, "
        f"controls {'on' if environment.controls else 'off'}"
    )
    view = _View(console, len(session.pending))
    try:
        with _termination_interrupts():
            if console.is_terminal:
                with Live(view, console=console, refresh_per_second=8, transient=True):
                    session.run(view.tell)
            else:
                session.run(view.tell)
    except KeyboardInterrupt:
        return True
    return False


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Treat a request to terminate like Ctrl-C: workers are stopped, and finished claims are kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _View:
    """What runs now; on a terminal it redraws itself, in a pipe only starts and ends are printed."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.total = total
        self.done = 0
        self.running: dict[str, tuple[float, str]] = {}
        self.spinner = Spinner("dots")

    def tell(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, Started):
            self.running[event.claim] = (time.monotonic(), "")
            if not self.console.is_terminal:
                self.console.print(f"{event.claim}: started")
        elif isinstance(event, Progress):
            self.running[event.claim] = (self.running[event.claim][0], event.message)
        else:
            self.done += 1
            self.running.pop(event.record.id, None)
            self.console.print(_line(event))

    def __rich__(self) -> RenderableType:
        """Draw the claims that run now."""
        grid = Table.grid(padding=(0, 2))
        for claim, (start, message) in self.running.items():
            grid.add_row("  ", Text(claim, style="bold"), seconds(time.monotonic() - start), Text(message, style="dim"))
        self.spinner.update(text=f"{self.done} of {self.total} examined; Ctrl-C keeps what is finished")
        return Group(self.spinner, grid)


def _line(event: Finished) -> Text:
    record = event.record
    text = Text(f"{record.id}: ").append(record.status.value, STYLES[record.status])
    if record.estimate is not None:
        text.append(f"  {number(record.estimate)} {interval(record.interval) if record.interval else ''}".rstrip())
        text.append(f" (expected {record.expected})")
    if record.controls:
        text.append(f", controls caught {caught(record.controls)}", "" if not record.missed_controls else "bold red")
    return text.append(f", {seconds(record.seconds)}")


def print_outcome(session: Session, interrupted: bool) -> None:
    """Print the table of claims, what went wrong, and where the evidence is."""
    console, evidence = make_console(), session.evidence
    console.print(_table(evidence.claims))
    for record in evidence.claims:
        for problem in _problems(record):
            console.print(Text(f"{record.id}: {problem}", style="red"), soft_wrap=True)
    if interrupted:
        console.print("[yellow]interrupted:[/yellow] the finished claims are kept; go on with --resume")
    green = evidence.exit_code == 0
    console.print(Text(headline(evidence), style="bold green" if green else "bold red"), soft_wrap=True)
    folder = session.options.out
    console.print(f"evidence: {escape(str(folder / FILE_NAME))}", soft_wrap=True)
    console.print(f"report:   {escape(_report_hint(folder))}", soft_wrap=True)


def _report_hint(folder: Path) -> str:
    from rctheory.cli.runs import RUN

    command = "rctheory report" if folder == RUN else f"rctheory report {folder}"
    return f"`{command}` writes {folder / 'index.html'}"


def _table(records: tuple[ClaimRecord, ...]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("claim", "verdict", "gate", "expected"):
        table.add_column(title)
    for title in ("estimate", "interval", "controls", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    for record in records:
        missed = record.missed_controls
        table.add_row(
            record.id,
            Text(record.status.value, STYLES[record.status]),
            record.gate,
            record.expected or (f"proof {record.proof.status.value}" if record.proof.steps else ""),
            number(record.estimate),
            interval(record.interval),
            Text(caught(record.controls), "bold red" if missed else ""),
            seconds(record.seconds),
        )
    return table


def _problems(record: ClaimRecord) -> list[str]:
    """Return one line for everything about a claim that is not green."""
    lines = [record.message] if record.message else []
    if record.proof.message:
        lines.append(f"the proof fails: {record.proof.message}")
    if record.traceback:
        lines.append("the traceback is in the evidence")
    lines += [
        f"gate {gate.gate} {gate.status.value}: {number(gate.estimate)}, expected {gate.expected}"
        for gate in record.gates
        if gate.status is not Verdict.SUPPORTED
    ]
    for control in record.missed_controls:
        what = "stayed green" if control.status is ControlStatus.GREEN else f"failed: {control.message}"
        lines.append(f"control {control.id} ({control.title}) {what}")
    return lines
