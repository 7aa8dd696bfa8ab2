"""A worker's share of an experience: its own tasks first, then what the others have left."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from limner.errors import LimnerError
from limner.verbs.experience_family import Plan
from limner.verbs.trials import Asked, subject_of

if TYPE_CHECKING:
    from limner.memory import Memory


class Worked(NamedTuple):
    """What came of a worker's share, beside what the memory was told.

    stopped  whether it was stopped by hand
    refused  of tasks that could not be tried, by their places in the list, why not
    """

    stopped: bool
    refused: dict[int, str]


def worked(
    plan: Plan, pieces: list[Asked], memory: str, until: float | None, progress: bool, number: int, of: int
) -> Worked:
    """Go through all ``pieces``, beginning with every ``of``-th from ``number`` on, until the time ``until``.

    Each run is claimed in the memory, so whoever comes first does it. What the tasks have in common is read once.
    """
    from limner.memory import Memory
    from limner.tasks.held import reading_once

    places = sorted(range(len(pieces)), key=lambda place: place % of != number)
    refused: dict[int, str] = {}
    try:
        with reading_once(), Memory.open(memory) as remembered:
            for place in places:
                left = None if until is None else until - time.time()
                if left is not None and left <= 0:
                    break
                if progress:
                    _say(f"task {place + 1} of {len(pieces)}, {pieces[place].spec}")
                try:
                    if _tried(plan, place, pieces[place], remembered, left, progress) == "stopped":
                        return Worked(True, refused)
                except LimnerError as mistake:
                    refused[place] = str(mistake)
                    _say(f"task {place + 1}: {mistake}")
    except KeyboardInterrupt:
        return Worked(True, refused)
    return Worked(False, refused)


def whole(memory: str | None) -> str:
    """The memory's location with all that says where it lies, so that it means the same to workers elsewhere."""
    from limner.memory.database import locate

    location = locate(memory)
    path = str(location.url.database)
    if location.schema is None and locate(path).artifacts == location.artifacts:
        return path
    more = {"artifacts": str(location.artifacts)} | ({"schema": location.schema} if location.schema else {})
    return location.url.update_query_dict(more).render_as_string(hide_password=False)


def _say(sentence: str) -> None:
    print(f"experience: {sentence}", file=sys.stderr, flush=True)


def _tried(plan: Plan, place: int, asked: Asked, memory: Memory, left: float | None, progress: bool) -> str:
    """Try strategies on one task, until there are enough of them; how that ended."""
    from limner.memory.labels import HIGHER_IS_BETTER, META_LABEL
    from limner.verbs.searching import Going

    subject = subject_of(asked, memory, False)
    metric = META_LABEL[subject.task.goal]
    called = f"{plan.called}{place:04}-"
    going = Going(memory, subject, called, metric, metric in HIGHER_IS_BETTER, plan.sampler, progress, plan.adviser)
    going.recall(resume=True)
    if left is not None:
        left += sum(trial.seconds for trial in going.trials)
    return going.go(plan.runs, left)
