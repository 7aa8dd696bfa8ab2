"""What the adviser would do, without doing it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from limner.verbs import budget as budgets
from limner.verbs.line import check_learner, prepare, with_budget

if TYPE_CHECKING:
    from limner.memory import Recommendation


def recommend(
    spec: str,
    *,
    shots: int | None = None,
    budget: str | None = None,
    learner: str | None = None,
    memory: str | None = None,
    seed: int = 0,
) -> list[Recommendation]:
    """Strategies for the images of ``spec``, best first, each with its reason; nothing is trained.

    Raises :class:`LimnerError` where the spec, the budget or the memory cannot be used.
    """
    from limner.memory import Adviser, Memory

    limits = budgets.parse(budget)
    check_learner(learner, "generate")
    prepared = prepare(spec, shots, seed)
    with Memory.open(memory) as remembered:
        remembered.add_task(prepared.task, parent=prepared.images)
        found = Adviser(remembered).recommend(prepared.task, budget_seconds=limits.seconds, learner=learner)
    return [replace(advice, strategy=with_budget(advice.strategy, limits)) for advice in found]
