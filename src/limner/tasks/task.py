"""A task: what is to be learned, from what, and what it is judged on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.image_set import ImageSet


@dataclass(frozen=True, eq=False)
class Task:
    """A goal, a support set to learn from, and a query set to be judged on (disjoint images).

    goal     ``generate`` or ``classify`` (later: ``restore``, ``translate``, ``regress``, ``cluster``)
    name     what a reader sees, e.g. ``glyphs, class 'GREEK SMALL LETTER XI', 10 shots``
    support  the images to learn from
    query    the images to be judged on; ``None`` where the user gave too few to hold any back
    seed     the seed that split support from query
    source   the data spec that it came from
    """

    goal: str
    name: str
    support: ImageSet
    query: ImageSet | None
    seed: int = 0
    source: str = ""

    @property
    def sha256(self) -> str:
        """Identity: sha256 over goal, support and query."""
        query = self.query.sha256 if self.query is not None else ""
        return hashlib.sha256("\x1f".join((self.goal, self.support.sha256, query)).encode()).hexdigest()


def split(
    images: ImageSet, shots: int, seed: int, queries: int | None = None, goal: str = "generate", source: str = ""
) -> Task:
    """A task from ``images``: ``shots`` of them, chosen by ``seed``, to learn from, and the others to be judged on.

    ``queries`` bounds the number of the others; ``query`` is ``None`` where nothing is left (or ``queries`` is 0).
    Classes play no part: choose them before, with ``classes=`` in the data spec or :meth:`ImageSet.select`.

    Raises :class:`LimnerError` where there are fewer images than shots, or fewer left than ``queries``.

    >>> import torch
    >>> task = split(ImageSet(torch.zeros(12, 1, 16, 16, dtype=torch.uint8), name="tiny"), shots=5, seed=0)
    >>> task.name, len(task.support), len(task.query)
    ('tiny, 5 shots', 5, 7)
    """
    if shots < 1:
        raise LimnerError(f"{shots} shots leave nothing to learn from; give at least 1")
    if shots > len(images):
        raise LimnerError(
            f"{images.name} has {_counted(len(images))}, fewer than {shots} shots; give more, or fewer shots"
        )
    left = len(images) - shots
    if queries is not None and not 0 <= queries <= left:
        raise LimnerError(
            f"{images.name} has {_counted(len(images))}: {shots} shots leave {left} to be judged on, not {queries}; "
            f"ask for at most {left} queries"
        )
    order = torch.randperm(len(images), generator=generator(seed, "split"))
    held = order[shots : len(images) if queries is None else shots + queries]
    return Task(
        goal=goal,
        name=f"{images.name}, {shots} {'shot' if shots == 1 else 'shots'}",
        support=images.select(order[:shots]),
        query=images.select(held) if len(held) else None,
        seed=seed,
        source=source or images.name,
    )


def _counted(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
