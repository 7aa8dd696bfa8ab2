"""Early stopping by held-out shots: how many steps a few images bear, found on those images alone.

Some shots are held out, the learner is fitted to the others from the same start, and its samples are held against those
left out after 0, 5, 10, 25, 50, 100, 200… steps. The steps with the best mean over such folds are then taken with all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limner.config import Strategy
from limner.engine.checkpoint import Training
from limner.errors import LimnerError
from limner.learners import Learner
from limner.seeds import generator
from limner.tasks import ImageSet
from limner.types import CurvePoint

Features = Callable[[Tensor], Tensor]
"""uint8 images ``(n, c, h, w)`` to float features ``(n, d)`` that distances are taken in."""

FEW = 8
"""With fewer shots each is left out once."""

MOST_FOLDS = 5
"""Folds at most, where one shot is left out in each; fits cost time."""

SHARED_FOLDS = 2
"""Folds where a fifth of the shots is held out."""

SAMPLES = 100
"""Samples that are held against the shots left out."""

SHARE = 0.5
"""The folds' part of a budget in seconds, at most."""


class Fold(NamedTuple):
    """Places of the shots learned from, and of those held out."""

    learned: Tensor
    held: Tensor


class Decision(NamedTuple):
    """How many steps to take, the mean score over the folds by steps, how many folds, and the seconds they took.

    ``steps`` is ``None`` where nothing could be told, or the samples were still getting better at the last step that
    was looked at: then nothing is to be stopped early.
    """

    steps: int | None
    scores: dict[int, float]
    folds: int
    seconds: float

    def told(self, most: str) -> str:
        """What was decided, in one sentence; ``most`` is the whole budget in words.

        >>> Decision(25, {0: 9.0, 25: 7.0, 50: 8.0}, 5, 3.21).told("200 steps")
        'early stopping: 25 of at most 200 steps, by 5 folds of held-out shots (3.2 s)'
        >>> Decision(None, {0: 9.0, 25: 7.0}, 5, 3.21).told("200 steps")
        'early stopping: all of 200 steps, as held-out shots said better to the last (5 folds, 3.2 s)'
        """
        if self.steps is not None:
            fold = "fold" if self.folds == 1 else "folds"
            return (
                f"early stopping: {self.steps} of at most {most}, by {self.folds} {fold} of held-out shots "
                f"({self.seconds:.1f} s)"
            )
        if len(self.scores) < 2:
            return f"early stopping: nothing could be told by held-out shots in {self.seconds:.1f} s, so all of {most}"
        return (
            f"early stopping: all of {most}, as held-out shots said better to the last ({self.folds} folds, "
            f"{self.seconds:.1f} s)"
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return self._asdict() | {"scores": list(self.scores.items())}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Decision:
        """The inverse of :meth:`to_json`."""
        return cls(**record | {"scores": {int(step): score for step, score in record["scores"]}})

    def curve(self) -> list[CurvePoint]:
        """The mean scores by steps, as rows of a run's curve."""
        return [CurvePoint(step, 0.0, {"held-out shots": score}) for step, score in self.scores.items()]


class Limits(NamedTuple):
    """After how many steps, and seconds (0 = no limit), a training ends."""

    steps: int
    seconds: float

    @classmethod
    def of(cls, training: Training, strategy: Strategy) -> Limits:
        """What the strategy says, and held-out shots if they were asked: their time is part of the budget."""
        found = training.held_out
        if not found:
            return cls(strategy.steps, strategy.seconds)
        steps = strategy.steps if found["steps"] is None else found["steps"]
        return cls(steps, max(strategy.seconds - found["seconds"], 1e-3) if strategy.seconds else 0.0)


def check(learner: Learner, strategy: Strategy, features: Features | None) -> None:
    """Raises :class:`LimnerError` where early stopping is asked for and cannot be done."""
    if not strategy.early_stopping:
        return
    if "sample" not in learner.answers:
        raise LimnerError(
            f"early stopping holds samples against shots left out, but the {learner.kind} makes no samples; leave "
            "early_stopping out"
        )
    if features is None:
        raise LimnerError(
            'early stopping needs features to compare images in; give fit(…, features=extractor("glyph-net")), with '
            "limner.metrics.extractor"
        )


def folds(count: int, seed: int) -> list[Fold]:
    """What of ``count`` shots is held out, each time: one of fewer than 8 (at most 5 times), else a fifth, twice.

    No fold of a single shot: nothing would be left to learn from.

    >>> [fold.held.tolist() for fold in folds(3, seed=0)], folds(1, seed=0)
    ([[0], [2], [1]], [])
    >>> [(len(fold.learned), len(fold.held)) for fold in folds(10, seed=0)]
    [(8, 2), (8, 2)]
    """
    if count < 2:
        return []
    order = torch.randperm(count, generator=generator(seed, "held out"))
    size = 1 if count < FEW else max(2, count // 5)
    many = min(count, MOST_FOLDS) if count < FEW else SHARED_FOLDS
    ends = range(size, size * many + 1, size)
    return [Fold(torch.cat([order[: end - size], order[end:]]), order[end - size : end]) for end in ends]


def grid(most: int, from_start: bool) -> Iterator[int]:
    """The steps after which samples are looked at; 0 only where a start could do without any.

    >>> list(grid(150, True)), list(grid(7, False))
    ([0, 5, 10, 25, 50, 100, 150], [5, 7])
    """
    if from_start:
        yield 0
    step = 5
    while step < most:
        yield step
        step = {5: 10, 10: 25}.get(step, 2 * step)
    yield most


def energy_score(samples: Tensor, held: Tensor) -> float:
    r"""How far samples are from held-out images in distribution, up to what does not depend on the samples:

    .. math:: 2\,\mathrm{mean}_{ij} \|x_i - y_j\| - \mathrm{mean}_{i \ne j} \|x_i - x_j\|

    the energy score (Gneiting & Raftery 2007, eq. 22) times two, which is the energy distance less E‖y − y′‖. It is
    strictly proper, and without bias at a single held-out image, so a mean over folds ranks models by energy distance.

    It is to be taken in an extractor's features: pixels choose too few steps. A learner's own loss on the image left
    out serves less: it speaks of the image's place in a prior, hardly of samples. Where a budget does not overfit, all
    of its steps are as good or better: this is a guard, no free gain.

    samples, held: ``(n, d)`` and ``(m, d)`` features; n from 2, m from 1. Lower is better.

    >>> x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0]])
    >>> energy_score(x, y), energy_score(x + 3, y)
    (0.0, 4.0)
    """
    count = len(samples)
    among = torch.cdist(samples, samples)
    return float(2 * torch.cdist(samples, held).mean() - among.sum() / (count * (count - 1)))


Follow = Callable[[ImageSet, int, float], Iterable[tuple[int, Tensor]]]
"""Of the shots learned from, the fold's place and the seconds it may take (0 = no limit): steps and samples then."""


def decide(support: ImageSet, follow: Follow, features: Features, seed: int, seconds: float) -> Decision:
    """The number of steps with the best mean score, of those that every fold reached.

    follow    trains on a fold's images and gives samples, uint8, after the steps of :func:`grid`
    features  what distances are taken in
    seconds   the whole budget, of which the folds together take half at most (0 = no limit)
    """
    begun = time.perf_counter()
    support = without_copies(support)
    held_out = folds(len(support), seed)
    found: list[dict[int, float]] = []
    for place, fold in enumerate(held_out):
        left = SHARE * seconds - (time.perf_counter() - begun)
        limit = max(left, 1e-3) / (len(held_out) - place) if seconds else 0.0
        real = features(support.select(fold.held).images)
        made = follow(support.select(fold.learned), place, limit)
        found.append({step: energy_score(features(samples), real) for step, samples in made})
    return chosen(found, time.perf_counter() - begun)


def chosen(scores: list[dict[int, float]], seconds: float) -> Decision:
    """The decision by each fold's scores.

    >>> chosen([{0: 3.0, 5: 1.0, 10: 2.0}, {0: 3.0, 5: 2.0}], 1.0)  # still better at the last step of all
    Decision(steps=None, scores={0: 3.0, 5: 1.5}, folds=2, seconds=1.0)
    >>> chosen([{0: 3.0, 5: 1.0, 10: 2.0}], 1.0).steps
    5
    """
    common = [step for step in (scores[0] if scores else {}) if all(step in fold for fold in scores)]
    means = {step: math.fsum(fold[step] for fold in scores) / len(scores) for step in common}
    means = {step: mean for step, mean in means.items() if math.isfinite(mean)}
    best = min(means, key=lambda step: means[step], default=None)
    return Decision(None if best is None or best == max(means) else best, means, len(scores), seconds)


def without_copies(images: ImageSet) -> ImageSet:
    """The first of each of the images: one that was also learned from would say that copying is best.

    >>> import torch
    >>> len(without_copies(ImageSet(torch.zeros(3, 1, 16, 16, dtype=torch.uint8), "blank")))
    1
    """
    places = {image.numpy().tobytes(): place for place, image in reversed(list(enumerate(images.images)))}
    return images if len(places) == len(images) else images.select(torch.tensor(sorted(places.values())))
