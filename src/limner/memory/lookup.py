"""Finding things in the memory by a short reference, and telling about them as plain data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from limner.errors import LimnerError
from limner.memory import query
from limner.memory.schema import (
    CurveRow,
    EvaluationRow,
    FingerprintRow,
    ImageSetRow,
    LearnerRow,
    ModelRow,
    RecommendationRow,
    RunRow,
    StrategyRow,
    Table,
    TaskRow,
)
from limner.model_file import StoredModel

AT_ONCE = 500
"""How many keys one question to the database holds at most."""

_REFERABLE: dict[type[Table], tuple[str, str, str]] = {
    RunRow: ("run", "id", "name"),
    ModelRow: ("model", "sha256", "name"),
    TaskRow: ("task", "sha256", "name"),
    ImageSetRow: ("data set", "sha256", "name"),
    RecommendationRow: ("recommendation", "id", "source"),
}
"""What can be referred to: its word, the column of its id, and of its name."""


def find(session: Session, reference: str, *tables: type[Table]) -> Table:
    """The one row whose id begins with ``reference``, or whose name it is; an exact id or name goes first.

    Raises :class:`LimnerError`, naming candidates, where none or several fit.
    """
    tables = tables or tuple(_REFERABLE)
    kinds = [_REFERABLE[table][0] for table in tables]
    words = " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
    exact: list[Table] = []
    begins: list[Table] = []
    for table in tables:
        _, key, name = _REFERABLE[table]
        key_column = getattr(table, key)
        conditions = [key_column == reference]
        if table is not RecommendationRow:
            conditions.append(getattr(table, name) == reference)
        if reference:
            exact += session.scalars(select(table).where(or_(*conditions)))
            begins += session.scalars(select(table).where(key_column.startswith(reference, autoescape=True)).limit(20))
    found = exact or begins
    if len(found) == 1:
        return found[0]
    if found:
        raise LimnerError(
            f"{reference!r} could be any of {len(found)} in the memory: "
            f"{', '.join(called(row) for row in found[:6])}{'…' if len(found) > 6 else ''}; give more of the id"
        )
    known = [called(row) for table in tables for row in session.scalars(select(table).limit(500))]
    near = sorted(known, key=lambda text: -_closeness(reference, text))[:3]
    hint = f"nearest are: {', '.join(near)} (see limner memory list)" if near else "it holds none yet"
    raise LimnerError(f"the memory holds no {words} called {reference!r}; {hint}")


def called(row: Table) -> str:
    """A row in a few words: what it is, the beginning of its id, its name.

    >>> called(RunRow(id="0123456789ab", name="first"))
    "run 0123456789ab 'first'"
    """
    word, key, name = _REFERABLE[type(row)]
    title = getattr(row, name)
    return f"{word} {getattr(row, key)[:12]}" + (f" {title!r}" if title else "")


def plural(table: type[Table]) -> str:
    """What many rows of a table are called where they are counted.

    >>> plural(ImageSetRow), plural(RunRow)
    ('data_sets', 'runs')
    """
    return "data_sets" if table is ImageSetRow else table.__tablename__


def _closeness(reference: str, text: str) -> float:
    return max(difflib.SequenceMatcher(None, reference.lower(), part).ratio() for part in text.lower().split())


def find_run(session: Session, reference: str) -> RunRow:
    """The run with that id, beginning of an id, or name."""
    row = find(session, reference, RunRow)
    assert isinstance(row, RunRow)
    return row


def find_model(session: Session, reference: str) -> ModelRow:
    """The model with that sha256, beginning of one, or name; or the model of the run with that id or name."""
    row = find(session, reference, ModelRow, RunRow)
    if isinstance(row, RunRow):
        if row.model_sha256 is None:
            raise LimnerError(f"the run {row.id} is {row.state} and has no model; give a finished run or a model")
        return session.get_one(ModelRow, row.model_sha256)
    assert isinstance(row, ModelRow)
    return row


def scores_of(session: Session, owner: str) -> dict[str, dict[str, Any]]:
    """Metric to value, interval, floor, and what it was measured by."""
    return _scores(session, [owner]).get(owner, {})


def _scores(session: Session, owners: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """:func:`scores_of` for many owners at once: id to scores."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in _among(session, EvaluationRow, EvaluationRow.owner, owners):
        found.setdefault(row.owner, {})[row.metric] = _score(row)
    return {owner: dict(sorted(scores.items())) for owner, scores in found.items()}


