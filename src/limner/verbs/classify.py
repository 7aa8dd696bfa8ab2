"""What a classifier says of images whose classes are known, and where it errs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.errors import LimnerError
from limner.seeds import generator
from limner.types import Mistake, Params, Request, Score, Scores

if TYPE_CHECKING:
    from limner.engine import Run
    from limner.learners import Learner
    from limner.tasks import ImageSet


TOGETHER = 512
"""Images that are looked at together."""


def logits_of(learner: Learner, params: Params, images: ImageSet) -> Tensor:
    """What the classifier says of the images, ``(n, classes)``; a part of them after the other."""
    asked = (Request("logits", images=part.float() / 255) for part in torch.split(images.images, TOGETHER))
    return torch.cat([learner.predict(params, request, generator(0, "classify")) for request in asked])


def answered(learner: Learner, params: Params, images: ImageSet) -> tuple[Tensor, Tensor]:
    """The logits ``(n, classes)`` of the images, and their true classes ``(n,)``.

    Raises :class:`LimnerError` where the images have no classes.
    """
    if images.labels is None:
        raise LimnerError(f"{images.name} has no classes; give images in one folder a class, or an array of labels")
    return logits_of(learner, params, images), images.labels


def classified(learner: Learner, params: Params, images: ImageSet) -> dict[str, float]:
    """Accuracy and cross-entropy (nats) of a classifier on images held back."""
    logits, labels = answered(learner, params, images)
    return {
        "accuracy": float((logits.argmax(1) == labels).float().mean()),
        "cross_entropy": float(torch.nn.functional.cross_entropy(logits, labels)),
    }


def scored(run: Run, images: ImageSet, support: int) -> Scores:
    """The classifier's accuracy on images held back, with its interval; ``support``: how many it learned from."""
    accuracy = classified(run.learner, run.params, images)["accuracy"]
    low, high = wilson(accuracy, len(images))
    return Scores({"accuracy": Score(accuracy, low, high)}, "its own logits", 0, len(images), support, run.seed)


def mistakes(run: Run, images: ImageSet) -> list[Mistake]:
    """The images that the classifier puts in a class that is not theirs, those it is surest of first."""
    logits, labels = answered(run.learner, run.params, images)
    sureness, taken = logits.softmax(1).max(1)
    wrong = torch.nonzero(taken != labels).flatten()
    order = wrong[sureness[wrong].argsort(descending=True, stable=True)].tolist()
    names = images.class_names
    return [Mistake(images.images[place], names[labels[place]], names[taken[place]]) for place in order]


def as_learned(images: ImageSet, classes: tuple[str, ...], run: str) -> ImageSet:
    """``images`` with their labels as the run numbers them, by the names of its ``classes``.

    Raises :class:`LimnerError`, naming it, for a class that the run does not know.
    """
    if images.labels is None:
        raise LimnerError(f"{images.name} has no classes, so {run} cannot be scored on it; give labelled images")
    present = [images.class_names[index] for index in sorted(set(images.labels.tolist()))]
    foreign = [name for name in present if name not in classes]
    if foreign:
        raise LimnerError(
            f"{run} does not know the class {foreign[0]!r} of {images.name}; it knows: {', '.join(classes[:8])}"
            f"{'…' if len(classes) > 8 else ''} (choose them with classes=)"
        )
    place = torch.tensor([classes.index(name) if name in classes else -1 for name in images.class_names])
    return replace(images, labels=place[images.labels], class_names=classes, class_groups=None, group_names=())


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95% interval of a share of ``count`` trials (Wilson 1927).

    Its ends are (p + z²/2n ± z√(p(1−p)/n + z²/4n²)) / (1 + z²/n).

    >>> [round(end, 3) for end in wilson(0.9, 100)]
    [0.826, 0.945]
    """
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    reach = z * ((share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5) / scale
    return middle - reach, middle + reach
