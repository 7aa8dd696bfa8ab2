"""A family of tasks: any class of an image set, with its classes divided into train, validation and test."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.seeds import generator
from limner.tasks.image_set import ImageSet
from limner.tasks.task import Task

SPLITS = ("train", "validation", "test")


class Family:
    """Tasks of one kind: each is a class, of which ``shots`` images are learned from and ``queries`` others judge.

    Classes, not images, are divided, by ``seed`` and in about the ``fractions`` given; where the classes have groups
    (alphabet, script…) a group stays whole. So no class, and no group, is ever in two splits.

    images      an image set with classes
    shots       images to learn from in each task
    queries     images to be judged on in each task
    min_images  classes with fewer images are left out (and noted); ``None``: such a class is an error

    :raises LimnerError: where there are no classes, a class has too few images, or a split would get no class

    >>> pictures = torch.zeros(60, 1, 16, 16, dtype=torch.uint8)
    >>> blank = ImageSet(pictures, "blank", torch.arange(60) // 6, tuple("abcdefghij"))
    >>> family = Family(blank, shots=2, queries=3)
    >>> [len(family.classes[split]) for split in SPLITS]
    [7, 1, 2]
    >>> task = family.task("test", 0, seed=1)
    >>> len(task.support), len(task.query)
    (2, 3)
    """

    def __init__(
        self,
        images: ImageSet,
        shots: int,
        queries: int,
        seed: int = 0,
        fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
        goal: str = "generate",
        min_images: int | None = None,
    ) -> None:
        if images.labels is None:
            raise LimnerError(
                f"{images.name} has no classes, so it is no family; give images in one folder a class, or labels"
            )
        if shots < 1 or queries < 1:
            raise LimnerError(f"a family needs at least 1 shot and 1 query; {shots} and {queries} were given")
        if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) < 1e-6:
            raise LimnerError(f"fractions {fractions} cannot be used; give three numbers from 0 that add up to 1")
        self.images, self.shots, self.queries, self.seed = images, shots, queries, seed
        self.fractions, self.goal, self.min_images = tuple(fractions), goal, min_images
        self.members = members_of(images.labels, len(images.class_names))
        self.notes: tuple[str, ...] = ()
        self.classes = self._divide(self._usable())

    @property
    def spec(self) -> str:
        """The data spec of its images."""
        return self.images.name

    def size(self, split: str) -> int:
        """How many tasks ``split`` has by number: its classes."""
        return len(self._classes(split)) if self.classes.get(split, True) else 0

    def task(self, split: str, index: int, seed: int) -> Task:
        """The ``index``-th class of ``split`` as a task; ``seed`` chooses its images."""
        classes = self._classes(split)
        if not 0 <= index < len(classes):
            raise LimnerError(
                f"the {split} split of {self.spec} has {len(classes)} classes, so there is no index {index}"
            )
        return self._task(classes[index], generator(seed, "task", split, index), seed)

    def sample(self, split: str, generator: torch.Generator) -> Task:
        """A random class of ``split``, with random images for support and query."""
        classes = self._classes(split)
        drawn = int(torch.randint(len(classes), (), generator=generator))
        return self._task(classes[drawn], generator, seed=0)

    def pool(self, split: str) -> ImageSet:
        """All images of the classes of ``split`` together; labels are their places in ``classes[split]``."""
        classes = self._classes(split)
        indices = torch.cat([self.members[index] for index in classes])
        return self.images.restrict(classes, indices, name=f"{self.spec}, {split} classes")

    def to_json(self) -> dict[str, Any]:
        """What rebuilds it: the data spec, the sha256 of the images, and the arguments, as plain JSON."""
        return {
            "kind": "one class",
            "spec": self.spec,
            "images_sha256": self.images.sha256,
            "shots": self.shots,
            "queries": self.queries,
            "seed": self.seed,
            "fractions": list(self.fractions),
            "goal": self.goal,
            "min_images": self.min_images,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], images: ImageSet | None = None) -> Family:
        """The inverse of :meth:`to_json`; loads the data spec where ``images`` are not given.

        Raises :class:`LimnerError` where the images are no longer those that the family was made of.
        """
        from limner.tasks.load import load

        found = load(record["spec"]) if images is None else images
        if found.sha256 != record["images_sha256"]:
            raise LimnerError(f"the images of {record['spec']} have changed since this family was made; make a new one")
        arguments = {name: value for name, value in record.items() if name not in ("kind", "spec", "images_sha256")}
        return cls(found, **{**arguments, "fractions": tuple(record["fractions"])})

    def _task(self, class_index: int, generator: torch.Generator, seed: int) -> Task:
        members = self.members[class_index]
        order = members[torch.randperm(len(members), generator=generator)[: self.shots + self.queries]]
        name = f"{self.spec}, class {self.images.class_names[class_index]!r}, {self.shots} shots"
        return Task(
            goal=self.goal,
            name=name,
            support=self.images.select(order[: self.shots]),
            query=self.images.select(order[self.shots :]),
            seed=seed,
            source=self.spec,
        )

    def _classes(self, split: str) -> tuple[int, ...]:
        if split not in self.classes:
            raise LimnerError(f"a family has no split {split!r}; it has: {', '.join(SPLITS)}")
        if not self.classes[split]:
            raise LimnerError(
                f"the {split} split of {self.spec} has no classes; give it a larger fraction, or more classes"
            )
        return self.classes[split]

    def _usable(self) -> list[int]:
        """The classes with enough images, or an error that names one with too few."""
        least = max(self.shots + 1, self.min_images or 0)
        poor = [index for index, members in enumerate(self.members) if len(members) < least]
        if poor and self.min_images is None:
            index, more = poor[0], f" ({len(poor)} classes have too few)" if len(poor) > 1 else ""
            raise LimnerError(
                f"class {self.images.class_names[index]!r} of {self.spec} has {len(self.members[index])} images, but "
                f"{self.shots} shots and a query need {least}{more}; use fewer shots, or leave such classes out with "
                f"min_images={least}"
            )
        if poor:
            self.notes = (
                f"{len(poor)} of {len(self.members)} classes have fewer than {least} images and are left out",
            )
        return [index for index in range(len(self.members)) if index not in set(poor)]

    def _divide(self, usable: list[int]) -> dict[str, tuple[int, ...]]:
        """Whole groups to the split that lacks most; without groups each class is a group of its own."""
        wanted = [split for split, fraction in zip(SPLITS, self.fractions, strict=True) if fraction > 0]
        units: dict[int, list[int]] = {}
        for index in usable:
            group = index if self.images.class_groups is None else int(self.images.class_groups[index])
            units.setdefault(group, []).append(index)
        if len(units) < len(wanted):
            what = "classes" if self.images.class_groups is None else "groups of classes"
            why = f" ({'; '.join(self.notes)})" if self.notes else ""
            raise LimnerError(
                f"{self.spec} has {len(units)} usable {what}, too few for the splits {', '.join(wanted)}{why}; "
                f"give more images, fewer shots, or fractions with a 0"
            )
        return fill(list(units.values()), dict(zip(SPLITS, self.fractions, strict=True)), self.seed)


def members_of(labels: Tensor, classes: int) -> list[Tensor]:
    """For each class the indices of its images."""
    order = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels, minlength=classes)
    return list(order.split(sizes.tolist()))  # type: ignore[no-untyped-call]


def fill(units: list[list[int]], fractions: dict[str, float], seed: int) -> dict[str, tuple[int, ...]]:
    """Give whole units to splits so that class counts come near the fractions; every split with a fraction gets one.

    Units come in random order, the large ones (more than a tenth of all classes) first; each goes to the split that
    lacks most classes, and an empty split goes first once only as many units are left.
    """
    total = sum(len(unit) for unit in units)
    order = torch.randperm(len(units), generator=generator(seed, "family")).tolist()
    order.sort(key=lambda place: -len(units[place]) if len(units[place]) > total / 10 else 0)
    filled: dict[str, list[int]] = {split: [] for split in fractions}
    for done, place in enumerate(order):
        empty = [split for split, classes in filled.items() if fractions[split] > 0 and not classes]
        candidates = (
            empty if len(order) - done <= len(empty) else [split for split in fractions if fractions[split] > 0]
        )
        lack = {split: fractions[split] * total - len(filled[split]) for split in candidates}
        chosen = max(candidates, key=lambda split: lack[split])
        filled[chosen] += units[place]
    return {split: tuple(sorted(classes)) for split, classes in filled.items()}
