"""What a page of the whole memory tells, asked of the database in few questions, whatever its size."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Select, case, func, select, text
from sqlalchemy.orm import Session

from limner.config import ENDLESS, Strategy
from limner.memory.labels import HIGHER_IS_BETTER, META_LABEL
from limner.memory.lookup import AT_ONCE
from limner.memory.schema import (
    EvaluationRow,
    FingerprintRow,
    LearnerRow,
    ModelRow,
    RecommendationRow,
    RunRow,
    StrategyRow,
    TaskRow,
    ThumbnailRow,
)
from limner.memory.scoring import DEFAULT
from limner.spaces import ESTIMATOR, Space, spelt

if TYPE_CHECKING:
    from limner.memory import Memory

MOST_MAPPED = 2000
"""Tasks on the map; of more, those whose ids come first, which is as good as chance."""

MOST_OF_GOAL = 12
"""Tasks on a goal's leaderboard: those with the most runs."""

MOST_FOLLOWED = 50_000
"""Advice that the curves rest on: the newest."""

MOST_OF_LEARNER = 1000
"""Runs of a learner that the importance of its knobs rests on: the newest."""

_METRIC = case(*[(TaskRow.goal == goal, metric) for goal, metric in META_LABEL.items()])
_WORSE = case((EvaluationRow.metric.in_(HIGHER_IS_BETTER), -EvaluationRow.value), else_=EvaluationRow.value)


class Mapped(NamedTuple):
    """A task with a fingerprint, as it is kept; ``strip``: its thumbnails, empty where there are none."""

    sha256: str
    name: str
    goal: str
    content: dict[str, Any]
    strip: str


@dataclass(frozen=True)
class Best:
    """The best run on a task. ``default``: what the default of the same learner scored there, where it was tried."""

    kind: str
    told: str
    metric: str
    value: float
    low: float | None
    high: float | None
    seconds: float
    runs: int
    default: float | None


class Followed(NamedTuple):
    """Advice that was followed: by whom it was, where, and the score (``None``: the run had none)."""

    source: str
    where: tuple[str, str]
    extractor: str | None
    worse: float | None


class Tried(NamedTuple):
    """A whole, scored run of a learner. ``worse`` is the score, of one that is to be high with the sign turned."""

    task: str
    extractor: str
    worse: float
    shape: list[int]
    options: dict[str, Any]
    strategy: Strategy


def totals(session: Session, memory: Memory) -> dict[str, Any]:
    """How much of each there is: tasks by goal, runs by state, seconds, models and their bytes, advice, since when."""
    goals = select(TaskRow.goal, func.count()).group_by(TaskRow.goal).order_by(func.count().desc(), TaskRow.goal)
    states = select(RunRow.state, func.count()).group_by(RunRow.state).order_by(func.count().desc(), RunRow.state)
    seconds, since = session.execute(select(func.sum(RunRow.seconds), func.min(RunRow.created))).one()
    models, weights = session.execute(select(func.count(), func.sum(ModelRow.bytes)).select_from(ModelRow)).one()
    followed = RecommendationRow.outcome_run
    advice = session.execute(select(func.count(), func.count(followed)).select_from(RecommendationRow)).one()
    return {
        "goals": {goal: count for goal, count in session.execute(goals)},  # noqa: C416
        "states": {state: count for state, count in session.execute(states)},  # noqa: C416
        "described": session.scalar(select(func.count(func.distinct(FingerprintRow.task_sha256)))) or 0,
        "pictured": session.scalar(select(func.count()).select_from(ThumbnailRow)) or 0,
        "seconds": seconds or 0.0, "since": (since or "")[:10], "models": models, "weights": int(weights or 0),
        "advice": advice[0], "followed": advice[1], "database": _size(session, memory),
    }  # fmt: skip


def _size(session: Session, memory: Memory) -> int:
    """Bytes of the database itself."""
    location = memory.database.location
    if memory.database.is_sqlite:
        path = Path(str(location.url.database))
        return sum(part.stat().st_size for part in (path, path.with_name(f"{path.name}-wal")) if part.exists())
    asked = text(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relkind = 'r'"
    )
    return int(session.execute(asked, {"schema": location.schema}).scalar() or 0)


