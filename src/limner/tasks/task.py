"""A task: what is to be learned, from what, and what it is judged on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

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


def check_shots(shots: int) -> None:
    """Raises :class:`LimnerError` where there are none.

    >>> check_shots(1)
    """
    if shots < 1:
        raise LimnerError(f"{shots} shots leave nothing to learn from; give at least 1")


def split(
    images: ImageSet, shots: int, seed: int, queries: int | None = None, goal: str = "generate", source: str = ""
) -> Task:
    """A task from ``images``: ``shots`` of them, chosen by ``seed``, to learn from, and the others to be judged on.

    ``queries`` bounds the number of the others; ``query`` is ``None`` where nothing is left (or ``queries`` is 0).
    Classes play no part: choose them before, with ``classes=`` in the data spec or :meth:`ImageSet.select`. Only where
    the goal is to classify are the shots shared among the classes, as their sizes are, and none is left out.

    Raises :class:`LimnerError` where there are fewer images than shots, fewer left than ``queries``, or fewer shots
    than classes to tell apart.

    >>> import torch
    >>> task = split(ImageSet(torch.zeros(12, 1, 16, 16, dtype=torch.uint8), name="tiny"), shots=5, seed=0)
    >>> task.name, len(task.support), len(task.query)
    ('tiny, 5 shots', 5, 7)
    """
    check_shots(shots)
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
    if goal == "classify" and images.labels is not None:
        order = _shared(order, images, shots)
    held = order[shots : len(images) if queries is None else shots + queries]
    return Task(
        goal=goal,
        name=f"{images.name}, {shots} {'shot' if shots == 1 else 'shots'}",
        support=images.select(order[:shots]),
        query=images.select(held) if len(held) else None,
        seed=seed,
        source=source or images.name,
    )


def _shared(order: Tensor, images: ImageSet, shots: int) -> Tensor:
    """``order`` with ``shots`` images first that hold a part of every class, as large as its size commands.

    The k-th of a class's m images, from 0, has the place k/m, so that the first of every class come before all others.
    """
    assert images.labels is not None
    classes = int((torch.bincount(images.labels) > 0).sum())
    if shots < classes:
        raise LimnerError(
            f"{images.name} has {classes} classes, of which {shots} {'shot tells' if shots == 1 else 'shots tell'} too "
            f"little; give {classes} shots or more, one for each class, or fewer classes with classes="
        )
    labels, by_class = images.labels[order].sort(stable=True)
    counts = torch.bincount(labels)
    places = torch.empty(len(order))
    places[by_class] = (torch.arange(len(order)) - (counts.cumsum(0) - counts)[labels]) / counts[labels]
    first = torch.zeros(len(order), dtype=torch.bool)
    first[places.argsort(stable=True)[:shots]] = True
    return torch.cat([order[first], order[~first]])


def _counted(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
