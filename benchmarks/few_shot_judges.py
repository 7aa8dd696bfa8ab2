"""Classifiers that judge made images: whether they are recognised, and whether one of few shots gains by them."""

from __future__ import annotations

from typing import Any

import harness
import torch
from torch import Tensor

from limner.config import Strategy
from limner.engine import fit
from limner.learners import create
from limner.metrics.gain import by_network
from limner.seeds import derive, generator
from limner.tasks import ImageSet, Task
from limner.types import Params, Request

SEED, AMONG = 0, 20
"""Among how many characters the recogniser finds a sample's own."""
WAYS, MADE, STEPS = 5, 20, 150
"""A classifier of so many classes, with so many made images of each, learns for so many steps."""


def recogniser(tasks: list[Task], seconds: float) -> Params:
    """The parameters of a classifier of all test characters, trained on the drawings that samples are held against."""
    images = torch.cat([task.query.images for task in tasks])
    labels = torch.arange(len(tasks)).repeat_interleave(len(tasks[0].query))
    queries = ImageSet(images, "drawings held back", labels=labels, class_names=tuple(map(str, range(len(tasks)))))
    strategy = Strategy(steps=10**9, seconds=seconds, batch=64, schedule="cosine", augmentation=("affine",))
    learner = create("classifier", queries.shape, classes=len(tasks))
    return fit(learner, Task("classify", "characters", queries, None), strategy, seed=SEED).params


def recognised(reader: Params | None, images: Tensor, own: int, classes: int) -> float | None:
    """The share of ``images`` taken for the character ``own`` among it and 19 others."""
    if reader is None:
        return None
    others = torch.randperm(classes, generator=generator(SEED, "others", own))
    among = torch.cat([torch.tensor([own]), others[others != own][: AMONG - 1]])
    request = Request("logits", images=images.float() / 255)
    learner = create("classifier", (1, *images.shape[2:]), classes=classes)
    logits = learner.predict(reader, request, generator(SEED))[:, among]
    return float((logits.argmax(1) == 0).float().mean())


def groups(tasks: list[Task]) -> list[list[int]]:
    """Places of ``tasks`` in groups of :data:`WAYS`, each of several alphabets; what does not fill one is left out."""
    count = len(tasks) // WAYS
    return [list(range(place, len(tasks), count))[:WAYS] for place in range(count)]


def _set(parts: list[Tensor]) -> ImageSet:
    """The images of each class, in their order."""
    labels = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in parts]))
    return ImageSet(torch.cat(parts), "a group", labels=labels, class_names=tuple(map(str, range(len(parts)))))


def accuracies(asked: tuple[list[Task], list[Tensor] | None, int]) -> list[float]:
    """In percent for each group: of a classifier that learned from the shots, and from images made of each task where
    they are given; on one core."""
    harness.on_one_core()
    tasks, made, seed = asked
    found = []
    for index, group in enumerate(groups(tasks)):
        real = [tasks[place].support.images for place in group]
        held = _set([tasks[place].query.images for place in group])
        added = [real[0][:0]] * WAYS if made is None else [made[place][:MADE] for place in group]
        shown = [torch.cat(both) for both in zip(real, added, strict=True)]
        right = by_network(_set(shown), held, steps=STEPS, seed=derive(seed, "group", index))
        found.append(100 * float(right.double().mean()))
    return found


def gained(pool: Any, tasks: list[Task], rows: list[dict[str, Any]], seed: int) -> dict[tuple[str, int], list[float]]:
    """Points that each strategy's images add to the shots alone, for each number of steps; one number a group.

    rows  one for each way, number of steps and task, in the order of ``tasks``, each with what it ``made``
    """
    made: dict[tuple[str, int], list[Tensor]] = {}
    for row in rows:
        made.setdefault((row["way"], row["steps"]), []).append(row["made"])
    asked = [(tasks, None, seed), *((tasks, images, seed) for images in made.values())]
    alone, *others = pool.map(accuracies, asked, chunksize=1)
    print(f"a classifier of the shots alone: {sum(alone) / len(alone):.1f}%", flush=True)
    return {
        name: [one - other for one, other in zip(found, alone, strict=True)]
        for name, found in zip(made, others, strict=True)
    }
