"""Families of every kind behind one protocol, made from a data spec or from their record."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch

from limner.errors import LimnerError
from limner.tasks.degraded import DegradationFamily
from limner.tasks.family import Family
from limner.tasks.image_set import ImageSet
from limner.tasks.n_way import NWayFamily
from limner.tasks.pictures import clean_patches
from limner.tasks.points import PointsTask, SinusoidFamily
from limner.tasks.task import Task

GOALS = ("generate", "classify", "cluster", "regress", "restore")

PATCH = 40
"""The side of the patches that tasks to restore are about (as DnCNN's, Zhang et al. 2017, section IV.A)."""


@runtime_checkable
class TaskFamily(Protocol):
    """What meta-learning needs of a family: tasks of three splits that share no class.

    ``size(split)`` says how many tasks can be told apart by number (0: the split is empty), ``task(split, index,
    seed)`` gives one of them and ``sample(split, generator)`` a random one. All tasks have the same shapes.
    """

    goal: str
    shots: int
    queries: int
    notes: tuple[str, ...]

    @property
    def spec(self) -> str:
        """Where its tasks come from: a data spec, or ``sinusoid``."""

    def size(self, split: str) -> int:
        """How many tasks ``split`` has by number."""

    def task(self, split: str, index: int, seed: int) -> Task | PointsTask:
        """Task number ``index``; the same for the same arguments."""

    def sample(self, split: str, generator: torch.Generator) -> Task | PointsTask:
        """A random task."""

    def to_json(self) -> dict[str, Any]:
        """What rebuilds it: plain JSON, its ``kind`` among it."""


def family_of(
    spec: str,
    goal: str,
    *,
    shots: int,
    queries: int,
    ways: int = 5,
    seed: int = 0,
    turns: bool = False,
    degradation: str = "",
    patch: int = PATCH,
    alone: bool = False,
) -> Family | SinusoidFamily | DegradationFamily:
    """The family that the data spec ``spec`` gives for ``goal``.

    ``generate``: one class is one task. ``classify`` and ``cluster``: ``ways`` classes are one task. ``regress``: the
    spec must be ``sinusoid``. ``restore``: one degradation drawn from ``degradation`` is one task, on patches of
    ``patch`` pixels, or as large as the images are where that is less; ``alone``: adapted to by damaged ones, no
    pairs. Classes with too few images are left out, and noted.

    Raises :class:`LimnerError` for a goal that does not go with the spec.

    >>> family_of("sinusoid", "regress", shots=5, queries=10).to_json()["kind"]
    'sinusoid'
    """
    from limner.tasks.load import load

    if goal not in GOALS:
        raise LimnerError(f"there is no goal {goal!r}; there are: {', '.join(GOALS)}")
    if (spec == "sinusoid") != (goal == "regress"):
        raise LimnerError(
            f"the family {spec} does not go with the goal {goal}: the regressor learns from sinusoid, all others "
            "from images with classes"
        )
    if goal == "regress":
        return SinusoidFamily(shots, queries, seed)
    if goal == "restore":
        if not degradation:
            raise LimnerError(
                "tasks to restore differ by how images are damaged; say what they are drawn from, as in --degradation "
                '"gaussian(5..50)"'
            )
        cut = clean_patches(spec, 2 * patch)
        return DegradationFamily(cut, degradation, min(patch, *cut.shape[1:]), shots, queries, seed, alone=alone)
    images = load(spec)
    if goal == "generate":
        return Family(images, shots, queries, seed=seed, goal=goal, min_images=shots + queries)
    return NWayFamily(images, ways, shots, queries, seed=seed, goal=goal, turns=turns)


def family_from_json(
    record: dict[str, Any], images: ImageSet | None = None
) -> Family | SinusoidFamily | DegradationFamily:
    """The family of a record (``to_json``); loads its data spec where ``images`` are not given.

    Raises :class:`LimnerError` where the images are no longer those that the family was made of.
    """
    arguments = {name: value for name, value in record.items() if name != "kind"}
    kind = record.get("kind", "one class")
    if kind == "sinusoid":
        return SinusoidFamily(**{name: value for name, value in arguments.items() if name != "spec"})
    if kind == "degradations":
        return DegradationFamily.from_json(arguments, images)
    return (NWayFamily if kind == "n-way" else Family).from_json(arguments, images)
