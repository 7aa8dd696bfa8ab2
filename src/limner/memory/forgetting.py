"""What came of a thing, and what it came from: the two walks behind ``forget`` and ``export``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import JSON, String, cast, delete, inspect, or_, select
from sqlalchemy.orm import Session

from limner.memory.artifacts import Artifacts
from limner.memory.database import Database
from limner.memory.lookup import AT_ONCE, called, find, plural
from limner.memory.schema import (
    TABLES,
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
    ThumbnailRow,
)

_ID = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b")
"""How the memory names things: 64 hexadecimal digits, or 12."""

_NAMED = {table.__tablename__ for table in (ImageSetRow, TaskRow, RunRow, ModelRow, RecommendationRow)}


class Gathering:
    """Rows met on a walk, each once."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, ...], Table] = {}

    def add(self, rows: Iterable[Table | None]) -> list[Table]:
        """Take the rows in; those that are new."""
        new = []
        for row in rows:
            if row is not None and (key := _key(row)) not in self.rows:
                self.rows[key] = row
                new.append(row)
        return new

    def of(self, table: type[Table]) -> list[Any]:
        """The gathered rows of one table."""
        return [row for row in self.rows.values() if isinstance(row, table)]


def _key(row: Table) -> tuple[str, ...]:
    return (row.__tablename__, *(str(part) for part in inspect(type(row)).primary_key_from_instance(row)))


def named(session: Session, reference: str) -> list[Table]:
    """The thing that ``reference`` means; all image sets, where it is the name that several share."""
    sets = list(session.scalars(select(ImageSetRow).where(ImageSetRow.name == reference)))
    return [*sets] if sets else [find(session, reference)]


def came_of(session: Session, beginnings: list[Table]) -> Gathering:
    """All that would not be without ``beginnings``, them included.

    Of an image set: its parts, the tasks on it, the starts whose family names its sha256. Of a task: its runs and
    recommendations. Of a run: its model, unless a run that stays made it too. Of a model: the models and runs that
    began from it. Of any: what belongs to it alone, and the recommendations that rest on it.
    """
    gathered = Gathering()
    waiting = gathered.add(beginnings)
    while waiting:
        waiting = gathered.add([row for parent in waiting for row in _came_directly_of(session, parent, gathered)])
    return gathered


def _came_directly_of(session: Session, row: Table, gathered: Gathering) -> Iterable[Table]:
    if isinstance(row, ImageSetRow):
        yield from session.scalars(select(ImageSetRow).where(ImageSetRow.parent_sha256 == row.sha256))
        on_it = or_(TaskRow.support_sha256 == row.sha256, TaskRow.query_sha256 == row.sha256)
        yield from session.scalars(select(TaskRow).where(on_it))
        for model in session.scalars(select(ModelRow).where(ModelRow.family.is_not(None))):
            if row.sha256 in json.dumps(model.family):
                yield model
    if isinstance(row, TaskRow):
        for table in (FingerprintRow, ThumbnailRow, RunRow, RecommendationRow):
            yield from session.scalars(select(table).where(table.task_sha256 == row.sha256))
    if isinstance(row, RunRow):
        if row.model_sha256 is not None:
            makers = session.scalars(select(RunRow).where(RunRow.model_sha256 == row.model_sha256))
            if all(_key(maker) in gathered.rows for maker in makers):
                yield session.get_one(ModelRow, row.model_sha256)
        yield from _belonging_to(session, row.id)
        yield from session.scalars(select(RecommendationRow).where(RecommendationRow.outcome_run == row.id))
    if isinstance(row, ModelRow):
        yield from session.scalars(select(ModelRow).where(ModelRow.parent_sha256 == row.sha256))
        yield from session.scalars(select(RunRow).where(RunRow.start_sha256 == row.sha256))
        yield from _belonging_to(session, row.sha256)
    if isinstance(row, (TaskRow, RunRow, ModelRow)):
        key = row.id if isinstance(row, RunRow) else row.sha256
        yield from (said for said in session.scalars(select(RecommendationRow)) if key in said.evidence)


def _belonging_to(session: Session, owner: str) -> Iterable[Table]:
    yield from session.scalars(select(CurveRow).where(CurveRow.owner == owner))
    yield from session.scalars(select(EvaluationRow).where(EvaluationRow.owner == owner))


def belonging(session: Session, reference: str) -> list[Table]:
    """What ``reference`` means, all that came of it, and all that any of this came from: a memory of its own."""
    gathered = came_of(session, named(session, reference))
    waiting = list(gathered.rows.values())
    while waiting:
        waiting = gathered.add([row for child in waiting for row in _comes_directly_from(session, child)])
    return sorted(gathered.rows.values(), key=_key)