def by_learner(session: Session) -> list[dict[str, Any]]:
    """For each kind of learner: runs, those that did not finish, tasks, seconds; the most seconds first."""
    unfinished = func.sum(case((RunRow.state == "finished", 0), else_=1))
    query = (
        select(
            LearnerRow.kind, func.count(), unfinished, func.count(func.distinct(RunRow.task_sha256)),
            func.sum(RunRow.seconds), func.max(RunRow.seconds),
        )
        .join(LearnerRow, LearnerRow.sha256 == RunRow.learner_sha256)
        .group_by(LearnerRow.kind)
        .order_by(func.sum(RunRow.seconds).desc(), LearnerRow.kind)
    )  # fmt: skip
    names = ("kind", "runs", "unfinished", "tasks", "seconds", "longest")
    return [dict(zip(names, row, strict=True)) for row in session.execute(query)]


def mapped(session: Session) -> list[Mapped]:
    """The tasks to be shown on maps, each once."""
    chosen = select(func.distinct(FingerprintRow.task_sha256).label("sha256")).order_by("sha256").limit(MOST_MAPPED)
    within = chosen.subquery()
    query = (
        select(TaskRow.sha256, TaskRow.name, TaskRow.goal, FingerprintRow.content, ThumbnailRow.strip)
        .join(within, within.c.sha256 == TaskRow.sha256)
        .join(FingerprintRow, FingerprintRow.task_sha256 == TaskRow.sha256)
        .outerjoin(ThumbnailRow, ThumbnailRow.task_sha256 == TaskRow.sha256)
        .order_by(TaskRow.sha256, FingerprintRow.features.desc())
    )
    found: dict[str, Mapped] = {}
    for sha256, name, goal, content, strip in session.execute(query):
        found.setdefault(sha256, Mapped(sha256, name, goal, content, strip or ""))
    return list(found.values())


def _scored(*columns: Any, whole: bool = True) -> Select[Any]:
    """Columns of finished runs with their meta-labels; ``whole``: only of those that went on to their end."""
    found = (
        select(*columns)
        .select_from(RunRow)
        .join(TaskRow, TaskRow.sha256 == RunRow.task_sha256)
        .join(EvaluationRow, (EvaluationRow.owner == RunRow.id) & (EvaluationRow.metric == _METRIC))
        .join(LearnerRow, LearnerRow.sha256 == RunRow.learner_sha256)
        .where(RunRow.state == "finished")
    )
    return found.where(RunRow.lineage["ended_early"].as_string().is_(None)) if whole else found


def busiest(session: Session) -> dict[str, list[tuple[str, str]]]:
    """By goal the ids and names of the tasks with the most scored runs."""
    counted = (
        _scored(TaskRow.goal, TaskRow.sha256, TaskRow.name, func.count().label("runs"))
        .group_by(TaskRow.goal, TaskRow.sha256, TaskRow.name)
        .subquery()
    )
    order = func.row_number().over(partition_by=counted.c.goal, order_by=(counted.c.runs.desc(), counted.c.name))
    placed = select(counted, order.label("place")).subquery()
    query = select(placed).where(placed.c.place <= MOST_OF_GOAL).order_by(placed.c.goal, placed.c.place)
    found: dict[str, list[tuple[str, str]]] = {}
    for goal, sha256, name, *_ in session.execute(query):
        found.setdefault(goal, []).append((sha256, name))
    return found


def best(session: Session, tasks: Iterable[str]) -> dict[str, Best]:
    """The best run on each of the tasks that has one, among those scored on the features that most of its runs were."""
    keys = sorted(set(tasks))
    found: dict[str, Best] = {}
    for first in range(0, len(keys), AT_ONCE):
        found |= _best(session, keys[first : first + AT_ONCE])
    return found


def _best(session: Session, keys: Sequence[str]) -> dict[str, Best]:
    among = (RunRow.task_sha256, EvaluationRow.extractor)
    place = func.row_number().over(partition_by=among, order_by=(_WORSE, RunRow.created, RunRow.id)).label("place")
    placed = (
        _scored(
            RunRow.task_sha256.label("task"), EvaluationRow.extractor, LearnerRow.kind, LearnerRow.options,
            LearnerRow.image_shape, RunRow.strategy_sha256, EvaluationRow.metric, EvaluationRow.value,
            EvaluationRow.low, EvaluationRow.high, RunRow.seconds, place,
            RunRow.lineage["ended_early"].as_integer().label("ended_early"),
            func.count().over(partition_by=among).label("runs"),
            whole=False,
        )
        .where(RunRow.task_sha256.in_(keys))
        .subquery()
    )  # fmt: skip
    query = (
        select(placed, StrategyRow.content)
        .join(StrategyRow, StrategyRow.sha256 == placed.c.strategy_sha256)
        .where(placed.c.place == 1)
        .order_by(placed.c.runs, placed.c.extractor.desc())
    )
    usual = (
        _scored(RunRow.task_sha256, EvaluationRow.extractor, LearnerRow.kind, func.avg(EvaluationRow.value))
        .join(RecommendationRow, RecommendationRow.outcome_run == RunRow.id)
        .where(RunRow.task_sha256.in_(keys), RecommendationRow.source == DEFAULT)
        .group_by(RunRow.task_sha256, EvaluationRow.extractor, LearnerRow.kind)
    )
    defaults = {tuple(of): float(value) for *of, value in session.execute(usual)}
    return {
        row.task: Best(
            row.kind,
            in_words(row.kind, row.image_shape, row.options, Strategy.from_json(row.content))
            + (f", as at step {row.ended_early:,}" if row.ended_early else ""),
            row.metric, row.value, row.low, row.high, row.seconds, row.runs,
            defaults.get((row.task, row.extractor, row.kind)),
        )
        for row in session.execute(query)  # the features that most runs were scored on come last
    }  # fmt: skip


