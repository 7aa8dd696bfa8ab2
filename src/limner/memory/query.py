"""Asking the memory without SQL: filters by goal, learner, state and task, and conditions such as ``psnr>30``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import JSON, ColumnElement, Select, String, select
from sqlalchemy.orm import Session

from limner.errors import LimnerError
from limner.memory.schema import (
    EvaluationRow,
    ImageSetRow,
    LearnerRow,
    ModelRow,
    RecommendationRow,
    RunRow,
    Table,
    TaskRow,
)

LISTED: dict[str, type[Table]] = {
    "runs": RunRow, "models": ModelRow, "starts": ModelRow, "tasks": TaskRow, "images": ImageSetRow,
    "recommendations": RecommendationRow,
}  # fmt: skip
"""What can be listed, and where it lies."""

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "==": operator.eq, "<": operator.lt, ">": operator.gt,
    "=": operator.eq,
}  # fmt: skip
"""How a condition can compare, the longest signs first."""

_CONDITION = re.compile(rf"\s*([A-Za-z_]\w*)\s*({'|'.join(map(re.escape, OPERATORS))})\s*(.+?)\s*")


def rows(
    session: Session,
    kind: str,
    *,
    goal: str | None = None,
    learner: str | None = None,
    state: str | None = None,
    task: str | None = None,
    where: str | Sequence[str] = (),
    limit: int | None = None,
) -> list[Any]:
    """The rows of a kind for which all of this holds, newest first, at most ``limit``.

    task   the sha256 of one, or its beginning
    where  conditions such as ``kernel_distance<50``, ``steps>=1000`` or ``name=first``, joined by ``and``: of a score,
           or of a column; several texts must all hold

    Raises :class:`LimnerError` where a kind cannot be asked so, or a word is not known.
    """
    if kind not in LISTED:
        raise LimnerError(f"the memory cannot list {kind!r}; it can list: {', '.join(LISTED)}")
    if limit is not None and limit < 1:
        raise LimnerError(f"a limit of {limit} lists nothing; give a whole number from 1, or none")
    table = LISTED[kind]
    chosen: Select[Any] = select(table).order_by(table.created.desc())  # type: ignore[attr-defined]
    if table is ModelRow:
        chosen = chosen.where(ModelRow.role == kind[:-1])
    if table is RecommendationRow:
        chosen = chosen.order_by(RecommendationRow.rank)
    chosen = chosen.order_by(_key(table))
    if goal is not None:
        _refuse_unknown(session, TaskRow.goal, goal, "goal")
        if table is TaskRow:
            chosen = chosen.where(TaskRow.goal == goal)
        else:
            ours = select(TaskRow.sha256).where(TaskRow.goal == goal)
            chosen = chosen.where(_column(kind, "task_sha256", "goal").in_(ours))
    if learner is not None:
        _refuse_unknown(session, LearnerRow.kind, learner, "learner")
        those = select(LearnerRow.sha256).where(LearnerRow.kind == learner)
        chosen = chosen.where(_column(kind, "learner_sha256", "learner").in_(those))
    if state is not None:
        _refuse_unknown(session, RunRow.state, state, "state")
        chosen = chosen.where(_column(kind, "state", "state") == state)
    if task is not None:
        chosen = chosen.where(_column(kind, "task_sha256", "task").startswith(task, autoescape=True))
    for text in [where] if isinstance(where, str) else where:
        for part in re.split(r"(?i)\s+and\s+", text.strip()):
            chosen = chosen.where(_condition(session, kind, part))
    return list(session.scalars(chosen if limit is None else chosen.limit(limit)))


def on_tasks(tasks: Iterable[str]) -> ColumnElement[bool]:
    """The condition that a score is of a run on one of the tasks, by which to join them.

    Said of the score, it has SQLite go from tasks to runs to scores; said of the run alone, SQLite would go through
    all scores by the same metric.
    """
    return EvaluationRow.owner.in_(select(RunRow.id).where(RunRow.task_sha256.in_(list(tasks))))


def _key(table: type[Table]) -> Any:
    return table.__mapper__.primary_key[0]


def _column(kind: str, name: str, word: str) -> Any:
    column = getattr(LISTED[kind], name, None)
    if column is None:
        fits = [other for other, table in LISTED.items() if hasattr(table, name)]
        raise LimnerError(f"{kind} have no {word} to choose by; these have: {', '.join(fits)}")
    return column


def _refuse_unknown(session: Session, column: Any, word: str, what: str) -> None:
    """A word that is nowhere in the memory is a slip; an empty memory knows no words at all."""
    if session.scalar(select(column).where(column == word).limit(1)) is not None:
        return
    known = sorted(filter(None, session.scalars(select(column).distinct())))
    if known:
        raise LimnerError(f"the memory holds nothing with the {what} {word!r}; it knows: {', '.join(known)}")


def _condition(session: Session, kind: str, text: str) -> Any:
    table = LISTED[kind]
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise LimnerError(
            f"the condition {text!r} cannot be read; right would be for example kernel_distance<50 or name=first"
        )
    name, sign, value = found[1], found[2], found[3].strip("'\"")
    columns = {
        column.key: column for column in table.__table__.columns if not isinstance(column.type, JSON)
    }  # what is structured is looked at in Python
    if name in columns:
        if isinstance(columns[name].type, String):
            return OPERATORS[sign](columns[name], value)
        return OPERATORS[sign](columns[name], _number(text, value))
    if table in (RunRow, ModelRow):
        measured = select(EvaluationRow.metric).where(EvaluationRow.metric == name).limit(1)
        if session.scalar(measured) is not None:
            that = OPERATORS[sign](EvaluationRow.value, _number(text, value))
            return _key(table).in_(select(EvaluationRow.owner).where(EvaluationRow.metric == name, that))
    metrics = sorted(session.scalars(select(EvaluationRow.metric).distinct())) if table in (RunRow, ModelRow) else []
    scores = f"the scores {', '.join(metrics)}, and " if metrics else ""
    raise LimnerError(f"{kind} cannot be chosen by {name!r}; they can by {scores}{', '.join(columns)}")


def _number(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise LimnerError(f"the condition {text!r} compares with a number, and {value!r} is none") from None