def _comes_directly_from(session: Session, row: Table) -> Iterable[Table | None]:
    for column in row.__table__.columns:
        for reference in column.foreign_keys:
            key = getattr(row, column.key)
            if key is not None:
                yield session.get(_table(reference.column.table.name), key)
    if isinstance(row, RunRow):
        yield from _belonging_to(session, row.id)
    if isinstance(row, ModelRow):
        yield from _belonging_to(session, row.sha256)
    if isinstance(row, TaskRow):
        for table in (FingerprintRow, ThumbnailRow):
            yield from session.scalars(select(table).where(table.task_sha256 == row.sha256))


def _table(name: str) -> type[Table]:
    return next(table for table in TABLES if table.__tablename__ == name)


def forget(database: Database, artifacts: Artifacts, reference: str, dry_run: bool = False) -> dict[str, Any]:
    """Remove what ``reference`` means and all that came of it, files included.

    Returns for each table the removed rows in a few words, ``bytes``, the size of the files, and
    ``run_directories_kept``: those are the user's own, and stay. After a removal, ``remains`` has a sentence for each
    row that still names something of it, and each file: empty, it proves that nothing remains.
    """
    with database.reading() if dry_run else database.writing() as session:
        gathered = came_of(session, named(session, reference))
        models = gathered.of(ModelRow)
        told: dict[str, Any] = {}
        for table in (ImageSetRow, TaskRow, RunRow, ModelRow, RecommendationRow):
            if rows := gathered.of(table):
                told[plural(table)] = sorted(called(row) for row in rows)
        if models:
            told["bytes"] = sum(row.bytes for row in models)
        if kept := sorted(row.directory for row in gathered.of(RunRow) if row.directory):
            told["run_directories_kept"] = kept
        if not dry_run:
            _delete(session, gathered)
    if not dry_run:
        remove_files(database, artifacts, [row.sha256 for row in models])
        with database.reading() as session:
            told["remains"] = remaining(session, artifacts, gathered)
    return told


def remaining(session: Session, artifacts: Artifacts, gone: Gathering) -> list[str]:
    """A sentence for each row whose text names something that is gone, in whatever column, and each file of it.

    What was made anew meanwhile by another process is not gone.
    """
    named_by = {key[-1] for key in gone.rows if key[0] in _NAMED}
    there = {_key(row)[-1] for row in gone.rows.values() if session.get(type(row), _key(row)[1:]) is not None}
    lost = named_by - there
    found = []
    for table in TABLES:
        key, *_ = table.__mapper__.primary_key
        if table in (CurveRow, EvaluationRow, ThumbnailRow):  # numbers, but for their owner
            owners = {owner for part in _parts(lost) for owner in session.scalars(select(key).where(key.in_(part)))}
            found += [f"{table.__tablename__} of {owner} are still there" for owner in sorted(owners)]
            continue
        texts = [column for column in table.__table__.columns if isinstance(column.type, (String, JSON))]
        for row in session.execute(select(key, *(cast(column, String) for column in texts))):
            text = " ".join(filter(None, row[1:]))
            if named := lost.intersection(_ID.findall(text)):
                found.append(f"{table.__tablename__} {row[0][:12]} still names {', '.join(sorted(named))}")
    for model in gone.of(ModelRow):
        if model.sha256 in lost and artifacts.has(model.sha256):
            found.append(f"the file {artifacts.path(model.sha256)} is still there")
    return found


def _parts(keys: Iterable[str]) -> Iterable[list[str]]:
    ordered = sorted(keys)
    return (ordered[first : first + AT_ONCE] for first in range(0, len(ordered), AT_ONCE))


def _delete(session: Session, gathered: Gathering) -> None:
    doomed = [row.sha256 for row in gathered.of(ModelRow)]
    for survivor in session.scalars(select(RunRow).where(RunRow.model_sha256.in_(doomed))):
        if _key(survivor) not in gathered.rows:  # the model itself is to be forgotten; the run's record stays
            survivor.model_sha256 = None
    for row in gathered.of(ModelRow) + gathered.of(ImageSetRow):
        row.parent_sha256 = None  # so that the order of deletion within a table does not matter
    session.flush()
    for table in reversed(TABLES):
        for row in gathered.of(table):
            session.delete(row)
        session.flush()
    session.execute(delete(LearnerRow).where(LearnerRow.sha256.not_in(_used(LearnerRow))))
    session.execute(delete(StrategyRow).where(StrategyRow.sha256.not_in(_used(StrategyRow))))


def _used(table: type[Table]) -> Any:
    """The ids of ``table`` that any row refers to."""
    columns = [
        column
        for other in TABLES
        for column in other.__table__.columns
        if any(reference.column.table is table.__table__ for reference in column.foreign_keys)
    ]
    first, *rest = [select(column).where(column.is_not(None)) for column in columns]
    return first.union(*rest)


def remove_files(database: Database, artifacts: Artifacts, models: list[str]) -> None:
    """Delete the files that still belong to no model: another process may just have made the same model again."""
    with database.writing() as session:
        for sha256 in models:
            if session.get(ModelRow, sha256) is None:
                artifacts.remove(sha256)
    database.settle()