def followed(session: Session) -> list[Followed]:
    """Advice with what came of it, in the order in which it was given."""
    query = (
        select(
            RecommendationRow.source, RecommendationRow.task_sha256, LearnerRow.kind, EvaluationRow.extractor, _WORSE
        )
        .join(TaskRow, TaskRow.sha256 == RecommendationRow.task_sha256)
        .join(LearnerRow, LearnerRow.sha256 == RecommendationRow.learner_sha256)
        .join(RunRow, RunRow.id == RecommendationRow.outcome_run)
        .outerjoin(EvaluationRow, (EvaluationRow.owner == RunRow.id) & (EvaluationRow.metric == _METRIC))
        .where(RunRow.state.in_(("finished", "failed", "collapsed")))
        .order_by(RecommendationRow.created.desc(), RecommendationRow.rank.desc(), RecommendationRow.id)
        .limit(MOST_FOLLOWED)
    )
    found = [
        Followed(source, (task, kind), extractor, None if extractor is None else float(worse))
        for source, task, kind, extractor, worse in session.execute(query)
    ]
    return found[::-1]


def tried(session: Session, kind: str) -> list[Tried]:
    """The newest whole, scored runs of a kind of learner."""
    query = (
        _scored(RunRow.task_sha256, EvaluationRow.extractor, _WORSE, LearnerRow.image_shape, LearnerRow.options,
                StrategyRow.content)
        .join(StrategyRow, StrategyRow.sha256 == RunRow.strategy_sha256)
        .where(LearnerRow.kind == kind)
        .order_by(RunRow.created.desc(), RunRow.id)
        .limit(MOST_OF_LEARNER)
    )  # fmt: skip
    found = session.execute(query).all()
    return [
        Tried(task, by, worse, shape, options, Strategy.from_json(how))
        for task, by, worse, shape, options, how in found
    ]


# strategies in words


def space_for(kind: str, shape: Sequence[int], options: dict[str, Any], strategy: Strategy) -> Space:
    """What could be chosen about a learner that was used so; of one that this Limner does not know, nothing."""
    images = (shape[0], shape[1], shape[2]) if "features" in options else None
    return _space(kind, images, strategy.start != "scratch")


@cache
def _space(kind: str, images: tuple[int, int, int] | None, adapted: bool) -> Space:
    from limner.learners import CATALOGUE
    from limner.spaces.estimators import estimator_space
    from limner.spaces.learners import learner_space

    if kind.startswith(ESTIMATOR):
        return estimator_space(kind.removeprefix(ESTIMATOR), images)
    return learner_space(kind, adapted) if kind in CATALOGUE else Space(kind, ())


def values_of(space: Space, options: dict[str, Any], strategy: Strategy) -> dict[str, Any]:
    """The values of a run in a space, in range or not."""
    from limner.spaces.learners import learner_values

    return {name: space[name].read(value) for name, value in learner_values(space, options, strategy).items()}


def in_words(kind: str, shape: Sequence[int], options: dict[str, Any], strategy: Strategy) -> str:
    """What is other than the default about a run, its start and its steps."""
    space = space_for(kind, shape, options, strategy)
    usual = space.default
    other = [
        f"{name.replace('_', ' ')} {spelt(value)}"
        for name, value in values_of(space, options, strategy).items()
        if json.dumps(value) != json.dumps(usual.get(name))
    ]
    told = [", ".join(other) or "the default"]
    if strategy.start != "scratch":
        told.append(f"from {strategy.start[:24]}")
    if 0 < strategy.steps < ENDLESS:
        told.append(f"{strategy.steps:,} steps")
    return "; ".join(told)


def wins(found: dict[str, Best]) -> Counter[str]:
    """On how many of the tasks each kind of learner did best."""
    return Counter(one.kind for one in found.values())
