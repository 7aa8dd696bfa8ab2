"""The outer loop: learn a start over a family of tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from limner.engine.augment import augment
from limner.engine.events import Listener, StopOnInterrupt
from limner.engine.optimisers import named
from limner.engine.step import States, init_states, norm_of, owned
from limner.errors import LimnerError
from limner.learners import Learner, batch_of
from limner.meta.algorithms import Episode, MetaGradient, adapt, mean_gradient
from limner.meta.plan import MetaPlan
from limner.seeds import generator
from limner.tasks import Family, ImageSet, Task
from limner.types import Batch, Cost, CurvePoint, Params

_PATIENCE = 10
"""So many outer steps in a row without a finite meta-gradient end a meta-training."""


@dataclass(frozen=True)
class Start:
    """What meta-training produces: parameters to begin a task from, and how they came about.

    ``rates`` holds learned per-parameter step sizes where the algorithm learns them. ``curve`` holds each validation
    on held-out classes; ``family`` what rebuilds the family and so the split of its classes.
    """

    learner: Learner
    params: Params
    plan: MetaPlan
    family: dict[str, Any]
    rates: Params | None = None
    curve: list[CurvePoint] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    notes: list[str] = field(default_factory=list)


def learn(
    learner: Learner,
    family: Family,
    plan: MetaPlan,
    *,
    seed: int = 0,
    start: Params | None = None,
    listeners: Sequence[Listener] = (),
) -> Start:
    """Meta-learns a start for ``learner`` over the train classes of ``family``.

    Each outer step draws ``plan.tasks`` tasks, adapts to each one's support, and moves the start along the mean
    meta-gradient (:func:`~limner.meta.algorithms.meta_gradient`). ``start`` begins from given parameters instead of
    fresh ones. Validation measures each player's query loss after adaptation on held-out classes, always the same
    tasks with the same draws. Ctrl-C ends it early and keeps what was learned so far.

    Raises :class:`LimnerError` where no finite meta-gradient comes about any more.
    """
    begun = time.perf_counter()
    params = dict(start) if start is not None else learner.init(seed)
    states = init_states(learner, named(plan.optimiser, plan.betas), params)
    random = generator(seed, "meta")
    curve: list[CurvePoint] = []
    notes: list[str] = []
    failures = done = 0
    for listener in listeners:
        listener.on_start(plan.steps, plan.seconds)
    with StopOnInterrupt() as interrupt:
        while (
            done < plan.steps
            and not interrupt.asked
            and not (plan.seconds and time.perf_counter() - begun >= plan.seconds)
        ):
            episodes = [_episode(learner, plan, family.sample("train", random), random) for _ in range(plan.tasks)]
            found = mean_gradient(learner, plan, params, episodes, plan.resolved_execution)
            elapsed = time.perf_counter() - begun
            spent = max(done / plan.steps, elapsed / plan.seconds if plan.seconds else 0.0)
            moved = _outer_step(learner, plan, params, states, found, plan.rate * (1 - 0.9 * min(spent, 1.0)))
            done += 1
            if moved is not None:
                params, states, failures = *moved, 0
            elif (failures := failures + 1) > _PATIENCE:
                raise LimnerError(
                    f"meta-training gave no finite gradient in {failures} outer steps in a row (at step {done}); "
                    f"lower inner_rate (now {plan.inner_rate}) or rate (now {plan.rate})"
                )
            values = {f"{player} query loss": float(loss) for player, loss in found.losses.items()}
            for listener in listeners:
                listener.on_step(done, values)
            if plan.validate_every and done % plan.validate_every == 0:
                curve.append(_validate(learner, family, plan, params, seed, done, begun, listeners))
    if interrupt.asked:
        notes.append(f"stopped by hand after {done} outer steps; the start is what was learned until then")
    if family.classes["validation"] and (not curve or curve[-1].step != done):
        curve.append(_validate(learner, family, plan, params, seed, done, begun, listeners))
    for listener in listeners:
        listener.on_end("stopped" if notes else "finished")
    cost = Cost(time.perf_counter() - begun, done, torch.get_num_threads())
    return Start(learner, params, plan, family.to_json(), None, curve, cost, notes)


def _outer_step(
    learner: Learner, plan: MetaPlan, params: Params, states: States, found: MetaGradient, rate: float
) -> tuple[Params, States] | None:
    """The start moved along the meta-gradient, player by player; nothing where that is not finite."""
    optimiser = named(plan.optimiser, plan.betas)
    states = dict(states)
    for player in learner.players:
        own = owned(params, player)
        towards = {name: found.gradient[name] for name in own}
        norm = norm_of(towards)
        if not torch.isfinite(norm):
            return None
        if plan.clip:
            scale = (plan.clip / (norm + 1e-12)).clamp(max=1.0)
            towards = {name: value * scale for name, value in towards.items()}
        with torch.no_grad():
            moved, states[player] = optimiser.update(own, towards, states[player], rate, None)
        params = {**params, **moved}
    return params, states


def _episode(learner: Learner, plan: MetaPlan, task: Task, random: torch.Generator) -> Episode:
    """The task as tensors, with all randomness of its inner loop and its query loss drawn from ``random``.

    Reptile needs no division of a task (Nichol et al. 2018, section 2): its inner batches come from support and query.
    """
    support, query = batch_of(task.support), batch_of(_required(task.query))
    if plan.turns:
        quarters = int(torch.randint(4, (), generator=random))
        for batch in (support, query):
            batch["images"] = torch.rot90(batch["images"], quarters, (2, 3))
    if plan.algorithm == "reptile":
        support = {name: torch.cat([value, query[name]]) for name, value in support.items()}
    batches = [_inner_batch(plan, support, random) for _ in range(plan.inner_steps)]
    draws = [learner.draw(batch, random) for batch in batches]
    return Episode(_stacked(batches), _stacked(draws), query, learner.draw(query, random))


def _inner_batch(plan: MetaPlan, support: Batch, random: torch.Generator) -> Batch:
    if plan.inner_batch and plan.inner_batch < len(support["images"]):
        chosen = torch.randperm(len(support["images"]), generator=random)[: plan.inner_batch]
        support = {name: value[chosen] for name, value in support.items()}
    if plan.augmentation:
        support = {**support, "images": augment(support["images"], plan.augmentation, random)}
    return support


def _stacked(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _required(query: ImageSet | None) -> ImageSet:
    if query is None:
        raise LimnerError("a task without query images cannot be meta-learned from; give the family queries")
    return query


def _validate(
    learner: Learner,
    family: Family,
    plan: MetaPlan,
    params: Params,
    seed: int,
    step: int,
    begun: float,
    listeners: Sequence[Listener],
) -> CurvePoint:
    """Each player's query loss before and after adaptation, mean over the same held-out tasks every time."""
    classes = len(family.classes["validation"])
    totals: dict[str, float] = {}
    random = generator(seed, "validation")
    for index in range(plan.validate_tasks):
        task = family.task("validation", index % classes, seed=index)
        episode = _episode(learner, replace(plan, algorithm="fomaml", turns=False), task, random)
        adapted = adapt(learner, plan, params, episode, second_order=False, functional=False)
        for when, model in (("before", params), ("after", adapted)):
            for player in learner.players:
                with torch.no_grad():
                    loss = learner.loss(player, model, episode.query, episode.query_draws).value
                name = f"{player} query loss {when}"
                totals[name] = totals.get(name, 0.0) + float(loss) / plan.validate_tasks
    point = CurvePoint(step, time.perf_counter() - begun, totals)
    for listener in listeners:
        listener.on_evaluate(step, totals, params)
    return point
