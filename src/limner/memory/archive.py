"""Whole memories, moved and checked: verify, export to one zip file, import."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select, text
from sqlalchemy.orm import Session

from limner.errors import LimnerError
from limner.memory.artifacts import Artifacts, remedy
from limner.memory.database import Database
from limner.memory.lookup import plural
from limner.memory.schema import REVISION, TABLES, ModelRow, RunRow, Table, ThumbnailRow, now
from limner.model_file import decode, write_atomically

FORMAT = "limner-memory"
"""What an export says it is."""

GRACE = 600.0
"""Seconds in which an artifact without a model may belong to another process that is about to tell of it."""


def verify(session: Session, database: Database, artifacts: Artifacts) -> list[str]:
    """A sentence for each thing that is wrong, with what to do: in the database, each artifact, and foreign files."""
    problems = []
    if database.is_sqlite:
        told = session.execute(text("PRAGMA integrity_check")).scalars().all()
        problems += [
            f"the database is damaged: {line}; keep a copy of {database.location.label}, and import an export into a "
            "new memory"
            for line in told
            if line != "ok"
        ]
    known = sorted(session.scalars(select(ModelRow.sha256)))
    problems += [f"{problem}; {remedy(sha256)}" for sha256 in known if (problem := artifacts.problem(sha256))]
    return problems + _foreign(artifacts, {artifacts.path(sha256) for sha256 in known})


def _foreign(artifacts: Artifacts, known: set[Path | str]) -> list[str]:
    """A sentence for each file among the artifacts that belongs to no model."""
    problems = []
    for found in artifacts.store.files():
        path, name = artifacts.store.where(found.name), found.name.rpartition("/")[2]
        if path in known:
            continue
        unfinished, own = name.startswith(".writing-"), path == artifacts.path(name.partition(".")[0])
        young = found.changed is not None and found.changed >= time.time() - GRACE
        if (unfinished or own) and young:
            continue
        what = "was left by an interrupted write" if unfinished else "belongs to no model of this memory"
        problems.append(f"the file {path} {what}; {'delete it' if unfinished else 'move it elsewhere or delete it'}")
    return problems


@dataclass(frozen=True)
class Contents:
    """A read and verified export: its file's name and sha256, the rows of each table, and the artifacts."""

    name: str
    sha256: str
    tables: dict[str, list[dict[str, Any]]]
    artifacts: dict[str, bytes]


def export(
    session: Session, artifacts: Artifacts, path: Path, what: str | None = None, thumbnails: bool = False
) -> dict[str, int]:
    """Write all, or what belongs to ``what``, to a zip file of one JSON file and the artifacts; counts by kind.

    Thumbnails show people's images, so they are left out where they are not asked for.
    """
    from limner.memory.forgetting import belonging

    if path.exists():
        raise LimnerError(f"{path} exists already; give another file name, or delete it first")
    rows = _all(session) if what is None else belonging(session, what)
    tables: dict[str, list[dict[str, Any]]] = {table.__tablename__: [] for table in TABLES}
    for row in rows:
        if isinstance(row, ThumbnailRow) and not thumbnails:
            continue
        record = {column.key: getattr(row, column.key) for column in row.__table__.columns}
        if isinstance(row, RunRow):  # where it ran is this machine's affair
            record |= {"directory": None, "host": None, "process": None, "process_started": None, "lease": None}
        tables[row.__tablename__].append(record)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        content = {"format": FORMAT, "schema": REVISION, "created": now(), "tables": tables}
        file.writestr("memory.json", json.dumps(content, indent=1, sort_keys=True))
        for model in tables["models"]:
            data = artifacts.get(model["sha256"])
            file.writestr(f"artifacts/{model['sha256']}.safetensors", data, zipfile.ZIP_STORED)
    write_atomically(path, buffer.getvalue())
    return {plural(table): len(tables[table.__tablename__]) for table in TABLES if tables[table.__tablename__]}


def _all(session: Session) -> Iterable[Table]:
    return [row for table in TABLES for row in session.scalars(select(table))]


