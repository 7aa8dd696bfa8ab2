"""How the tasks of an outer step are gone through: one by one, shared by threads, at once, over several processes."""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from limner.engine.step import precision
from limner.learners.base import Learner
from limner.meta.algorithms import MetaGradient, meta_gradient
from limner.meta.inner import Episode
from limner.meta.plan import MetaPlan
from limner.types import Params

_TRIED = 4
"""So many tasks are enough to see what vmap is worth, before it takes the memory of all."""


class Choice(NamedTuple):
    """The execution that a timing chose, and the milliseconds of each for one outer step."""

    execution: str
    milliseconds: dict[str, float]

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value:.0f} ms" for name, value in self.milliseconds.items())
        return f"tasks are gone through by {self.execution} (an outer step took {told})"


def mean_gradient(
    learner: Learner,
    plan: MetaPlan,
    start: Params,
    episodes: list[Episode],
    execution: str,
    *,
    progress: float = 1.0,
) -> MetaGradient:
    """The mean meta-gradient over the episodes, and the mean losses and terms.

    ``loop`` goes through them one by one and frees each graph before the next. ``threads`` shares the loop among as
    many threads as torch has, with one core each, in the memory of that many tasks. ``vmap`` does ``plan.chunk`` of
    them at once (every episode must have the same shapes). All give the same to rounding.
    """
    with precision(plan.precision, start):
        if execution == "vmap":
            size = plan.chunk or len(episodes)
            chunks = [episodes[first : first + size] for first in range(0, len(episodes), size)]
            parts: Iterable[MetaGradient] = (_together(learner, plan, start, chunk, progress) for chunk in chunks)
            return _mean(parts, [len(chunk) for chunk in chunks])
        if execution == "threads":
            return _mean(_shared(learner, plan, start, episodes, progress), [1] * len(episodes))
        parts = (meta_gradient(learner, plan, start, episode, progress=progress) for episode in episodes)
        return _mean(parts, [1] * len(episodes))


def choose(learner: Learner, plan: MetaPlan, start: Params, episodes: list[Episode]) -> Choice:
    """The fastest execution for these episodes here, by timing each: once to warm up, then twice, the better counts.

    vmap is tried on a few tasks only, and not where inner steps are recomputed. Of two within a tenth of each other
    the one that needs less memory is taken.
    """
    candidates = ["loop"]
    if len(episodes) > 1:
        candidates += ["threads"] if torch.get_num_threads() > 1 and not _on_gpu(start) else []
        candidates += [] if plan.recompute else ["vmap"]
    taken: dict[str, float] = {}
    for name in candidates:
        tried = episodes[:_TRIED] if name == "vmap" and not _on_gpu(start) else episodes
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            mean_gradient(learner, plan, start, tried, name)
            _wait(start)
            seconds.append(time.perf_counter() - begun)
        taken[name] = 1e3 * min(seconds[1:]) * len(episodes) / len(tried)
    best = "loop"
    for name in candidates[1:]:
        if taken[name] < 0.9 * taken[best]:
            best = name
    return Choice(best, taken)


def _together(
    learner: Learner, plan: MetaPlan, start: Params, episodes: list[Episode], progress: float
) -> MetaGradient:
    stacked = torch.utils._pytree.tree_map(lambda *parts: torch.stack(parts), *episodes)

    def one(episode: Episode) -> MetaGradient:
        return meta_gradient(learner, plan, start, episode, functional=True, progress=progress)

    each = torch.func.vmap(one)(stacked)
    return MetaGradient(*({name: value.mean(0) for name, value in part.items()} for part in each))


_POOLS: dict[int, ThreadPoolExecutor] = {}


def _shared(
    learner: Learner, plan: MetaPlan, start: Params, episodes: list[Episode], progress: float
) -> Iterator[MetaGradient]:
    """Each episode's meta-gradient, in order. Torch lets other threads run while it computes."""
    workers = torch.get_num_threads()
    if workers not in _POOLS:
        _POOLS[workers] = ThreadPoolExecutor(workers, "limner-task", initializer=torch.set_num_threads, initargs=(1,))

    def gradient_of(episode: Episode) -> MetaGradient:
        with precision(plan.precision, start):  # it is a thread's own
            return meta_gradient(learner, plan, start, episode, progress=progress)

    with _threads_kept():
        yield from _POOLS[workers].map(gradient_of, episodes)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """A worker's number of threads can become the whole process's; give that back afterwards."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _mean(parts: Iterable[MetaGradient], sizes: list[int]) -> MetaGradient:
    """The mean, each part weighted by its size, added up one after the other so that no more than one is kept."""
    total = sum(sizes)
    gradient: Params = {}
    losses: dict[str, Tensor] = {}
    terms: dict[str, Tensor] = {}
    for part, size in zip(parts, sizes, strict=True):
        for into, found in zip((gradient, losses, terms), part, strict=True):
            for name, value in found.items():
                if name in into:
                    into[name].add_(value, alpha=size / total)
                else:
                    into[name] = value * (size / total)
    return MetaGradient(gradient, losses, terms)


def _on_gpu(start: Params) -> bool:
    return any(value.is_cuda for value in start.values())


def _wait(start: Params) -> None:
    if _on_gpu(start):
        torch.cuda.synchronize()


def _leave() -> None:
    """Leave the group in good order: a process that ends within it can bring another down."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


class Processes:
    """The processes that ``torchrun`` started, each with its share of the tasks; alone without it.

    >>> Processes().share([1, 2, 3])
    [1, 2, 3]
    """

    def __init__(self) -> None:
        import os

        from torch import distributed

        self.count, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if self.count > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(_leave)

    @property
    def first(self) -> bool:
        """Whether this is the process that validates, writes and talks."""
        return self.rank == 0

    def share(self, episodes: list[Episode]) -> list[Episode]:
        """This process's part of the outer step's episodes."""
        return episodes[self.rank :: self.count]

    def average(self, found: MetaGradient, own: int, total: int) -> MetaGradient:
        """The mean over all ``total`` episodes, from each process's mean over its ``own``: one exchange of numbers."""
        if self.count == 1:
            return found
        from torch import distributed

        names = [sorted(part) for part in found]
        values = [part[name] for part, keys in zip(found, names, strict=True) for name in keys]
        flat = torch.cat([value.reshape(-1) * (own / total) for value in values])
        distributed.all_reduce(flat)
        pieces = iter(torch.split(flat, [value.numel() for value in values]))
        return MetaGradient(
            *(
                {name: next(pieces).view_as(part[name]) for name in keys}
                for part, keys in zip(found, names, strict=True)
            )
        )

    def agree(self, value: float) -> float:
        """The first process's number in every one of them: when to stop, what to choose."""
        if self.count == 1:
            return value
        from torch import distributed

        told = torch.tensor([value], dtype=torch.float64)
        if torch.cuda.is_available():
            told = told.cuda()
        distributed.broadcast(told, 0)
        return float(told)
