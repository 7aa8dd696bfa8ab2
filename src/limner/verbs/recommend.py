"""What the adviser would do, without doing it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from limner.verbs import budget as budgets
from limner.verbs import restoration, translation
from limner.verbs.goals import check_learner
from limner.verbs.line import find_start, prepare

if TYPE_CHECKING:
    from limner.memory import Recommendation


def recommend(
    spec: str | None,
    *,
    goal: str = "generate",
    degradation: str | None = None,
    damaged: str | None = None,
    shots: int | None = None,
    budget: str | None = None,
    learner: str | None = None,
    memory: str | None = None,
    seed: int = 0,
) -> list[Recommendation]:
    """Strategies for the images of ``spec``, best first, each with its reason; nothing is trained.

    ``spec``, ``goal``, ``degradation`` and ``damaged`` say what is to be learned, as for :func:`limner.adapt`. What was
    found out about damaged images is told with the first reason.

    Raises :class:`LimnerError` where the goal, the spec, the budget or the memory cannot be used.
    """
    from limner.memory import Adviser, Memory
    from limner.reports.words import sentence

    limits = budgets.parse(budget)
    check_learner(learner, goal)
    spec, found_out = restoration.given(goal, spec, degradation, damaged)
    prepared = prepare(spec, shots, seed, goal)
    task = prepared.task
    if goal == "translate":
        learner, _ = translation.defaults(prepared.images, learner)
    with Memory.open(memory) as remembered:
        remembered.add_task(task, parent=prepared.images)
        adviser = Adviser(remembered)
        found = adviser.recommend(task, budget_seconds=limits.seconds, budget_steps=limits.steps, learner=learner)
        if goal == "restore":
            starts = [find_start(advice.strategy.start, remembered, task.support.shape) for advice in found]
            found = [
                replace(advice, strategy=restoration.as_learned(advice.strategy, begun, task, limits))
                for advice, begun in zip(found, starts, strict=True)
            ]
    first = " ".join((found[0].reason, *map(sentence, found_out)))
    return [replace(found[0], reason=first), *found[1:]]
