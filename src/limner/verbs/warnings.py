"""Plain warnings about a run: of what it learns from, told before it begins, and of what it made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from limner.errors import LimnerError
from limner.types import Params

if TYPE_CHECKING:
    from torch import Tensor

    from limner.engine import Run
    from limner.learners import Learner
    from limner.memory import Memory
    from limner.metrics import Extractor
    from limner.tasks import ImageSet, Task

NAMED = 5
"""Images that a warning names, at most."""

WATCHED, MOST = 100, 300
"""Samples that copying is watched by where no images are held back, and images that they are held against."""


def features_of(task: Task) -> Extractor:
    """The extractor that fits what is learned from."""
    from limner.metrics import choose, extractor

    return extractor(choose(task.support))


def beforehand(task: Task, memory: Memory) -> list[str]:
    """What is to be told of the images of a task to generate, and of how well the memory knows such images; of pairs to
    restore, whether nothing is wrong with them."""
    from limner.memory.familiarity import STRANGE, nearest_task
    from limner.metrics.judgement import of_shots
    from limner.reports.words import title

    if task.goal == "restore":
        return undamaged(task.support) + of_one_intensity(task)
    if task.goal != "generate":
        return []
    told = of_shots(task.support, features_of(task).name)
    known = nearest_task(memory, task.sha256)
    if known is not None and known.distance > STRANGE:
        tasks = "the one task" if known.tasks == 1 else f"the {known.tasks:,} tasks"
        told.append(
            f"nothing in the memory is like these images: of {tasks} learned before, the nearest ({title(known.name)}) "
            f"lies {known.distance:.1f} away, and from {STRANGE:g} on they are of another kind; what is advised comes "
            "from a fixed list, and limner meta-train on images more like these makes a better start"
        )
    return told


def undamaged(support: ImageSet) -> list[str]:
    """What is to be told of pairs to restore whose damaged images are the clean ones."""
    from limner.tasks import Pairs
    from limner.verbs.restoration import are_given

    if not are_given(support):
        return []
    assert isinstance(support, Pairs)
    if not torch.equal(support.inputs.images, support.targets.images):
        return []
    return [
        f"the damaged images of {support.name} are the very same as the clean ones, so that nothing can be learned but "
        "to leave images as they are; was one folder given twice?"
    ]


def of_one_intensity(task: Task) -> list[str]:
    """What is to be told of images to restore that show nothing: all their patches are each of one intensity.

    Raises :class:`LimnerError` where no image to learn from shows anything.
    """
    from limner.tasks import TwoSided

    shows: dict[str, bool] = {}
    for part in (task.support, task.query):
        if not isinstance(part, TwoSided):
            continue
        images = part.targets.images.flatten(2)
        varied = (images != images[..., :1]).any(2).any(1).tolist()
        if part is task.support and not any(varied):
            raise LimnerError(
                f"all images of {part.targets.name} to learn from are of one intensity all over, black for example, so "
                "they show nothing to restore; give photographs"
            )
        for name, one in zip(part.targets.names, varied, strict=False):
            shows[name] = shows.get(name, False) or one
    flat = [name for name, one in shows.items() if not one]
    if not flat:
        return []
    more = f" and {len(flat) - NAMED:,} more" if len(flat) > NAMED else ""
    return [
        f"{', '.join(flat[:NAMED])}{more} {'is' if len(flat) == 1 else 'are'} of one intensity all over, black for "
        f"example, so nothing is learned from {'it' if len(flat) == 1 else 'them'}; take "
        f"{'it' if len(flat) == 1 else 'them'} out of {task.support.name}"
    ]


def afterwards(run: Run, task: Task, learned: ImageSet, made: Tensor) -> list[str]:
    """What is to be told of the samples that a run to generate has ``made``, beside images ``learned`` from."""
    from limner.metrics.judgement import of_samples

    if run.state not in ("finished", "collapsed"):
        return []
    return of_samples(made, learned, task.query, features_of(task).name)


def watch(learner: Learner, task: Task, seed: int) -> Callable[[Params], dict[str, float]] | None:
    """What tells, as a run without images held back goes on, how near its samples come to those it learns from: by the
    distances of these to each other. ``None`` where there is nothing to tell."""
    from limner.engine.run import sample_bytes
    from limner.learners import batch_of
    from limner.metrics.few_shot import nearest_shot_ratio
    from limner.metrics.judgement import copied
    from limner.seeds import derive, generator

    if task.goal != "generate" or "sample" not in learner.answers:
        return None
    images = task.support.select(torch.arange(min(len(task.support), MOST)))
    if len(images) - len(copied(images)) < 2:
        return None
    features, support = features_of(task), batch_of(task.support)
    learned = features(images.images)

    def near(params: Params) -> dict[str, float]:
        finished = learner.finish(params, support, generator(seed, "finish"))
        samples = sample_bytes(learner, finished, WATCHED, derive(seed, "scores"))
        return {"nearest_shot_ratio": nearest_shot_ratio(features(samples), learned)}

    return near
