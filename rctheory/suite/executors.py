"""Where jobs run: in this process, or in worker processes of this machine."""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Protocol

import torch

from rctheory.errors import UsageError
from rctheory.suite.environment import cores
from rctheory.suite.links import importable
from rctheory.suite.record import ClaimRecord, Status
from rctheory.suite.runner import Job, blank_record, run_job

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PROGRESS_INTERVAL = 0.1


@dataclass(frozen=True)
class Started:
    """A job was taken up."""

    claim: str


@dataclass(frozen=True)
class Progress:
    """A running job says what it does."""

    claim: str
    message: str


@dataclass(frozen=True)
class Finished:
    """A job ended, well or not."""

    record: ClaimRecord


Event = Started | Progress | Finished


class Executor(Protocol):
    """Runs jobs and tells what happens; closing the iterator stops what still runs."""

    @property
    def workers(self) -> int:
        """Return the number of processes; 0 stands for this one."""

    @property
    def threads(self) -> int:
        """Return the number of threads in each."""

    def run(self, jobs: Sequence[Job]) -> Generator[Event]:
        """Run every job once, the first ones first, and yield one `Finished` for each."""


def choose_executor(workers: int | None, jobs: int, paths: Sequence[Path]) -> "Executor":
    """Return the executor for `workers` processes (0: this process; None: as many as cores, and at most 8).

    Raises:
        UsageError: a negative number of workers.
    """
    if workers is None:
        workers = max(1, min(jobs, cores(), 8))
    if workers < 0:
        raise UsageError(f"--workers {workers}", "0 or more", "leave it out to use every core")
    return ProcessExecutor(workers, tuple(paths)) if workers else SerialExecutor(tuple(paths))


@dataclass(frozen=True)
class SerialExecutor:
    """Runs the jobs one after the other in this process: for debuggers and tests."""

    paths: tuple[Path, ...] = ()
    workers: int = 0

    @property
    def threads(self) -> int:
        """Return the number of torch threads, which it leaves alone."""
        return torch.get_num_threads()

    def run(self, jobs: Sequence[Job]) -> Generator[Event]:
        """Run the jobs in order; messages of a job are dropped."""
        for job in jobs:
            yield Started(job.claim.id)
            with importable(self.paths):
                record = run_job(job)
            yield Finished(record)


@dataclass(frozen=True)
class ProcessExecutor:
    """Runs the jobs in persistent spawned processes, each with its share of the cores.

    A process that dies (out of memory, say) turns its job into an error and is replaced; the others go on.

    Args:
        workers: number of processes.
        paths: folders in front of `sys.path` in each.
    """

    workers: int
    paths: tuple[Path, ...] = ()

    @property
    def threads(self) -> int:
        """Return the threads of each process: cores over workers."""
        return max(1, cores() // self.workers)

    def run(self, jobs: Sequence[Job]) -> Generator[Event]:
        """Hand the jobs out in order; yield events as they come."""
        queue = deque(jobs)
        crew = [self._hire() for _ in range(min(self.workers, len(queue)))]
        try:
            for worker in crew:
                yield from worker.take(queue)
            while busy := [worker for worker in crew if worker.job]:
                by_connection = {worker.connection: worker for worker in busy}
                for connection in wait(list(by_connection)):
                    worker = by_connection[connection]  # type: ignore[index]  # wait returns what it was given
                    yield from worker.listen()
                    if worker.process is None:
                        crew[crew.index(worker)] = worker = self._hire() if queue else worker
                    if worker.process and not worker.job:
                        yield from worker.take(queue)
        finally:
            for worker in crew:
                worker.dismiss()

    def _hire(self) -> "_Worker":
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.paths, self.threads), daemon=True)
        with _environment(dict.fromkeys(THREAD_VARIABLES, str(self.threads))), _interrupts_blocked():
            process.start()
        theirs.close()  # so that the end of the process closes the pipe
        return _Worker(process, ours)


@dataclass(eq=False)
class _Worker:
    """Our end of a worker process."""

    process: SpawnProcess | None
    connection: Connection
    job: Job | None = None

    def take(self, queue: deque[Job]) -> Iterator[Event]:
        """Give the process its next job, if there is one."""
        if queue:
            self.job = queue.popleft()
            self.connection.send(self.job)
            yield Started(self.job.claim.id)

    def listen(self) -> Iterator[Event]:
        """Receive one message, or the news that the process died."""
        if self.job is None or self.process is None:
            return
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            found = f"the worker process died (exit code {self.process.exitcode}); is there enough memory?"
            message = replace(blank_record(self.job.claim), status=Status.ERROR, message=found)
            self.connection.close()
            self.process = None
        if isinstance(message, ClaimRecord):
            self.job = None
            yield Finished(message)
        else:
            yield Progress(self.job.claim.id, str(message))

    def dismiss(self) -> None:
        """Stop the process, at work or not."""
        if self.process is None:
            return
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def _serve(connection: Connection, paths: tuple[Path, ...], threads: int) -> None:
    """Run jobs until the parent leaves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    with importable(paths):
        while True:
            try:
                job = connection.recv()
            except EOFError:
                return
            context = replace(job.context, report_progress=_Reporter(connection))
            connection.send(run_job(replace(job, context=context)))


class _Reporter:
    """Sends progress messages to the parent, a few a second at most."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.last = 0.0

    def __call__(self, message: str) -> None:
        now = time.monotonic()
        if now - self.last >= PROGRESS_INTERVAL:
            self.last = now
            self.connection.send(message)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that an interrupt of the terminal does not reach: it is the parent's business.

    A process inherits the mask at once; its own handler would only stand after it has imported everything.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that start inside the block."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
