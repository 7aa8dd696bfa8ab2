"""Families of n-way k-shot tasks: tell n classes apart, or sort images of n classes, from k images of each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.family import SPLITS, Family
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task


class NWayFamily(Family):
    """Tasks of ``ways`` classes drawn together, ``shots`` images of each to learn from, ``queries`` of each to judge.

    Classes are divided among train, validation and test as in :class:`Family`. In a task they are numbered anew, in
    random order, 0 to ``ways`` − 1.

    goal   ``classify``, or ``cluster``: then the support has no labels, and a query's only serve to judge
    turns  whether, in train tasks, a class turned by 90, 180 or 270 degrees is a class of its own (as is the custom
           with Omniglot: Santoro et al. 2016)

    :raises LimnerError: where a split has fewer classes than ``ways``, or a class too few images

    >>> pictures = torch.zeros(60, 1, 16, 16, dtype=torch.uint8)
    >>> blank = ImageSet(pictures, "blank", torch.arange(60) // 4, tuple("abcdefghijklmno"))
    >>> family = NWayFamily(blank, ways=3, shots=1, queries=2, fractions=(0.5, 0.2, 0.3))
    >>> task = family.task("test", 0, seed=1)
    >>> task.support.labels.tolist(), len(task.query)
    ([0, 1, 2], 6)
    """

    def __init__(
        self,
        images: ImageSet,
        ways: int,
        shots: int,
        queries: int,
        seed: int = 0,
        fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
        goal: str = "classify",
        min_images: int | None = None,
        turns: bool = False,
    ) -> None:
        if ways < 2:
            raise LimnerError(f"a task of {ways} classes leaves nothing to tell apart; give at least 2 ways")
        self.ways, self.turns = ways, turns
        super().__init__(images, shots, queries, seed, fractions, goal, max(min_images or 0, shots + queries))
        for split in SPLITS:
            found = len(self.classes[split]) * (4 if turns and split == "train" else 1)
            if self.classes[split] and found < ways:
                raise LimnerError(
                    f"the {split} split of {self.spec} has {found} classes, fewer than {ways} ways; give fewer ways, "
                    f"more classes, or that split a larger fraction (or 0)"
                )

    def size(self, split: str) -> int:
        """How many tasks can be told apart by number: their classes are drawn, so no end is reached."""
        return 2**31 if super().size(split) else 0

    def task(self, split: str, index: int, seed: int) -> Task:
        """The ``index``-th task of ``split``: the index chooses its classes, ``seed`` their images."""
        return self._draw(split, generator(self.seed, "n-way", split, index), generator(seed, "n-way images", index))

    def sample(self, split: str, generator: torch.Generator) -> Task:
        """A random task of ``split``."""
        return self._draw(split, generator, generator)

    def to_json(self) -> dict[str, Any]:
        """What rebuilds it, as plain JSON."""
        return super().to_json() | {"kind": "n-way", "ways": self.ways, "turns": self.turns}

    def _draw(self, split: str, of_classes: torch.Generator, of_images: torch.Generator) -> Task:
        classes = self._classes(split)
        turns = 4 if self.turns and split == "train" else 1
        drawn = torch.randperm(len(classes) * turns, generator=of_classes)[: self.ways].tolist()
        parts: list[tuple[Tensor, Tensor]] = []
        for place in drawn:
            members = self.members[classes[place // turns]]
            chosen = members[torch.randperm(len(members), generator=of_images)[: self.shots + self.queries]]
            images = torch.rot90(self.images.images[chosen], place % turns, (2, 3))
            parts.append((images[: self.shots], images[self.shots :]))
        names = tuple(self.images.class_names[classes[place // turns]] for place in drawn)
        support, query = (torch.cat(side) for side in zip(*parts, strict=True))
        name = f"{self.spec}, {self.ways} ways, {self.shots} shots"
        given = None if self.goal == "cluster" and split != "train" else self._labels(self.shots)
        return Task(
            goal=self.goal,
            name=name,
            support=ImageSet(support, name, given, names if given is not None else ()),
            query=ImageSet(query, name, self._labels(self.queries), names),
            source=self.spec,
        )

    def _labels(self, each: int) -> Tensor:
        return torch.arange(self.ways).repeat_interleave(each)
