"""Where a memory lies and how it is reached: location, engine, transactions, migrations."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from limner.errors import LimnerError
from limner.memory.artifacts import placed
from limner.memory.schema import REVISION, TABLES
from limner.memory.undelivered import Unreachable

PATIENCE = 60.0
"""Seconds to wait for another process that is writing."""

_LOCK = 0x6C696D6E  # "limn": the advisory locks, one for each schema, that serialise writers on PostgreSQL

SCHEMA = "limner"
"""The schema in which a memory on a server lies, so that it can share the database with others."""


@dataclass(frozen=True)
class Location:
    """The database's URL, where its artifacts lie (a folder, or an fsspec URL), what to call it in a message, and on a
    server its schema."""

    url: URL
    artifacts: Path | str
    label: str
    schema: str | None = None


def shown(location: str) -> str:
    """The location as it may be shown and kept: without a password.

    >>> shown("mine"), shown("postgresql://me:secret@host/db")
    ('mine', 'postgresql://me:***@host/db')
    """
    return make_url(location).render_as_string() if "://" in location else location


def locate(location: str | Path | None = None) -> Location:
    """Where a memory lies: a folder (``memory.db`` inside), a ``.db`` file, or a SQLAlchemy URL.

    ``None`` means the environment's ``LIMNER_MEMORY``, else the platform's user data folder. The artifacts lie beside
    a SQLite file; for a server they lie in the URL's ``?artifacts=PLACE``, else ``LIMNER_ARTIFACTS``, else the
    platform's user data folder. A place is a folder or any URL of fsspec, such as ``s3://bucket/weights``. On a server
    the tables lie in the schema ``limner``, or the URL's ``?schema=NAME``.

    >>> locate("/tmp/here").url.database, str(locate("/tmp/here.db").artifacts)
    ('/tmp/here/memory.db', '/tmp/here.artifacts')
    """
    from platformdirs import user_data_path

    chosen = location or os.environ.get("LIMNER_MEMORY") or user_data_path("limner")
    if "://" in str(chosen):
        try:
            url = make_url(str(chosen))
        except exc.ArgumentError as problem:
            raise LimnerError(
                f"{chosen} is not a database URL; right would be a folder, or postgresql://…"
            ) from problem
        folder = url.query.get("artifacts") or os.environ.get("LIMNER_ARTIFACTS")
        schema = str(url.query.get("schema", SCHEMA))
        url = url.difference_update_query(["artifacts", "schema"])
        if url.get_backend_name() == "postgresql":
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", schema) or schema.startswith("pg_"):
                raise LimnerError(f"{schema!r} cannot be a schema's name; right would be letters, digits and _")
            url = url.set(drivername="postgresql+psycopg")
            label = url.render_as_string() + ("" if schema == SCHEMA else f" (schema {schema})")
            return Location(url, placed(str(folder or user_data_path("limner") / "artifacts")), label, schema)
        if url.get_backend_name() != "sqlite":
            raise LimnerError(
                f"a memory cannot lie in {url.get_backend_name()}; right would be a folder, or postgresql://…"
            )
        if not url.database or url.database == ":memory:":
            raise LimnerError("a memory must outlive the process; give a folder or a .db file")
        path = Path(url.database).expanduser()
        return Location(url, placed(str(folder)) if folder else path.with_suffix(".artifacts"), str(path))
    path = Path(chosen).expanduser().absolute()
    if path.suffix != ".db" and not path.is_file():
        path = path / "memory.db"
    return Location(URL.create("sqlite", database=str(path)), path.with_suffix(".artifacts"), str(path))


class Database:
    """An engine whose writers take turns: SQLite in WAL mode with BEGIN IMMEDIATE, PostgreSQL with an advisory lock."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.is_sqlite = location.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            try:
                Path(str(location.url.database)).parent.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise LimnerError(
                    f"the memory {location.label} cannot be made there ({problem.strerror}); give another --memory"
                ) from problem
        try:
            self._engine = self._make_engine()
        except ImportError as problem:
            raise LimnerError(
                "a memory in PostgreSQL needs psycopg; install it with: pip install 'limner[postgres]'"
            ) from (problem)
        self._writing = self._engine.execution_options(limner_writes=True)
        with self.told():
            self._migrate()

    def _make_engine(self) -> Engine:
        if not self.is_sqlite:
            return self._make_server_engine()
        engine = create_engine(self.location.url, connect_args={"timeout": PATIENCE, "check_same_thread": False})

        @event.listens_for(engine, "connect")
        def on_connect(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # SQLAlchemy's begin event below opens each transaction instead
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten, too
            _use_wal(connection)

        @event.listens_for(engine, "begin")
        def on_begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("limner_writes")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _make_server_engine(self) -> Engine:
        engine = create_engine(
            self.location.url, pool_pre_ping=True, connect_args={"connect_timeout": 10, "application_name": "limner"}
        )

        @event.listens_for(engine, "connect", insert=True)
        def on_connect(connection: Any, _record: object) -> None:
            connection.autocommit = True
            connection.execute(f'SET search_path TO "{self.location.schema}"')
            connection.autocommit = False

        return engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one consistent state and changes nothing."""
        with self.told(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that no other writer overlaps; all of it is kept, or on any error nothing."""
        with self.told(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            self._take_turn(session.connection())
            yield session

    def _take_turn(self, connection: Connection) -> None:
        if not self.is_sqlite:
            statement = text("SELECT pg_advisory_xact_lock(:lock, hashtext(:schema))")
            connection.execute(statement, {"lock": _LOCK, "schema": self.location.schema})

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn the database's own complaints into a sentence; a server that does not answer is :class:`Unreachable`."""
        label = self.location.label
        try:
            yield
        except exc.DBAPIError as problem:
            said = str(problem.orig).strip().splitlines()[0]
            remedies = {
                "locked": "another process has been writing for a minute; try again when it is done",
                "full": "the disk is full; free space or give another --memory",
                "readonly": "it may only be read; change its permissions or give another --memory",
                "unable to open": "it cannot be opened; check the path and its permissions",
                "not a database": "the file is not a memory of Limner; give a folder or another .db file",
                "malformed": "the file is damaged; restore it from a copy, or import an export into a new one",
                "I/O error": "the disk refuses; check its space and its health",
                "permission denied": "ask for the right to it, or name a schema that is yours with ?schema=NAME",
                "authentication": "check the user and the password in the URL",
                "does not exist": "check the URL, or make the database first with createdb",
                "resolve host": "check the name of the server in the URL, and the network",
                "onnection": "the server does not answer; check the URL and that it runs",
            }
            remedy = next((remedy for sign, remedy in remedies.items() if sign in said), None)
            away = not self.is_sqlite and (problem.connection_invalidated or "onnection" in said)
            if remedy is None and not away:
                raise
            kind = Unreachable if away else LimnerError
            remedy = remedy or remedies["onnection"]
            raise kind(f"the memory {label} could not be used ({said}): {remedy}") from problem

    def revision(self, connection: Connection) -> str | None:
        """The migration that the database is at; ``None`` for an empty database."""
        tables = inspect(connection).get_table_names(self.location.schema)
        if "alembic_version" in tables:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if tables:
            raise LimnerError(f"{self.location.label} is a database, but not a memory of Limner; give another --memory")
        return None

    def _migrate(self) -> None:
        with self._engine.connect() as connection:
            if self.revision(connection) == REVISION:
                return
        with self._writing.begin() as connection:  # one process migrates; the others wait here and find it done
            self._take_turn(connection)
            self._have_schema(connection)
            found = self.revision(connection)
            if found != REVISION:
                upgrade(connection, found, self.location.label)

    def _have_schema(self, connection: Connection) -> None:
        """Make the server's schema where there is none; one that Limner kept in ``public`` before is moved into it."""
        schema = self.location.schema
        if schema is None or inspect(connection).has_schema(schema):
            return
        connection.execute(text(f'CREATE SCHEMA "{schema}"'))
        former = {"alembic_version", *(table.__tablename__ for table in TABLES)}
        former &= set(inspect(connection).get_table_names("public"))  # an older memory has fewer tables
        if schema == SCHEMA and {"alembic_version", "image_sets", "tasks", "runs", "evaluations"} <= former:
            for name in sorted(former):
                connection.execute(text(f'ALTER TABLE public."{name}" SET SCHEMA "{schema}"'))

    def settle(self) -> None:
        """Move the write-ahead log into the database and empty it, where no reader is in the way."""
        if self.is_sqlite:
            with self.told(), self._engine.connect() as connection:
                connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead logging: readers and one writer at once. The switch itself ignores SQLite's own timeout."""
    last = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as problem:
            if "locked" not in str(problem) or time.monotonic() > last:
                raise
            time.sleep(0.01)


def upgrade(connection: Connection, found: str | None, label: str, wanted: str = "head") -> None:
    """Bring the database from the migration ``found`` to the newest, or the one ``wanted``, within the connection's
    transaction.

    Raises :class:`LimnerError` where ``found`` is unknown, which means that a newer Limner made it.
    """
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    if found is not None and found not in known:
        raise LimnerError(
            f"the memory {label} was made by a newer version of Limner (schema {found}, this one knows up to "
            f"{REVISION}); upgrade Limner, or give another --memory"
        )
    with EnvironmentContext(
        config, scripts, fn=lambda now, _context: scripts._upgrade_revs(wanted, now)
    ) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
