"""Finding things in the memory by a short reference, and telling about them as plain data."""

from __future__ import annotations

import difflib
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from limner.errors import LimnerError
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

KINDS = ("runs", "models", "starts", "tasks", "images", "recommendations")
"""What can be listed."""

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
    rows = session.scalars(select(EvaluationRow).where(EvaluationRow.owner == owner).order_by(EvaluationRow.metric))
    return {row.metric: _score(row) for row in rows}


def all_scores(session: Session, table: type[RunRow] | type[ModelRow]) -> dict[str, dict[str, dict[str, Any]]]:
    """:func:`scores_of` for every row of a table at once: its id to its scores."""
    key = RunRow.id if table is RunRow else ModelRow.sha256
    found: dict[str, dict[str, dict[str, Any]]] = {}
    rows = session.scalars(
        select(EvaluationRow).where(EvaluationRow.owner.in_(select(key))).order_by(EvaluationRow.metric)
    )
    for row in rows:
        found.setdefault(row.owner, {})[row.metric] = _score(row)
    return found


def _score(row: EvaluationRow) -> dict[str, Any]:
    names = ("value", "low", "high", "floor", "extractor", "samples", "query", "support", "seed")
    return {name: getattr(row, name) for name in names}


def run_record(session: Session, row: RunRow, scores: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """A run as plain data, without its curve; ``scores`` where they have been looked up already."""
    scores = scores_of(session, row.id) if scores is None else scores
    learner = session.get_one(LearnerRow, row.learner_sha256)
    return {
        "id": row.id, "name": row.name, "state": row.state, "reason": row.reason, "task": row.task_sha256,
        "task_name": session.get_one(TaskRow, row.task_sha256).name, "learner": learner.describe(),
        "strategy": session.get_one(StrategyRow, row.strategy_sha256).content, "seed": row.seed,
        "start": row.start_sha256, "model": row.model_sha256, "seconds": row.seconds, "steps": row.steps,
        "threads": row.threads, "device": row.device, "scores": scores, "notes": row.notes,
        "lineage": row.lineage, "directory": row.directory, "imported": row.imported, "created": row.created,
        "finished": row.finished,
    }  # fmt: skip


def stored_model(session: Session, row: ModelRow) -> StoredModel:
    """The model without its weights."""
    runs = list(session.scalars(select(RunRow.id).where(RunRow.model_sha256 == row.sha256).order_by(RunRow.id)))
    metadata = {
        "role": row.role, "name": row.name, "bytes": row.bytes, "parent": row.parent_sha256, "family": row.family,
        "plan": row.plan, "runs": runs, "scores": scores_of(session, row.sha256),
        "imported": row.imported, "created": row.created,
    }  # fmt: skip
    return StoredModel(row.sha256, {}, session.get_one(LearnerRow, row.learner_sha256).describe(), metadata)


def listing(session: Session, kind: str) -> list[dict[str, Any]]:
    """Rows for a table, newest first. Raises :class:`LimnerError` for an unknown kind."""
    if kind == "runs":
        kept = [
            session.scalars(select(table)).all() for table in (LearnerRow, StrategyRow, TaskRow)
        ]  # so get() is quick
        scores = all_scores(session, RunRow)
        runs = session.scalars(select(RunRow).order_by(RunRow.created.desc(), RunRow.id))
        records = [run_record(session, row, scores.get(row.id, {})) for row in runs]
        del kept
        return records
    if kind in ("models", "starts"):
        models = session.scalars(
            select(ModelRow).where(ModelRow.role == kind[:-1]).order_by(ModelRow.created.desc(), ModelRow.sha256)
        )
        return [_model_record(session, row) for row in models]
    if kind == "tasks":
        tasks = session.scalars(select(TaskRow).order_by(TaskRow.created.desc(), TaskRow.sha256))
        return [_task_record(session, row) for row in tasks]
    if kind == "images":
        sets = session.scalars(select(ImageSetRow).order_by(ImageSetRow.created.desc(), ImageSetRow.sha256))
        return [_columns(row) for row in sets]
    if kind == "recommendations":
        said = session.scalars(
            select(RecommendationRow).order_by(RecommendationRow.created.desc(), RecommendationRow.rank)
        )
        return [_recommendation_record(session, row) for row in said]
    raise LimnerError(f"the memory cannot list {kind!r}; it can list: {', '.join(KINDS)}")


def show(session: Session, reference: str) -> dict[str, Any]:
    """All about one thing; ``what`` is run, model, task, data set or recommendation."""
    row = find(session, reference)
    what = {"what": _REFERABLE[type(row)][0]}
    if isinstance(row, RunRow):
        return what | run_record(session, row) | {"curve": _curve(session, row.id)}
    if isinstance(row, ModelRow):
        children = session.scalars(select(ModelRow.sha256).where(ModelRow.parent_sha256 == row.sha256))
        return what | _model_record(session, row) | {"curve": _curve(session, row.sha256), "children": list(children)}
    if isinstance(row, TaskRow):
        prints = session.scalars(select(FingerprintRow).where(FingerprintRow.task_sha256 == row.sha256))
        runs = session.scalars(select(RunRow.id).where(RunRow.task_sha256 == row.sha256).order_by(RunRow.created))
        return (
            what
            | _task_record(session, row)
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


def _model_record(session: Session, row: ModelRow) -> dict[str, Any]:
    listed = stored_model(session, row)
    return {"sha256": row.sha256, "learner": listed.learner_description} | listed.metadata


def _task_record(session: Session, row: TaskRow) -> dict[str, Any]:
    support = session.get_one(ImageSetRow, row.support_sha256)
    query = session.get(ImageSetRow, row.query_sha256) if row.query_sha256 else None
    runs = session.scalar(select(func.count()).select_from(RunRow).where(RunRow.task_sha256 == row.sha256))
    return {
        "sha256": row.sha256, "name": row.name, "goal": row.goal, "source": row.source, "seed": row.seed,
        "support": row.support_sha256, "query": row.query_sha256, "image_shape": support.image_shape,
        "shots": support.images, "queries": query.images if query else 0, "runs": runs, "created": row.created,
    }  # fmt: skip


def _recommendation_record(session: Session, row: RecommendationRow) -> dict[str, Any]:
    outcome = scores_of(session, row.outcome_run) if row.outcome_run else None
    return {
        "id": row.id, "rank": row.rank, "task": row.task_sha256, "source": row.source, "reason": row.reason,
        "learner": session.get_one(LearnerRow, row.learner_sha256).describe(),
        "strategy": session.get_one(StrategyRow, row.strategy_sha256).content, "expected": row.expected,
        "evidence": row.evidence, "outcome_run": row.outcome_run, "outcome": outcome, "created": row.created,
    }  # fmt: skip