def read(path: Path) -> Contents:
    """An export, verified as a whole. Raises :class:`LimnerError` where any part of it is missing or damaged."""
    if not path.is_file():
        raise LimnerError(f"there is no file {path}; give a zip file that `memory export` wrote")
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            content = json.loads(file.read("memory.json"))
            if content["format"] != FORMAT:
                raise KeyError("format")
            if content["schema"] > REVISION:
                raise LimnerError(
                    f"{path} was exported by a newer version of Limner (schema {content['schema']}, this one knows "
                    f"up to {REVISION}); upgrade Limner"
                )
            known = {table.__tablename__: {column.key for column in table.__table__.columns} for table in TABLES}
            tables = {name: list(records) for name, records in content["tables"].items()}
            for name, records in tables.items():
                if any(set(record) != known[name] for record in records):
                    raise KeyError(name)
            models = [record["sha256"] for record in tables["models"]]
            weights = {sha256: file.read(f"artifacts/{sha256}.safetensors") for sha256 in models}
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError, EOFError, OSError) as problem:
        raise LimnerError(
            f"{path} is not a whole export of a memory ({problem}); nothing was imported: give a zip file that "
            "`memory export` wrote"
        ) from problem
    for sha256, content in weights.items():
        if hashlib.sha256(content).hexdigest() != sha256:
            raise LimnerError(f"in {path} the artifact {sha256[:12]} is damaged; nothing was imported: export it again")
        decode(content, f"the artifact {sha256[:12]} in {path}")
    return Contents(path.name, hashlib.sha256(data).hexdigest(), tables, weights)


def take_in(session: Session, artifacts: Artifacts, contents: Contents) -> dict[str, int]:
    """Add what is not there yet, noting where it came from; how many rows of each kind were new.

    A run that was imported unfinished is replaced by its finished self. A run that was going on when it was exported
    arrives as ``killed``. Runs that lead to rows which are not in the export cannot be: an export is closed.
    """
    import sqlalchemy.exc

    provenance = {"from": contents.name, "sha256": contents.sha256, "at": now()}
    counts: dict[str, int] = {}
    try:
        for table in TABLES:
            rows = [_row(table, record, provenance) for record in contents.tables.get(table.__tablename__, [])]
            for row in _parents_first(rows):
                there = session.get(table, inspect(row).mapper.primary_key_from_instance(row))
                if there is None or _outdated(there, row):
                    session.merge(row)
                    session.flush()
                    counts[plural(table)] = counts.get(plural(table), 0) + 1
        for data in contents.artifacts.values():
            artifacts.put(data)
    except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.StatementError, TypeError) as problem:
        if isinstance(problem, sqlalchemy.exc.OperationalError):
            raise
        raise LimnerError(
            f"{contents.name} refers to things that it does not hold; nothing was imported: export it again"
        ) from problem
    return counts


def _row(table: type[Table], record: dict[str, Any], provenance: dict[str, Any]) -> Table:
    row = table(**record)
    if isinstance(row, (RunRow, ModelRow)):
        row.imported = provenance
    if isinstance(row, RunRow) and row.state == "running":
        row.state, row.reason = "killed", "it was running when it was exported"
    return row


def _outdated(there: Table, incoming: Table) -> bool:
    return (
        isinstance(there, RunRow)
        and isinstance(incoming, RunRow)
        and there.imported is not None
        and there.state != "finished"
        and incoming.state == "finished"
    )


def _parents_first(rows: list[Table]) -> list[Table]:
    """The rows of one table, each after the one that its ``parent_sha256`` names."""
    waiting = {getattr(row, "sha256", str(index)): row for index, row in enumerate(rows)}
    ordered: list[Table] = []

    def place(key: str) -> None:
        if (row := waiting.pop(key, None)) is not None:
            if parent := getattr(row, "parent_sha256", None):
                place(parent)
            ordered.append(row)

    for key in list(waiting):
        place(key)
    return ordered
