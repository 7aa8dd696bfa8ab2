"""A task: what is to be learned, from what, and what it is judged on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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
