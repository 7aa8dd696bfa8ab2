"""Who does the work: this process, several of this machine, or the workers of a Ray cluster, by one contract."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from limner.errors import LimnerError

Share = Callable[[int, int], Any]
"""A worker's share of the work, given the worker's number (from 0) and how many there are. It can be sent to another
process, and so can what it gives."""

RAY = "ray"


class Done(NamedTuple):
    """What came of the work.

    results  what each worker's share gave; of a worker that died, nothing
    lost     a sentence for each worker that died
    stopped  whether it was stopped by hand
    """

    results: list[Any]
    lost: list[str]
    stopped: bool


class Crew(Protocol):
    """Workers that do the same work, each its share of it.

    notes  what is to be said of the crew itself
    """

    workers: int
    notes: list[str]

    def work(self, share: Share) -> Done:
        """Have every worker do its share; returns when all have ended.

        A worker that dies is told in ``lost``, and the others go on. Stopped by hand, each worker is told so (it sees a
        ``KeyboardInterrupt``) and what it gives then counts. Raises :class:`LimnerError` where a worker did, when all
        have ended.
        """


class Alone:
    """This process."""

    workers = 1

    def __init__(self) -> None:
        self.notes: list[str] = []

    def work(self, share: Share) -> Done:
        """Do it here."""
        return Done([share(0, 1)], [], False)


class Processes:
    """Several processes of this machine, which share its processors."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.notes: list[str] = []

    def work(self, share: Share) -> Done:
        """Begin the processes, and take what each of them sends at its end."""
        context = multiprocessing.get_context("spawn")
        crew = []
        for number in range(self.workers):
            receiving, sending = context.Pipe(duplex=False)
            worker = context.Process(target=_process, args=(share, number, self.workers, sending), daemon=True)
            worker.start()
            sending.close()
            crew.append((worker, receiving))
        results: list[Any] = []
        mistakes: list[LimnerError] = []
        lost, stopped = [], False
        for number, (worker, receiving) in enumerate(crew, start=1):
            while True:
                try:
                    made = receiving.recv()
                    (mistakes if isinstance(made, LimnerError) else results).append(made)
                except KeyboardInterrupt:  # the terminal has told the workers as well; they end their runs
                    stopped = True
                    continue
                except EOFError:
                    worker.join()
                    lost.append(f"worker {number} ended with code {worker.exitcode}")
                break
        for worker, _ in crew:
            worker.join()
        if mistakes:
            raise mistakes[0]
        return Done(results, lost, stopped)


def _process(share: Share, number: int, of: int, sending: Connection) -> None:
    """A worker's process."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // of))
    try:
        made = share(number, of)
    except LimnerError as mistake:
        made = mistake
    sending.send(made)


def check(on: str | None, memory: str | None) -> None:
    """Raises :class:`LimnerError` where work cannot be done ``on`` that, or its workers could not reach the memory.

    >>> check("spark://here", None)
    Traceback (most recent call last):
        ...
    limner.errors.LimnerError: work cannot run on 'spark://here'; right would be ray, or ray://HOST:PORT of a cluster
    """
    if on is not None:
        from limner.verbs import crew_ray

        crew_ray.check(on, memory)


@contextmanager
def hired(on: str | None, workers: int | None, memory: str | None, aloud: bool) -> Iterator[Crew]:
    """The crew for the work, until it is done.

    on       ``None``: processes of this machine, or this one alone where ``workers`` is 1 or ``None``; ``ray``: a Ray
             started here for it; ``ray://HOST:PORT``: a Ray cluster
    workers  how many; ``None`` on Ray: as many as it has processors
    memory   where the workers are to write, which all must reach
    aloud    whether what workers of a cluster say is told here

    Raises :class:`LimnerError` where the cluster cannot be reached.
    """
    if on is not None:
        from limner.verbs import crew_ray

        with crew_ray.cluster(on, workers, memory, aloud) as crew:
            yield crew
    elif workers in (None, 1):
        yield Alone()
    else:
        assert workers is not None  # told apart above
        yield Processes(workers)
