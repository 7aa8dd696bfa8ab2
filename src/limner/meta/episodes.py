"""From tasks to episodes: tensors of one shape, with all randomness of adaptation already drawn."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from limner.engine.augment import augmented
from limner.errors import LimnerError
from limner.learners import Learner, batch_of
from limner.meta.inner import Episode, adapt
from limner.meta.plan import MetaPlan
from limner.model_file import RATES
from limner.tasks import ImageSet, PointsTask, Task
from limner.types import Batch, Draws, Params


def episode_of(learner: Learner, plan: MetaPlan, task: Task | PointsTask, random: torch.Generator) -> Episode:
    """The task as tensors on the plan's device, the draws of its inner loop and its query loss taken from ``random``.

    Reptile needs no division of a task (Nichol et al. 2018, section 2): its inner batches come from support and query.
    """
    if task.query is None:
        raise LimnerError("a task without query images cannot be meta-learned from; give the family queries")
    support, query = batch_of(task.support), batch_of(task.query)
    if plan.turns and "images" in support:
        quarters = int(torch.randint(4, (), generator=random))
        for batch in (support, query):
            for name in ("images", "inputs"):  # what images are made from turns with them
                if name in batch:
                    batch[name] = torch.rot90(batch[name], quarters, (2, 3))
    if plan.traits.outer == "displacement":
        support = {name: torch.cat([value, query[name]]) for name, value in support.items()}
    inner, inner_draws = _inner(learner, plan, support, random)
    return _placed(plan, Episode(inner, inner_draws, query, learner.draw(query, random)))


def adapted(learner: Learner, plan: MetaPlan, start: Params, support: ImageSet, random: torch.Generator) -> Params:
    """The start after its own adaptation to ``support``: ``plan.inner_steps`` inner steps as it was meta-learned for,
    with its learned step sizes (``rates.*``), which are not part of what comes back.

    Images are taken as they are, with no augmentation and no turns, on the processor.
    """
    plan = replace(plan, augmentation=(), turns=False, device="cpu")
    inner, draws = _inner(learner, plan, batch_of(support), random)
    found = adapt(learner, plan, start, _placed(plan, Episode(inner, draws, {}, {})))
    return {name: value for name, value in found.items() if not name.startswith(RATES)}


def device_of(plan: MetaPlan) -> torch.device:
    """Where the plan computes. Raises :class:`LimnerError` where it asks for a GPU that is not there."""
    if plan.device == "cuda" and not torch.cuda.is_available():
        raise LimnerError("the plan asks for a GPU (device=cuda), but torch finds none here; choose device=cpu or auto")
    return torch.device("cuda" if plan.device != "cpu" and torch.cuda.is_available() else "cpu")


def _inner(learner: Learner, plan: MetaPlan, support: Batch, random: torch.Generator) -> tuple[Batch, Draws]:
    """The batches of all inner steps and their draws, each with a leading axis of steps."""
    steps = 1 if plan.traits.outer == "closed form" else plan.inner_steps
    batches = [_inner_batch(plan, support, random) for _ in range(steps)]
    return _stacked(batches), _stacked([learner.draw(batch, random) for batch in batches])


def _inner_batch(plan: MetaPlan, support: Batch, random: torch.Generator) -> Batch:
    count = len(next(iter(support.values())))
    if plan.inner_batch and plan.inner_batch < count:
        chosen = torch.randperm(count, generator=random)[: plan.inner_batch]
        support = {name: value[chosen] for name, value in support.items()}
    if plan.augmentation and "images" in support:
        support = augmented(support, plan.augmentation, random)
    return support


def _stacked(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _placed(plan: MetaPlan, episode: Episode) -> Episode:
    device = device_of(plan)

    def placed(name: str, value: Tensor) -> Tensor:
        if plan.channels_last and name == "images":
            value = value.movedim(-3, -1).contiguous().movedim(-1, -3)
        return value.to(device)

    return Episode(*({name: placed(name, value) for name, value in part.items()} for part in episode))
