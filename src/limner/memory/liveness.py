"""Which runs still go on: signs of life while their process lives, and what is said of those whose process died."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from limner.errors import LimnerError
from limner.memory import processes
from limner.memory.database import Database
from limner.memory.schema import RunRow, now


class Claimed(LimnerError):
    """Another process is at the same work, or has done it."""


LEASE = 300.0
"""Seconds for which a run is believed alive without a sign of life, when its process cannot be asked."""


def begin(row: RunRow) -> None:
    """Note in the row that this process runs it, from now on."""
    row.host, row.process = processes.here(), os.getpid()
    row.process_started, row.lease = processes.started(os.getpid()), time.time() + LEASE


def end(row: RunRow) -> None:
    """Note in the row that no process runs it any more."""
    row.process = row.process_started = row.lease = None


def is_dead(row: RunRow) -> bool:
    """Whether the process that runs it has died.

    On this host: no process has its number and began when it did (numbers are used again, and anew after a restart of
    the machine). On another host, whose processes cannot be asked: its last sign of life is too long ago.
    """
    if row.host == processes.here() and row.process is not None:
        return processes.started(row.process) != row.process_started
    return (row.lease or 0.0) < time.time()


def claim(session: Session, name: str) -> None:
    """Make sure that no other run whose name begins so is done, or running in a process that lives.

    ``name`` ends in the number of a piece of work, its beginning is shared by pieces that must be done in turn: of
    these no other may be running either. Asked in the transaction that begins the run, so that of two processes one
    gets it. Raises :class:`Claimed` otherwise.
    """
    together = name.rstrip("0123456789")
    rows = session.scalars(select(RunRow).where(RunRow.name.startswith(together, autoescape=True)))
    for row in rows:
        if row.state == "running" and not is_dead(row):
            raise Claimed(f"the run {row.id} ({row.name}) is going on in another process; wait until it is done")
        if row.name.startswith(name) and (row.state in ("finished", "collapsed") or failed(row)):
            raise Claimed(f"the run {row.id} ({row.name}) has been done by another process; go on with --resume")


def failed(row: RunRow) -> bool:
    """Whether it failed of itself, so that to do it again would be in vain."""
    return row.state == "failed" and not row.reason.startswith("stopped")


def mark_killed(database: Database) -> None:
    """Mark every run whose process has died as ``killed``, and say how to go on with it."""
    with database.reading() as session:
        suspects = [row.id for row in session.scalars(select(RunRow).where(RunRow.state == "running")) if is_dead(row)]
    if not suspects:
        return
    with database.writing() as session:
        for row in session.scalars(select(RunRow).where(RunRow.id.in_(suspects), RunRow.state == "running")):
            if is_dead(row):
                row.state, row.reason, row.finished = (
                    "killed",
                    "its process ended without a word; " + way_on(row),
                    now(),
                )
                end(row)


def way_on(row: RunRow) -> str:
    """How to go on with a run that was cut short, as the end of a sentence.

    >>> way_on(RunRow(id="0123456789ab", directory="runs/one"))
    'go on with: limner adapt generate --resume runs/one'
    """
    if row.directory is None:
        return "it kept no directory to go on from, so begin it anew"
    return f"go on with: limner adapt generate --resume {shlex.quote(row.directory)}"


def renew(database: Database, run_ids: Iterable[str]) -> None:
    """A sign of life of the runs."""
    with database.writing() as session:
        session.execute(
            update(RunRow)
            .where(RunRow.id.in_(list(run_ids)), RunRow.state == "running")
            .values(lease=time.time() + LEASE)
        )


class Pulse:
    """Gives signs of life of this process's runs, from a thread of its own, begun with the first run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._alive: set[str] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, run_id: str) -> None:
        """The run goes on from now."""
        self._alive.add(run_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="limner-memory-pulse", daemon=True)
            self._thread.start()

    def remove(self, run_id: str) -> None:
        """The run has ended."""
        self._alive.discard(run_id)

    def stop(self) -> None:
        """Give no more signs, and wait for the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(LEASE / 5):
            try:
                if self._alive:
                    renew(self._database, tuple(self._alive))
            except LimnerError:  # a busy or full disk now; the next sign may pass, and the lease allows for four
                continue
