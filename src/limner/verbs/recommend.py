"""What the adviser would do, without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.verbs import budget as budgets
from limner.verbs.line import check_learner, prepare

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
        adviser = Adviser(remembered)
        return adviser.recommend(
            prepared.task, budget_seconds=limits.seconds, budget_steps=limits.steps, learner=learner
        )
