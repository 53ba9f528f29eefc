"""How far an inspection is: a bar with bytes per second on a terminal, now and then a line elsewhere."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from rctheory.inspection.stream import Progress

LINE_SECONDS = 5.0


@contextmanager
def follow() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress on stderr."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda p: bar.update(task, description=p.message, completed=p.done, total=p.total or None)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes what is done, how many steps of it and of how many, and shows it on a terminal."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


@contextmanager
def steps(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes how many steps of one stage are done of how many."""
    with stages() as tell:
        yield lambda done, total: tell(what, done, total)


@contextmanager
def writing() -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes bytes written of how many, and shows them on a terminal's stderr."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with interruptible(), Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("writing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the signal with which a scheduler ends a job interrupt like the keyboard: nothing half-written stays."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Lines:
    """Print a line every few seconds while tensors are read."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = self.told = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.total and now - self.told >= LINE_SECONDS:
            self.told = now
            done, total, rate = (x / 1e6 for x in (progress.done, progress.total, progress.done / (now - self.started)))
            self.console.print(f"{progress.message}: {done:.0f} of {total:.0f} MB, {rate:.0f} MB/s")
