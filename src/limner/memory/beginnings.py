"""What a task can begin from: the starts that fit it, and which of them does best on it before any step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limner.errors import LimnerError
from limner.memory.portfolio import HEAD
from limner.memory.shipped import shipped_starts
from limner.model_file import StoredModel
from limner.seeds import generator
from limner.tasks.pairs import TwoSided
from limner.tasks.task import Task
from limner.types import Batch

if TYPE_CHECKING:
    from limner.memory.store import Memory

LOOKED_AT = 8
"""Starts of the memory that are tried on a task before any step, at most: the newest; those shipped beside them."""

IMAGES, DRAWS = 32, 4
"""The images that generators are tried on at most, and the draws that are averaged."""

PAIRS, SIDE = 8, 96
"""The pairs that restorers are tried on at most, and the side of what is cut from them."""

SAME = ("beta", "likelihood")
"""Options that make the losses of two starts different numbers."""


class Beginning(NamedTuple):
    """A start that fits: how it is referred to, its learner's description, what its file tells of it, and, where it was
    found to be the best of several, the words for it."""

    reference: str
    learner: dict[str, Any]
    about: dict[str, Any]
    best: str = ""


def beginnings(
    memory: Memory,
    task: Task,
    kind: str,
    only: StoredModel | None = None,
    shipped: Iterable[StoredModel] | None = None,
) -> list[Beginning]:
    """The starts of a kind of learner that fit the task, or the ``only`` one: the one that does best on the support set
    before any step first, as far as that can be told; else the memory's, newest first, before those ``shipped`` (which
    are read where they are not given)."""
    if only is not None:
        reference = only.metadata.get("reference", only.sha256)
        same = only.learner_description["kind"] == kind
        return [Beginning(reference, only.learner_description, {"name": ""} | only.metadata)] if same else []
    shape: tuple[int, int, int] = task.support.shape
    sized = None if kind == "restorer" else shape  # a restorer takes images of any size
    own = [each for each in memory.models(kind=kind, image_shape=sized, role="start") if _fits(each, shape)]
    given = shipped_starts() if shipped is None else shipped
    fitting = [each for each in given if each.learner_description["kind"] == kind and _fits(each, shape)]
    found = {
        model.sha256: Beginning(
            model.metadata.get("reference", model.sha256), model.learner_description, model.metadata
        )
        for model in (*own, *fitting)
    }
    tried = [*own[:LOOKED_AT], *fitting]
    kinds = {tuple(model.learner_description["options"].get(name) for name in SAME) for model in tried}
    if len(tried) < 2 or len(kinds) > 1 or task.goal not in ("generate", "restore"):
        return list(found.values())
    losses, lost = {}, 0
    for model in tried:
        try:
            whole = model if model.params else memory.get_model(model.sha256)
        except LimnerError:  # its file is gone or damaged
            del found[model.sha256]
            lost += 1
            continue
        if (loss := first_loss(whole, task)) is not None:
            losses[model.sha256] = loss
    words = f"{lost} could not be read (limner memory verify tells why)" if lost else ""
    if losses:
        first = min(losses, key=lambda sha256: losses[sha256])
        found = {first: found.pop(first), **found}
        done = f"of {len(losses)} start{'s' if len(losses) > 1 else ''} tried it does best on these before any step"
        words = ", ".join(filter(None, (done, words)))
    return [made._replace(best="" if place else words) for place, made in enumerate(found.values())]


def first_loss(model: StoredModel, task: Task) -> float | None:
    """What a start loses on the support set before any step, the lower the better; ``None`` where losses do not tell.

    Of a restorer it is the negative peak signal-to-noise ratio in decibels, with a head fitted to pairs; of a generator
    without a critic its loss. One that reads sets explains each image by others.
    """
    from limner.learners import CATALOGUE, rebuild

    described, params = model.learner_description, model.params
    if len(CATALOGUE[described["kind"]].players) > 1:
        return None
    batch = _seen(task, described["image_shape"][0])
    headed = described["kind"] == "restorer" and "images" in batch
    learner = rebuild({**described, "options": {**described["options"], "head": HEAD}} if headed else described)
    values = []
    with torch.no_grad():
        if headed:
            params = learner.finish(params, batch, generator(task.seed, "first head"))
        for place in range(1 if headed else DRAWS):
            draws = learner.draw(batch, generator(task.seed, "first loss", place))
            loss = learner.loss(learner.players[0], params, batch, draws)
            values.append(float(-loss.terms["psnr"] if "psnr" in loss.terms else loss.value))
    mean = math.fsum(values) / len(values)
    return mean if math.isfinite(mean) else None


def _seen(task: Task, channels: int) -> Batch:
    """The first images of the support set; of both sides, where it has two, their middle parts, grey ones as so many
    channels alike as the start has."""
    from limner.learners import batch_of

    support: Any = task.support
    two = isinstance(support, TwoSided)
    batch = batch_of(support.select(torch.arange(min(PAIRS if two else IMAGES, len(support)))))
    if not two:
        return batch
    top, left = (max(0, side - SIDE) // 2 for side in support.shape[1:])
    return {
        name: values[:, :, top : top + SIDE, left : left + SIDE].expand(-1, channels, -1, -1)
        for name, values in batch.items()
    }


def _fits(model: StoredModel, shape: tuple[int, int, int]) -> bool:
    """Whether a start's learner takes images of ``shape``: a restorer any size, and one for colour grey ones too."""
    made_for = tuple(model.learner_description["image_shape"])
    restores = model.learner_description["kind"] == "restorer"
    return made_for[0] in (shape[0], 3) if restores else made_for == shape
