"""The check of whether made images help: classifiers with and without them, cross-validated over the real images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limner.seeds import derive
from limner.types import Score
from limner.verbs.classify import wilson
from limner.verbs.making import Making

if TYPE_CHECKING:
    from limner.engine.events import Listener
    from limner.tasks import ImageSet

MOST_FOLDS, FEWER_FOLDS = 5, 3
"""Folds, and folds where a budget is too short for so many."""

STEPS, LEAST_STEPS = 300, 40
"""Steps of a classifier, and the fewest that a budget leaves it."""

MOST_MADE = 2000
"""Images made for a fold, at most: more are not seen in so few steps."""

MOST_REGRESSED = 2000
"""Real images up to which there is a second opinion: features of more take too long."""

COMPARED = (("made", "plain"), ("ordinary", "plain"), ("made", "ordinary"))
"""The differences that are told, each arm less another."""


@dataclass(frozen=True)
class Plan:
    """What a check will do: its folds, a classifier's steps, images made of each class, features of the second opinion
    (empty = none), ordinary augmentations, and about how many seconds all of it takes."""

    folds: int
    steps: int
    per_class: int
    features: str
    ordinary: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Gain:
    """What a check found.

    accuracy  of each judge (``network``, ``regression``) in each arm (``plain``, ``made``, ``ordinary``)
    gains     of each judge: ``made less plain``, ``ordinary less plain``, ``made less ordinary``, paired
    judged    real images that no part of a fold's training saw; ``done`` of the planned folds were gone through
    """

    plan: Plan
    accuracy: dict[str, dict[str, Score]]
    gains: dict[str, dict[str, Score]]
    judged: int
    done: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON types."""
        return asdict(self) | {"plan": asdict(self.plan) | {"ordinary": list(self.plan.ordinary)}}


def impossible(images: ImageSet) -> str:
    """Why the images cannot be checked, in a sentence; empty where they can."""
    names = images.class_names
    if len(names) < 2:
        return f"there is but the class {names[0]!r}, so there is nothing to tell apart, and nothing was checked"
    assert images.labels is not None
    counts = torch.bincount(images.labels, minlength=len(names)).tolist()
    lone = [name for name, count in zip(names, counts, strict=True) if count < 2]
    if not lone:
        return ""
    many = f"{lone[0]!r} has" if len(lone) == 1 else f"{', '.join(map(repr, lone[:5]))} and others have"
    if 1 < len(lone) <= 5:
        many = f"{', '.join(map(repr, lone[:-1]))} and {lone[-1]!r} have"
    return (
        f"{many} 1 image, too few to learn from one and be judged on another, so nothing was checked; give 2 or more "
        "of each class"
    )


def planned(
    images: ImageSet, making: Making, per_class: int, seconds: float | None, pace: float, seed: int
) -> Plan | None:
    """A check that fits into ``seconds`` (``None`` = any), where a step of a generator takes ``pace`` seconds.

    ``None`` where no check is so short. Folds are five, fewer where the largest class has fewer images or the time is
    short. Grey images are not mirrored by ordinary augmentation: they may be letters or digits.
    """
    from limner.metrics import choose

    assert images.labels is not None
    count = len(images.class_names)
    features = choose(images)
    ordinary = ("shift", "affine", "flip") if images.shape[0] == 3 else ("shift", "affine")
    made = max(1, min(per_class, MOST_MADE // count))
    folds = min(MOST_FOLDS, max(2, int(torch.bincount(images.labels).max())))
    step = _classifier_pace(images, seed)
    making_one = making.generators(images) * one_training(making, pace)
    second = features if len(images) <= MOST_REGRESSED else ""
    looking = _looking_pace(images, second) * (len(images) + 2 * made * count) if second else 0.0
    for parts in dict.fromkeys((folds, min(folds, FEWER_FOLDS))):
        left = float("inf") if seconds is None else seconds - parts * (making_one + looking)
        steps = min(STEPS, int(left / (3 * parts * step))) if left < float("inf") else STEPS
        if steps >= LEAST_STEPS:
            return Plan(parts, steps, made, second, ordinary, parts * (making_one + looking + 3 * steps * step))
    return None


def one_training(making: Making, pace: float) -> float:
    """The seconds that training one generator takes."""
    seconds = making.strategy.steps * pace
    return min(seconds, making.strategy.seconds) if making.strategy.seconds else seconds


def check(
    images: ImageSet, making: Making, plan: Plan, seed: int, *, deadline: float = float("inf"),
    on_fold: Callable[[int], None] = lambda done: None, listeners: tuple[Listener, ...] = (),
) -> Gain:  # fmt: skip
    """Hold classifiers with and without made images against each other, fold by fold.

    Folds are dealt first. Then, for each, generators are made anew from its training part alone, classifiers learn from
    that part and from what those made, and are judged on the real images of the fold, which neither has seen.
    ``deadline`` (of ``time.monotonic``) ends it after a fold, but not before the second.
    """
    from limner.metrics.gain import folds, paired

    assert images.labels is not None
    begun = time.monotonic()
    fold = folds(images.labels, plan.folds, derive(seed, "check"))
    found: dict[str, dict[str, list[Tensor]]] = {}
    judged: list[Tensor] = []
    for each in range(plan.folds):
        held = torch.nonzero(fold == each).flatten()
        answered = fold_of(images, fold != each, making, plan, derive(seed, "fold", each), listeners)
        for judge, arms in answered.items():
            for arm, answers in arms.items():
                found.setdefault(judge, {}).setdefault(arm, []).append(answers)
        judged.append(torch.full((len(held),), each))
        on_fold(each + 1)
        if each >= 1 and time.monotonic() > deadline:
            break
    folded = torch.cat(judged)
    right = {judge: {arm: torch.cat(parts) for arm, parts in arms.items()} for judge, arms in found.items()}
    accuracy = {judge: {arm: _share(answers) for arm, answers in arms.items()} for judge, arms in right.items()}
    gains = {
        judge: {f"{one} less {other}": paired(arms[one], arms[other], folded, plan.folds) for one, other in COMPARED}
        for judge, arms in right.items()
    }
    return Gain(plan, accuracy, gains, len(folded), len(judged), time.monotonic() - begun)


def fold_of(
    images: ImageSet, learned: Tensor, making: Making, plan: Plan, seed: int, listeners: tuple[Listener, ...] = ()
) -> dict[str, dict[str, Tensor]]:
    """One fold: what :func:`limner.metrics.gain.correct` says of the images that are not ``learned`` (bool ``(n,)``).

    Of the images held back nothing but the judges' last look is given to anyone.
    """
    from limner.metrics.gain import correct

    real, held = images.select(learned), images.select(~learned)
    made = making.set_of(real, plan.per_class, seed, listeners)
    return correct(
        real, made, held, ordinary=plan.ordinary, steps=plan.steps, seed=seed, features=plan.features or None
    )


def _share(right: Tensor) -> Score:
    value = float(right.double().mean())
    return Score(value, *wilson(value, len(right)))


def _classifier_pace(images: ImageSet, seed: int) -> float:
    from limner.metrics.gain import by_network

    few = images.select(torch.arange(0, len(images), -(-len(images) // 64)))
    begun = time.perf_counter()
    by_network(few, few.select(torch.arange(1)), steps=4, seed=seed)
    return (time.perf_counter() - begun) / 4


def _looking_pace(images: ImageSet, features: str) -> float:
    from limner.metrics import extractor

    look, few = extractor(features), images.images[:8]
    begun = time.perf_counter()
    look(few)
    return (time.perf_counter() - begun) / len(few)