def _among(session: Session, table: type[Any], column: Any, keys: Iterable[str | None]) -> Iterable[Any]:
    """The rows whose ``column`` is among ``keys``, in few questions to the database."""
    wanted = sorted({key for key in keys if key is not None})
    for first in range(0, len(wanted), AT_ONCE):
        yield from session.scalars(select(table).where(column.in_(wanted[first : first + AT_ONCE])))


def _score(row: EvaluationRow) -> dict[str, Any]:
    names = ("value", "low", "high", "floor", "extractor", "samples", "query", "support", "seed")
    return {name: getattr(row, name) for name in names}


def run_records(session: Session, rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    """Runs as plain data, without their curves."""
    scores = _scores(session, [row.id for row in rows])
    kept = [
        *_among(session, LearnerRow, LearnerRow.sha256, (row.learner_sha256 for row in rows)),
        *_among(session, StrategyRow, StrategyRow.sha256, (row.strategy_sha256 for row in rows)),
        *_among(session, TaskRow, TaskRow.sha256, (row.task_sha256 for row in rows)),
    ]  # held, so that to get one of them asks the database nothing
    records = [_run_record(session, row, scores.get(row.id, {})) for row in rows]
    del kept
    return records


def run_record(session: Session, row: RunRow) -> dict[str, Any]:
    """A run as plain data, without its curve."""
    return run_records(session, [row])[0]


def _run_record(session: Session, row: RunRow, scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    learner, task = session.get_one(LearnerRow, row.learner_sha256), session.get_one(TaskRow, row.task_sha256)
    return {
        "id": row.id, "name": row.name, "state": row.state, "reason": row.reason, "task": row.task_sha256,
        "task_name": task.name, "goal": task.goal, "learner": learner.describe(),
        "strategy": session.get_one(StrategyRow, row.strategy_sha256).content, "seed": row.seed,
        "start": row.start_sha256, "model": row.model_sha256, "seconds": row.seconds, "steps": row.steps,
        "threads": row.threads, "device": row.device, "scores": scores, "notes": row.notes,
        "lineage": row.lineage, "directory": row.directory, "imported": row.imported, "created": row.created,
        "finished": row.finished,
    }  # fmt: skip


def stored_models(session: Session, rows: Sequence[ModelRow]) -> list[StoredModel]:
    """The models without their weights."""
    keys = [row.sha256 for row in rows]
    scores = _scores(session, keys)
    described = _among(session, LearnerRow, LearnerRow.sha256, (row.learner_sha256 for row in rows))
    learners = {learner.sha256: learner for learner in described}
    makers: dict[str, list[str]] = {}
    for run in _among(session, RunRow, RunRow.model_sha256, keys):
        makers.setdefault(run.model_sha256, []).append(run.id)
    return [
        StoredModel(
            row.sha256,
            {},
            learners[row.learner_sha256].describe(),
            {
                "role": row.role, "name": row.name, "bytes": row.bytes, "parent": row.parent_sha256,
                "family": row.family, "plan": row.plan, "runs": sorted(makers.get(row.sha256, [])),
                "scores": scores.get(row.sha256, {}), "imported": row.imported, "created": row.created,
            },
        )
        for row in rows
    ]  # fmt: skip


def listing(session: Session, kind: str, **filters: Any) -> list[dict[str, Any]]:
    """Records for a table, newest first; ``filters`` as :func:`limner.memory.query.rows` takes them."""
    found = query.rows(session, kind, **filters)
    if kind == "runs":
        return run_records(session, found)
    if kind in ("models", "starts"):
        return [_model_record(model) for model in stored_models(session, found)]
    if kind == "tasks":
        return _task_records(session, found)
    if kind == "images":
        return [_columns(row) for row in found]
    return [_recommendation_record(session, row) for row in found]


def show(session: Session, reference: str) -> dict[str, Any]:
    """All about one thing; ``what`` is run, model, task, data set or recommendation."""
    row = find(session, reference)
    what = {"what": _REFERABLE[type(row)][0]}
    if isinstance(row, RunRow):
        return what | run_record(session, row) | {"curve": _curve(session, row.id)}
    if isinstance(row, ModelRow):
        children = session.scalars(select(ModelRow.sha256).where(ModelRow.parent_sha256 == row.sha256))
        (listed,) = stored_models(session, [row])
        return what | _model_record(listed) | {"curve": _curve(session, row.sha256), "children": list(children)}
    if isinstance(row, TaskRow):
        prints = session.scalars(select(FingerprintRow).where(FingerprintRow.task_sha256 == row.sha256))
        runs = session.scalars(select(RunRow.id).where(RunRow.task_sha256 == row.sha256).order_by(RunRow.created))
        return (
            what
            | _task_records(session, [row])[0]
            | {"fingerprints": [entry.content for entry in prints], "run_ids": list(runs)}
        )
    if isinstance(row, ImageSetRow):
        tasks = session.scalars(
            select(TaskRow.sha256).where(or_(TaskRow.support_sha256 == row.sha256, TaskRow.query_sha256 == row.sha256))
        )
        parts = session.scalars(select(ImageSetRow.sha256).where(ImageSetRow.parent_sha256 == row.sha256))
        return what | _columns(row) | {"tasks": list(tasks), "parts": list(parts)}
    assert isinstance(row, RecommendationRow)
    return what | _recommendation_record(session, row)


def _columns(row: Table) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}


def _curve(session: Session, owner: str) -> list[Any]:
    row = session.get(CurveRow, owner)
    return [] if row is None else row.points


def _model_record(listed: StoredModel) -> dict[str, Any]:
    return {"sha256": listed.sha256, "learner": listed.learner_description} | listed.metadata


def _task_records(session: Session, rows: Sequence[TaskRow]) -> list[dict[str, Any]]:
    keys = (key for row in rows for key in (row.support_sha256, row.query_sha256))
    sets = {row.sha256: row for row in _among(session, ImageSetRow, ImageSetRow.sha256, keys)}
    counting = select(RunRow.task_sha256, func.count()).group_by(RunRow.task_sha256)
    if len(rows) <= AT_ONCE:
        counting = counting.where(RunRow.task_sha256.in_([row.sha256 for row in rows]))
    runs = {task: count for task, count in session.execute(counting)}  # noqa: C416
    return [
        {
            "sha256": row.sha256, "name": row.name, "goal": row.goal, "source": row.source, "seed": row.seed,
            "support": row.support_sha256, "query": row.query_sha256,
            "image_shape": sets[row.support_sha256].image_shape, "shots": sets[row.support_sha256].images,
            "queries": sets[row.query_sha256].images if row.query_sha256 else 0, "runs": runs.get(row.sha256, 0),
            "created": row.created,
        }
        for row in rows
    ]  # fmt: skip


def _recommendation_record(session: Session, row: RecommendationRow) -> dict[str, Any]:
    outcome = scores_of(session, row.outcome_run) if row.outcome_run else None
    return {
        "id": row.id, "rank": row.rank, "task": row.task_sha256, "source": row.source, "reason": row.reason,
        "learner": session.get_one(LearnerRow, row.learner_sha256).describe(),
        "strategy": session.get_one(StrategyRow, row.strategy_sha256).content, "expected": row.expected,
        "evidence": row.evidence, "outcome_run": row.outcome_run, "outcome": outcome, "created": row.created,
    }  # fmt: skip
