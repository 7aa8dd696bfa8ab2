"""The tasks of a family, as an experience goes through them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from limner.errors import LimnerError
from limner.seeds import derive, generator
from limner.spaces import ESTIMATOR
from limner.verbs.budget import Budget
from limner.verbs.trials import Asked

SHARES = (0.2, 0.35, 0.5)
"""Of a table's rows, what its tasks learn from, in turn."""

APART = ";"
"""Between the data specs of a family, and between degradations."""


class Plan(NamedTuple):
    """All that makes an experience, apart from how long it takes and who does it."""

    learner: str
    family: str
    tasks: int
    runs: int
    shots: int | None
    ways: int
    degradation: str | None
    start: str
    each: Budget
    options: dict[str, Any]
    fields: dict[str, Any]
    adviser: str
    sampler: str
    seed: int

    @property
    def called(self) -> str:
        """What the names of its runs begin with."""
        from limner.memory.schema import content_id

        said = {name: value for name, value in self._asdict().items() if name not in ("tasks", "runs")}
        return f"experience-{content_id(said)[:10]}-"


def pieces_of(plan: Plan) -> list[Asked]:
    """The tasks of the family, as searches; the same for the same plan, more tasks go on with the list."""
    specs = [part.strip() for part in plan.family.split(APART) if part.strip()]
    if not specs:
        raise LimnerError("a family needs data; give --family DATA")
    damages: list[str | None] = [part.strip() for part in (plan.degradation or "").split(APART) if part.strip()]
    damages = damages or [None]
    lists = [_tasks_of(spec, plan) for spec in specs]
    found = []
    for place in range(plan.tasks):
        of_spec = lists[place % len(lists)]
        turn = place // len(lists)
        if turn >= len(of_spec):
            continue
        spec, shots = of_spec[turn]
        found.append(
            Asked(
                spec,
                plan.learner,
                shots,
                damages[turn % len(damages)],
                plan.start,
                plan.each,
                plan.options,
                plan.fields,
                derive(plan.seed, "experience", place) % 2**31,
            )
        )
    if not found:
        raise LimnerError(f"{plan.family} has no classes to make tasks of; give data with more classes")
    return found


def _tasks_of(spec: str, plan: Plan) -> list[tuple[str, int | None]]:
    """The tasks of one data spec: spec and shots of each, in a shuffled order."""
    from limner.memory.portfolio import goals_of
    from limner.tasks import Family, load
    from limner.tasks.spec import parse
    from limner.tasks.tables import is_table, load_table

    if is_table(spec):
        if plan.shots is not None:
            return [(spec, plan.shots)] * plan.tasks
        rows = len(load_table(spec))
        return [(spec, max(2, int(SHARES[place % len(SHARES)] * rows))) for place in range(plan.tasks)]
    goal = (
        _goal_of_estimator(plan.learner)
        if plan.learner.startswith(ESTIMATOR)
        else next(iter(goals_of(plan.learner)), "")
    )
    if goal not in ("generate", "classify"):
        return [(spec, plan.shots)] * plan.tasks
    images = load(spec)
    if images.labels is None:
        return [(spec, plan.shots)] * plan.tasks
    places = Family(images, 1, 1, plan.seed, min_images=2).classes["train"]
    names = [name for place in places if _can_be_named(name := images.class_names[place])]
    random = generator(plan.seed, "experience", images.sha256)  # wherever they lie
    if goal == "generate":
        order = torch.randperm(len(names), generator=random).tolist()
        return [(str(parse(spec, classes=names[place])), plan.shots) for place in order]
    if len(names) < plan.ways:
        raise LimnerError(f"{spec} has {len(names)} classes to learn from, too few for --ways {plan.ways}; give fewer")
    drawn = [torch.randperm(len(names), generator=random)[: plan.ways].tolist() for _ in range(plan.tasks)]
    return [(str(parse(spec, classes="+".join(names[place] for place in of_task))), plan.shots) for of_task in drawn]


def _goal_of_estimator(name: str) -> str:
    from limner.estimators import estimator_class

    return str(estimator_class(name.removeprefix(ESTIMATOR)).goal)


def _can_be_named(name: str) -> bool:
    """Whether a data spec can name the class."""
    return name.isdigit() or not (set(name) & set(",+*?[") or name.replace("-", "").isdigit())
